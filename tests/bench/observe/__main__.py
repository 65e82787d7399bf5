"""Boots a kernel in QEMU under memory pressure and writes down the stacks that it shows.

`python -m tests.bench.observe BZIMAGE OUTPUT [DUMPS]`: for `stackhog stack OBJDIR --observed
OUTPUT`. The kernel needs CONFIG_STACK_TRACER, CONFIG_VIRTIO_BLK, CONFIG_VIRTIO_PCI and a
serial console; what it lacks of the filesystems is said and left out.
Needs qemu-system-x86, e2fsprogs, dosfstools and util-linux.
"""

from __future__ import annotations

import gzip
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
MEGABYTES = 160  # of memory
DUMPS = 6000  # at least: some two thousand of them are different
SECONDS = 1500
# what init does with a disk, the command that fills it, megabytes
DISKS = (
    ("ext4", ("mkfs.ext4", "-q", "-F"), 96), ("ext2", ("mkfs.ext2", "-q", "-F"), 48),
    ("vfat", ("mkfs.vfat",), 48), ("swap", ("mkswap", "-q"), 192),
    ("xfs", ("mkfs.xfs", "-q", "-f"), 304), ("loop", ("mkfs.ext4", "-q", "-F"), 8),
)  # fmt: skip
# not KVM: where it is nested it may fail in the middle of a boot, and QEMU does not fall back
MACHINE = ("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2,sockets=2")


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


def _initramfs(top: Path) -> Path:
    program, archive = top / "init", top / "initramfs"
    flags = ("-static", "-Os", "-Wall", "-Wextra")
    subprocess.run(["gcc", *flags, "-o", str(program), str(HERE / "init.c")], check=True)  # noqa: S607
    archive.write_bytes(initramfs(program.read_bytes()))
    return archive


def _disks(top: Path) -> Iterator[tuple[str, Path]]:
    """Make the disks whose tools are installed; yield (kind, image)."""
    for kind, make, megabytes in DISKS:
        image = top / f"{kind}.disk"
        if shutil.which(make[0]) is None:
            print(f"no {make[0]}: without {kind}", file=sys.stderr)  # noqa: T201
            continue
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run([*make, image], check=True, stdout=subprocess.DEVNULL)
        yield kind, image


def record(image: Path, output: Path, dumps: int) -> None:
    """Boot ``image`` and leave the text of the stack tracer in ``output``.

    Raises CalledProcessError, TimeoutExpired.
    """
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        disks = list(_disks(top))
        kinds = ",".join(kind for kind, _ in disks)
        argv: list[str | Path] = [
            "qemu-system-x86_64", *MACHINE, "-m", str(MEGABYTES),
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-sandbox", "on",
            "-kernel", image, "-initrd", _initramfs(top),
            "-append", f"console=ttyS0 panic=-1 loglevel=1 dumps={dumps} disks={kinds}",
            "-serial", "stdio", "-serial", f"file:{output}",
        ]  # fmt: skip
        for _, disk in disks:
            argv += ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe"]
        subprocess.run(argv, check=True, timeout=SECONDS, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    record(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else DUMPS)
