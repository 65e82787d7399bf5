"""The guest's /init and the archive it is booted from; equal input gives equal bytes."""

from __future__ import annotations

import gzip
import hashlib
import stat
from pathlib import Path
from uuid import uuid4

from bot.contract import OursError
from workers import process
from workers.locks import locked

HERE = Path(__file__).with_name("guest")
FLAGS = ("-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none")
SECONDS = 120  # of a compiler run
LARGEST = 500_000  # bytes of the archive, which every boot unpacks


class NoGuestError(OursError):
    """The guest's program cannot be built here."""


def _sources() -> list[Path]:
    return sorted(HERE.glob("*.[ch]"))


def digest(compiler: str = "gcc") -> str:
    """Return what tells this guest program from another one."""
    version = process.check([compiler, "--version"], timeout=20)
    text = hashlib.sha256(version + " ".join(FLAGS).encode())
    for path in _sources():
        text.update(path.name.encode() + b"\0" + path.read_bytes())
    return text.hexdigest()[:16]


def ensure(directory: Path, compiler: str = "gcc") -> bytes:
    """Return the static /init, compiled once into ``directory``.

    Raises NoGuestError with the compiler's last words.
    """
    path = directory / f"init-{digest(compiler)}"
    with locked(directory / f"{path.name}.lock"):
        if not path.exists():
            fresh = path.with_name(f".{uuid4().hex}")
            names = [str(one) for one in _sources() if one.suffix == ".c"]
            done = process.run([compiler, *FLAGS, "-o", str(fresh), *names], timeout=SECONDS)
            if done.status != 0:
                raise NoGuestError(f"the guest's program does not compile: {done.tail(1)[0]}")
            fresh.rename(path)
    return path.read_bytes()


def newc(name: str, mode: int, content: bytes, number: int, device: tuple[int, int]) -> bytes:
    """Return an entry of a cpio archive (Documentation/driver-api/early-userspace)."""
    path = name.encode() + b"\0"
    fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0]
    head = b"070701" + b"".join(b"%08X" % one for one in fields) + path
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def initramfs(init: bytes, job: str) -> bytes:
    """Return a gzip-compressed archive of /init, its /job and the console.

    Raises NoGuestError above 500,000 bytes.
    """
    entries = (
        ("dev", stat.S_IFDIR | 0o755, b"", (0, 0)),
        ("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)),
        ("proc", stat.S_IFDIR | 0o755, b"", (0, 0)),
        ("sys", stat.S_IFDIR | 0o755, b"", (0, 0)),
        ("init", stat.S_IFREG | 0o755, init, (0, 0)),
        ("job", stat.S_IFREG | 0o644, job.encode(), (0, 0)),
        ("TRAILER!!!", 0, b"", (0, 0)),
    )
    archive = b"".join(
        newc(name, mode, content, number, device)
        for number, (name, mode, content, device) in enumerate(entries, 1)
    )
    packed = gzip.compress(archive, mtime=0)
    if len(packed) > LARGEST:
        raise NoGuestError(f"the guest's archive has {len(packed)} bytes, more than {LARGEST}")
    return packed
