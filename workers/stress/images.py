"""Disk images with a filesystem and its file, made once per profile and kernel.

The host makes empty filesystems; the file is written by a boot of the kernel that is
trusted more: the base of a comparison. A kernel under test never writes to an image that
another one is given.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from bot.contract import OursError
from policies.stress import Filesystem, Profile
from workers import process
from workers.layers import job_directory
from workers.locks import present
from workers.stress.qemu import Disk

MKFS = {
    Filesystem.EXT4: ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    Filesystem.EXT2: ("mkfs.ext2", "-q", "-F"),
    Filesystem.VFAT: ("mkfs.vfat", "-i", "57ac6409"),
    Filesystem.XFS: ("mkfs.xfs", "-q", "-f"),
}
PACKAGES = {"mkfs.ext4": "e2fsprogs", "mkfs.ext2": "e2fsprogs", "mkfs.vfat": "dosfstools",
            "mkfs.xfs": "xfsprogs", "mkswap": "util-linux"}  # fmt: skip
SECONDS = 120
FORMAT = "1"  # of what lies in a directory of images; a change makes all of them anew


class NoImageError(OursError):
    """An image cannot be made here: a program is missing, or the kernel cannot fill it."""


def _make(argv: tuple[str, ...], image: Path, mebibytes: int) -> None:
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    found = shutil.which(argv[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        raise NoImageError(f"{argv[0]} is not installed: apt-get install {PACKAGES[argv[0]]}")
    process.check([found, *argv[1:], str(image)], timeout=SECONDS)


def blank(directory: Path, profile: Profile, filesystem: Filesystem) -> tuple[Disk, ...]:
    """Make the empty disks of a profile, to be written to."""
    disks = [Disk(directory / "data", keep=True)]
    _make(MKFS[filesystem], disks[0].image, profile.disk_mib)
    if profile.swap_mib:
        disks.append(Disk(directory / "swap", keep=True))
        _make(("mkswap", "-q"), disks[1].image, profile.swap_mib)
    return tuple(disks)


def key(profile: Profile, filesystem: Filesystem, kernel: str, program: str) -> str:
    """Return what tells a set of images from others: shape, kernel that filled it, program."""
    layers = profile.layers.replace("error", "")  # fails in the stress alone
    shape = (profile.disk_mib, profile.file_mib, profile.swap_mib, layers, profile.memory_mib)
    words = (FORMAT, filesystem, *map(str, shape), kernel, program, repr(MKFS[filesystem]))
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]


def ensure(
    root: Path,
    builds: Path,
    name: str,
    what: tuple[Profile, Filesystem],
    fill: Callable[[tuple[Disk, ...], Path], None],
    uses: ExitStack | None = None,
) -> tuple[Disk, ...]:
    """Return the disks of ``name`` below ``root``, made and filled if they are not there.

    ``fill`` boots the guest with blank disks that lie in the scratch directory it is given;
    what it raises goes on. Until ``uses`` is closed they are not evicted. Raises NoImageError.
    """
    profile, filesystem = what
    path = root / name

    def make() -> None:
        with job_directory(builds) as job:
            _fill(path, job, blank(_scratch(job), profile, filesystem), fill)

    with present(root / f"{name}.lock", path.exists, make) as hold:
        os.utime(path)  # when it was used last
        if uses is not None:
            uses.enter_context(hold.pop_all())
    found = [Disk(path / "data", profile.write_bytes)]
    if profile.swap_mib:
        found.append(Disk(path / "swap", profile.write_bytes))
    return tuple(found)


def _scratch(job: Path) -> Path:
    found = job / "scratch"
    found.mkdir()
    return found


def _fill(
    path: Path, job: Path, disks: tuple[Disk, ...], fill: Callable[[tuple[Disk, ...], Path], None]
) -> None:
    for disk in disks:
        disk.image.chmod(0o666)  # the box runs as another user
    fill(disks, job / "scratch")
    fresh = path.with_name(f".{uuid4().hex}")
    fresh.mkdir(mode=0o755)
    for disk in disks:
        disk.image.rename(fresh / disk.image.name)
        (fresh / disk.image.name).chmod(0o444)
    fresh.rename(path)
