"""Directories that lie on one another, read as the overlay would show them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from uuid import uuid4

from workers import process
from workers.locks import alone, locked

MAX_READ = 64 << 20  # bytes of one file that a build left


def read(layers: Sequence[Path], name: str) -> bytes | None:
    """Return a regular file's content from the topmost layer that has it; None: it is not there.

    A build is hostile: symlinks are not followed anywhere below a layer, whiteouts
    (devices) end the search, a file larger than MAX_READ counts as absent.
    """
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or parts[0] == "/":
        return None
    for layer in layers:
        try:
            fd = _open_beneath(layer, parts)
        except FileNotFoundError:
            continue
        except OSError:  # a symlink, a device without a driver: not a build's output
            return None
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_READ:
                return None
            return file.read(MAX_READ)
    return None


def _open_beneath(root: Path, parts: Sequence[str]) -> int:
    """Open root/parts without following a symlink in any of the parts."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(root, flags | os.O_DIRECTORY)
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        try:
            inner = os.open(part, flags if last else flags | os.O_DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def discard(path: Path) -> None:
    """Delete a directory that a build wrote, however deep and whatever its modes."""
    if path.exists():
        process.run(["chmod", "-R", "u+rwx", "--", str(path)], timeout=300)
        process.check(["rm", "-rf", "--", str(path)], timeout=300)


@contextmanager
def job_directory(builds: Path) -> Iterator[Path]:
    """Yield a new directory that is deleted at the end, or by the next `sweep` after a kill."""
    path = builds / uuid4().hex
    with locked(builds / f"{path.name}.lock"):
        path.mkdir()
        try:
            yield path
        finally:
            discard(path)
            (builds / f"{path.name}.lock").unlink(missing_ok=True)


def sweep(builds: Path) -> None:
    """Delete job directories whose process was killed."""
    for lock in sorted(builds.glob("*.lock")):
        with suppress(OSError), alone(lock) as mine:
            if mine:
                discard(lock.with_suffix(""))
                lock.unlink(missing_ok=True)
