"""A running task says that it lives, is run by one worker at a time, and hears that it is void.

Redis may hand a task out twice (a connection that broke, a slot that died): whoever has its beat
has the task. The bot looks for beats, and sends a job again under another name when there is
none; then nobody reads what a late task answers.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Protocol

from bot.contract import wire

LOG = logging.getLogger(__name__)
SIGNAL = signal.SIGUSR2  # SIGUSR1 is Celery's own, for soft time limits


class TwiceError(Exception):
    """Somebody else works on this task."""


class VoidError(BaseException):
    """The task is not wanted any more; nothing on the way may take it for a failure."""


class Redis(Protocol):
    """What is needed of a Redis client."""

    def set(self, name: str, value: str, ex: int, nx: bool = ...) -> object: ...  # noqa: D102, FBT001 - redis-py's names
    def get(self, name: str) -> bytes | None: ...  # noqa: D102
    def exists(self, name: str) -> int: ...  # noqa: D102
    def delete(self, name: str) -> object: ...  # noqa: D102


@contextmanager
def beating(redis: Redis, task: str, worker: str, every: float | None = None) -> Iterator[None]:
    """Hold a task's beat; ``every`` is in seconds.

    Raises TwiceError at once where somebody else has it, VoidError at any point when it is no
    longer wanted.
    """
    key, mine = wire.beat_key(task), f"{worker} {_me(os.getpid())}"
    lasts = int(wire.BEAT_LOST.total_seconds())
    if redis.exists(wire.void_key(task)):
        raise VoidError(task)
    if not redis.set(key, mine, ex=lasts, nx=True) and _is_held(redis.get(key)):
        raise TwiceError(task)
    end = threading.Event()
    pause = every or wire.BEAT.total_seconds()
    thread = threading.Thread(
        target=_beat, args=(redis, task, mine, end, pause), name="beat", daemon=True
    )
    before = signal.signal(SIGNAL, _raise)
    thread.start()
    try:
        yield
    finally:
        signal.signal(SIGNAL, signal.SIG_IGN)  # too late to be void
        end.set()
        thread.join()
        signal.signal(SIGNAL, before)
        with suppress(Exception):  # it runs out by itself
            redis.delete(key)


def _beat(redis: Redis, task: str, mine: str, end: threading.Event, pause: float) -> None:
    """Give the beat until the end; a broker that is away is tried again with the next one."""
    key, lasts = wire.beat_key(task), int(wire.BEAT_LOST.total_seconds())
    while not end.is_set():
        try:
            redis.set(key, mine, ex=lasts)
            if redis.exists(wire.void_key(task)) and not end.is_set():
                os.kill(os.getpid(), SIGNAL)
                return
        except Exception as error:  # noqa: BLE001 - whatever the client raises: the job goes on
            LOG.warning("task %s: no beat: %s", task, error)
        end.wait(pause)


def _raise(_: int, __: FrameType | None) -> None:
    raise VoidError("it is not wanted any more")


def _me(pid: int) -> str:
    """Return what tells a process from all others, here and elsewhere."""
    return f"{platform.node()} {pid}/{_started(pid)}"


def _started(pid: int) -> str:
    """Return when a process started, in clock ticks after the boot: proc(5), field 22."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _is_held(beat: bytes | None) -> bool:
    """Whether a beat is of a living process; that of one which died on this machine is not."""
    if beat is None:
        return False
    _, host, process = beat.decode().rsplit(" ", 2)
    pid = process.partition("/")[0]
    if host != platform.node() or not pid.isdigit():
        return True  # nobody here can tell
    return _me(int(pid)) == f"{host} {process}"
