"""Boots a kernel in QEMU under memory pressure and writes down the stacks that it shows.

`python -m tests.bench.observe BZIMAGE OUTPUT [DUMPS]`: for `stackhog stack OBJDIR --observed
OUTPUT`. The kernel needs CONFIG_STACK_TRACER, CONFIG_VIRTIO_BLK, CONFIG_VIRTIO_PCI and a
serial console; what it lacks of the filesystems is said and left out.
Needs qemu-system-x86, e2fsprogs, dosfstools and util-linux.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from workers.stress import guest, qemu

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
MACHINE = ("-accel", qemu.ACCEL["tcg"], "-cpu", "max", "-smp", "2,sockets=2")


def _initramfs(top: Path) -> Path:
    program, archive = top / "init", top / "initramfs"
    flags = ("-static", "-Os", "-s", "-Wall", "-Wextra")
    subprocess.run(["gcc", *flags, "-o", str(program), str(HERE / "init.c")], check=True)  # noqa: S607
    archive.write_bytes(guest.initramfs(program.read_bytes(), ""))
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
