"""Stress profiles, and what a guest and QEMU are told of them."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from policies import stress
from policies.stress import Filesystem, Metric, StressPolicyError
from workers.stress import guest, job, qemu, run
from workers.stress.qemu import Disk, Machine

NAMES = stress.list_names()


def test_the_profiles_that_are_promised_are_there() -> None:
    wanted = {"quick", "writepage", "memcg", "swap", "deep-stack", "efficiency"}
    assert wanted <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_says_everything_that_the_guest_reads(name: str) -> None:
    profile = stress.load(name)
    for filesystem in profile.filesystems:
        lines = job.text(profile, filesystem, "a" * 32, 1, prepare=False).splitlines()
        words = [line.split(" ") for line in lines]
        assert all(len(one) > 1 and all(one) for one in words), lines
        assert [one[0] for one in words].count("work") == len(profile.work)
        assert any(work.operations for work in profile.work)  # else it never ends
        assert f"disk vda {filesystem}" in "\n".join(lines)
        filling = job.text(profile, filesystem, "a" * 32, 1, prepare=True)
        assert "work " not in filling
        assert "prepare 1\n" in filling


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "quick"', 'name = "other"', "and the file is quick.toml"),
        ("memory_mib = 128", "memory_mib = 1", "memory_mib: "),
        ("memory_mib = 128", "memory = 128", "memory"),
        ('kind = "churn"', 'kind = "rest"', "work.1.kind: "),
        ('"ext4", "ext2", "vfat", "xfs"', '"btrfs"', "filesystems.0: "),
        ('"vm/dirty_ratio"', '"../vm/dirty_ratio"', "sysctl."),
        ('"submit_bio*"', '"submit bio"', "trace.0: "),
        ("kswapd_file_writes = 500", "writes = 500", "exposure."),
        ("[exposure]", "[exposure", "cannot be read: "),
    ],
)
def test_a_wrong_profile_is_told_with_its_key(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = (stress.HERE / "quick.toml").read_text()
    assert text.count(old) >= 1
    path = tmp_path / "quick.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(StressPolicyError) as caught:
        stress.load(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_unknown_profile_is_told_with_those_there_are() -> None:
    with pytest.raises(StressPolicyError, match="there are: debug, deep-stack"):
        stress.load("none")
    with pytest.raises(StressPolicyError, match="cannot be read"):
        stress.load("/nowhere/none.toml")


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        (["fs/ext4/inode.c"], ["ext4"]),
        (["fs/jbd2/commit.c", "fs/fat/inode.c"], ["ext4", "vfat"]),
        (["fs/xfs/xfs_aops.c"], ["xfs"]),
        (["mm/vmscan.c"], ["ext4"]),
        (["fs/buffer.c"], ["ext2", "ext4"]),
        (["drivers/block/virtio_blk.c"], ["ext4"]),
        (["Documentation/mm/balance.rst"], []),
        (["fs/nfs/write.c"], []),
        (["tools/mm/page-types.c"], []),
        ([], []),
    ],
)
def test_filesystems_follow_from_what_is_touched(paths: list[str], wanted: list[str]) -> None:
    assert list(stress.filesystems(paths)) == [Filesystem(one) for one in wanted]


def test_only_a_filesystem_with_the_hook_needs_writes_by_kswapd() -> None:
    profile = stress.load("writepage")
    assert profile.floors(Filesystem.EXT4)[Metric.KSWAPD_FILE_WRITES] == 500
    assert Metric.KSWAPD_FILE_WRITES not in profile.floors(Filesystem.XFS)
    assert job.until(profile, Filesystem.XFS) == 0


MACHINE = Machine(
    Path("/k"), Path("/i"), (Disk(Path("/d"), 8), Disk(Path("/s"))), 128, 2, "tcg", 60
)


def test_qemu_is_confined() -> None:
    argv = qemu.argv(MACHINE, 7, 8)
    line = " ".join(argv)
    assert f"-sandbox {qemu.SANDBOX}" in line
    assert "spawn=deny" in line
    for word in ("-nodefaults", "-no-user-config", "-no-reboot"):
        assert word in argv
    assert "-netdev" not in argv
    assert "-nic" not in argv
    drives = [argv[n + 1] for n, word in enumerate(argv) if word == "-drive"]
    assert all(drive.endswith("snapshot=on") or "snapshot=on," in drive for drive in drives)
    assert "throttling.bps-write=8" in drives[0]
    assert "throttling" not in drives[1]
    assert "-smp 2,sockets=2" in line  # else the kernel sees one processor


def test_the_plain_line_can_be_broken_and_pasted() -> None:
    line = qemu.plain(run.by_hand(stress.load("quick"), "stress"))
    words = shlex.split(line)
    assert words[0] == "qemu-system-x86_64"
    assert words[words.index("-append") + 1] == " ".join(qemu.APPEND)
    broken = line.replace(" ", " \\\n    ")
    shell = ["sh", "-c", f"printf '%s\\n' {broken}"]
    said = subprocess.run(shell, check=True, capture_output=True, text=True).stdout
    assert [one.split() for one in said.splitlines()] == [one.split() for one in words]


def test_the_archive_holds_init_and_its_job() -> None:
    packed = guest.initramfs(b"\x7fELF", "nonce a\n")
    assert packed == guest.initramfs(b"\x7fELF", "nonce a\n")
    assert packed != guest.initramfs(b"\x7fELF", "nonce b\n")
    with pytest.raises(guest.NoGuestError, match="more than 500000"):
        guest.initramfs(bytes(n * n * 7919 % 251 ^ n >> 8 & 255 for n in range(3_000_000)), "")


def test_a_newc_entry_is_as_the_kernel_reads_it() -> None:
    entry = guest.newc("init", 0o100755, b"abcde", 3, (5, 1))
    assert entry[:6] == b"070701"
    fields = [int(entry[6 + 8 * n : 14 + 8 * n], 16) for n in range(13)]
    assert fields == [3, 0o100755, 0, 0, 1, 0, 5, 0, 0, 5, 1, 5, 0]
    assert entry[110:115] == b"init\0"
    assert len(entry) % 4 == 0
    assert entry.endswith(b"abcde\0\0\0")
