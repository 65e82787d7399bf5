"""Locks between the processes of one machine; the kernel drops them with the process.

Whoever uses what lies on disk holds its lock shared, whoever makes or deletes it holds it alone.
A lock's file may be deleted by who holds it alone: who waited for it meanwhile starts over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from pathlib import Path
from typing import IO


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock alone; waits for others."""
    with _held(path, LOCK_EX):
        yield


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold a lock beside others who share it; waits for who has it alone."""
    with _held(path, LOCK_SH):
        yield


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold a lock alone if that can be had at once; yields whether it is held."""
    with ExitStack() as stack:
        try:
            stack.enter_context(_held(path, LOCK_EX | LOCK_NB))
        except BlockingIOError:
            had = False
        else:
            had = True
        yield had


def present(lock: Path, there: Callable[[], bool], make: Callable[[], None]) -> ExitStack:
    """Return a hold on something under its lock, made first where it is not there.

    Until the hold is closed, nobody who asks for the lock deletes it. What ``make`` raises
    goes on.
    """
    while True:
        with ExitStack() as hold:
            hold.enter_context(shared(lock))
            if there():
                return hold.pop_all()
        with locked(lock):
            if not there():
                make()


@contextmanager
def _held(path: Path, how: int) -> Iterator[None]:
    file = _locked_file(path, how)
    try:
        yield
    finally:
        # a process that was forked meanwhile has the file open too, and would keep the lock
        flock(file, LOCK_UN)
        file.close()


def _locked_file(path: Path, how: int) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("a")
        try:
            flock(file, how)
            if _is_at(path, file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _is_at(path: Path, file: IO[str]) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False
