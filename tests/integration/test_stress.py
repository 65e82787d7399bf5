"""Kernels under reclaim stress in QEMU: the unmodified one, and three with a seeded bug."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from bot.contract import FindingKind
from tests.bench.stress import seeds
from tests.integration.conftest import one_line, stackhog
from workers.stack import observed
from workers.stress import guest

BOOTED = pytest.mark.timeout(1200)


@BOOTED
def test_the_unmodified_kernel_shows_nothing_and_says_what_it_reached(
    image: Path, objects: tuple[Path, Path], tmp_path: Path
) -> None:
    dumps = tmp_path / "dumps"
    done = stackhog(
        "stress", image, "--base", image, "--filesystem", "ext4", "--json",
        "--stacks", dumps, "--consoles", tmp_path / "consoles",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["findings"] == []
    assert found["accelerator"] in {"tcg", "kvm"}
    assert found["accelerator_reason"]
    (run,) = found["runs"]
    boots = [*run["base"], *run["patched"]]
    assert {one["ending"] for one in boots} == {"done"}
    assert run["base"]
    for one in run["patched"]:
        reached = dict(one["metrics"])
        assert all(reached[name] >= least for name, least in run["profile"]["exposure"].items())
        assert one["direct_writes"] == []
        assert one["verified"][0]["bad"] == 0
        assert dict(one["counters"])["nr_vmscan_write"] > 0
    consoles = sorted(path.name for path in (tmp_path / "consoles").iterdir())
    assert consoles[-1] == "quick-ext4-patched-1.log"
    assert "lkdtm_WARNING" in (tmp_path / "consoles" / consoles[-1]).read_text()
    assert len(observed.parse(dumps.read_text())) == len(run["patched"][0]["stacks"])
    held = stackhog("stack", objects[0], "--observed", dumps, "--json")
    assert held.returncode == 0, held.stderr
    assert json.loads(held.stdout)["missing"] == []


@BOOTED
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("direct-write-kswapd-forgotten", FindingKind.DIRECT_WRITE),
        ("stack-1024-pageout", FindingKind.STACK_DEEPER),
        ("crash-vfat-reclaim", FindingKind.KERNEL_REPORT),
    ],
)
@pytest.mark.usefixtures("objects")
def test_a_seeded_bug_is_caught_and_its_function_named(name: str, kind: FindingKind) -> None:
    seed = next(one for one in seeds.load() if one["name"] == name)
    built = seeds.build(seed)
    assert built.image, built.reason
    _, found = seeds.boots(seed, built)
    right = [one for one in found if one.kind is kind]
    assert right, found
    assert right[0].function in seed["functions"]
    assert right[0].patch == 1
    assert right[0].file == seed["patch"].partition("+++ b/")[2].partition("\n")[0]
    if kind is FindingKind.KERNEL_REPORT:  # decoded, down to the line
        assert any("fs/fat/inode.c:" in line for line in right[0].text), right[0].text


def test_the_archive_is_reproducible_and_small(tmp_path: Path) -> None:
    first, second = (guest.ensure(tmp_path / name) for name in ("one", "two"))
    assert first == second
    assert guest.initramfs(first, "nonce a\n") == guest.initramfs(second, "nonce a\n")
    packed = guest.initramfs(first, "nonce a\n")
    assert len(packed) <= 500_000
    archive = gzip.decompress(packed)
    for name in (b"init", b"job", b"dev/console", b"TRAILER!!!"):
        assert name + b"\0" in archive


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "nowhere cannot be read"),
        (("/etc/hostname",), "is no bzImage"),
        (("IMAGE", "--profile", "none"), "no such stress profile; there are: debug, deep-stack"),
        (("IMAGE", "--filesystem", "btrfs"), "'btrfs' is not a valid"),
        (("IMAGE", "--profile", "enospc", "--filesystem", "xfs"), "none of these profiles"),
    ],
)
def test_wrong_input_is_told_in_a_sentence(words: tuple[str, ...], said: str, image: Path) -> None:
    done = stackhog("stress", *(str(image) if word == "IMAGE" else word for word in words))
    assert done.returncode == 2
    assert said in one_line(done.stderr)
