"""Boots a kernel in QEMU under memory pressure and writes down the stacks that it shows.

`python -m tests.bench.observe BZIMAGE OUTPUT`: for `stackhog stack OBJDIR --observed OUTPUT`.
"""

from __future__ import annotations

import gzip
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
MEGABYTES = 128  # of memory
DISKS = (
    (("mkfs.ext4", "-q", "-F"), 64), (("mkfs.ext2", "-q", "-F"), 48),
    (("mkfs.vfat",), 48), (("mkswap", "-q"), 128),
)  # fmt: skip
SECONDS = 1500


def newc(name: str, mode: int, content: bytes, number: int, device: tuple[int, int]) -> bytes:
    """Return an entry of a cpio archive (Documentation/driver-api/early-userspace)."""
    path = name.encode() + b"\0"
    fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0]
    head = b"070701" + b"".join(b"%08X" % one for one in fields) + path
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def initramfs(init: bytes) -> bytes:
    """Return an archive that holds /init and the console; equal for equal input."""
    entries = [
        newc("dev", stat.S_IFDIR | 0o755, b"", 1, (0, 0)),
        newc("dev/console", stat.S_IFCHR | 0o600, b"", 2, (5, 1)),
        newc("init", stat.S_IFREG | 0o755, init, 3, (0, 0)),
        newc("TRAILER!!!", 0, b"", 0, (0, 0)),
    ]
    return gzip.compress(b"".join(entries), mtime=0)


def record(image: Path, output: Path) -> None:
    """Boot ``image`` and leave the text of the stack tracer in ``output``.

    Raises CalledProcessError, TimeoutExpired.
    """
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        command: list[str | Path] = [
            "gcc",
            "-static",
            "-Os",
            "-Wall",
            "-Wextra",
            "-o",
            top / "init",
            HERE / "init.c",
        ]
        subprocess.run(command, check=True)
        (top / "initramfs").write_bytes(initramfs((top / "init").read_bytes()))
        argv: list[str | Path] = [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", str(MEGABYTES),
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-sandbox", "on",
            "-kernel", image, "-initrd", top / "initramfs",
            "-append", "console=ttyS0 panic=-1 loglevel=4",
            "-serial", "stdio", "-serial", f"file:{output}",
        ]  # fmt: skip
        for number, (make, megabytes) in enumerate(DISKS):
            disk = top / f"disk{number}"
            with disk.open("wb") as file:
                file.truncate(megabytes << 20)
            subprocess.run([*make, disk], check=True, stdout=subprocess.DEVNULL)
            argv += ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe"]
        subprocess.run(argv, check=True, timeout=SECONDS, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    record(Path(sys.argv[1]), Path(sys.argv[2]))
