"""How many jobs a worker runs, and of which kinds, on machines of all sorts."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from workers import abilities, sandbox
from workers.abilities import Machine, NothingToServeError, UnableError
from workers.config import WorkerConfig
from workers.stress import accelerator, guest

GIB = 1 << 30
CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("cores", "memory", "build_memory", "slots"),
    [
        (2, 24 * GIB, 6 * GIB, 2),  # cores are what is short
        (64, 24 * GIB, 6 * GIB, 3),  # memory is
        (64, 256 * GIB, 6 * GIB, 42),
        (4, 13 * GIB, 6 * GIB, 2),  # exactly two builds and the reserve
        (4, 13 * GIB - 1, 6 * GIB, 1),
        (1, 256 * GIB, 6 * GIB, 1),
        (8, 2 * GIB, 6 * GIB, 1),  # one build gets what there is
        (8, GIB // 2, 6 * GIB, 1),
        (8, 9 * GIB, GIB, 8),
    ],
)
def test_slots_follow_from_cores_and_memory(
    cores: int, memory: int, build_memory: int, slots: int
) -> None:
    assert abilities.slots(Machine(cores, memory), build_memory) == slots


def write(root: Path, files: dict[str, str], own: str) -> Machine:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "own").write_text(own)
    return abilities.measure(root, root / "own")


PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
CPU = "cpu,cpuacct/c/cpu.cfs"
V1 = "4:memory:/a/b\n2:cpu,cpuacct:/c\n1:name=systemd:/x\n"


@pytest.mark.parametrize(
    ("files", "own", "cores", "memory"),
    [
        ({}, "", CORES, PHYSICAL),
        ({}, "0::/\n", CORES, PHYSICAL),
        ({"a/b/memory.max": "1000000000"}, "0::/a/b\n", CORES, 10**9),
        ({"a/b/memory.max": "max", "a/memory.max": "2000000000"}, "0::/a/b\n", CORES, 2 * 10**9),
        ({"memory.max": "1000000000"}, "0::/hidden/path\n", CORES, 10**9),  # in a container
        ({"unified/a/memory.max": "1000000000"}, "0::/a\n", CORES, 10**9),
        ({"b/memory.max": "1000000000"}, "0::/a\n", CORES, PHYSICAL),  # not ours
        ({"a/cpu.max": "100000 100000"}, "0::/a/b\n", 1, PHYSICAL),
        ({"a/cpu.max": "50000 100000"}, "0::/a/b\n", 1, PHYSICAL),
        ({"a/cpu.max": "max 100000"}, "0::/a/b\n", CORES, PHYSICAL),
        ({"memory/a/b/memory.limit_in_bytes": "1000000000"}, V1, CORES, 10**9),
        ({"memory/a/memory.limit_in_bytes": "1000000000"}, V1, CORES, 10**9),
        ({"memory/a/b/memory.limit_in_bytes": "9223372036854771712"}, V1, CORES, PHYSICAL),
        (
            {f"{CPU}_quota_us": "150000", f"{CPU}_period_us": "100000"},
            V1, 1, PHYSICAL,
        ),
        (
            {f"{CPU}_quota_us": "-1", f"{CPU}_period_us": "100000"},
            V1, CORES, PHYSICAL,
        ),
        ({"a/memory.max": "nonsense", "a/cpu.max": ""}, "0::/a\n7:freezer:/\n", CORES, PHYSICAL),
    ],
)  # fmt: skip
def test_control_groups_are_respected(
    tmp_path: Path, files: dict[str, str], own: str, cores: int, memory: int
) -> None:
    assert write(tmp_path, files, own) == Machine(min(cores, CORES), memory)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerConfig:
    """A machine with a sandbox, QEMU, a compiler, and a /dev/kvm that can be opened."""
    found = WorkerConfig(tmp_path / "data", tmp_path / "cache")
    found.stress.mkdir(parents=True)
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(accelerator, "DEVICE", device)
    monkeypatch.setattr(sandbox, "require", lambda *_: None)
    monkeypatch.setattr(guest, "ensure", lambda _: b"")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return found


def keep(config: WorkerConfig, answer: str) -> None:
    name = f"accelerator-{accelerator.BOOT_ID.read_text().strip()}.json"
    (config.stress / name).write_text(json.dumps({"accelerator": answer, "reason": "it was tried"}))


def test_kvm_is_served_only_after_a_guest_booted_with_it(config: WorkerConfig) -> None:
    assert abilities.queues(config) == ("stack", "stress", "build")
    keep(config, "tcg")
    assert abilities.queues(config) == ("stack", "stress", "build")
    keep(config, "kvm")
    assert abilities.queues(config) == ("stack", "kvm", "stress", "build")


def test_an_answer_of_another_boot_is_none(config: WorkerConfig) -> None:
    (config.stress / "accelerator-other.json").write_text('{"accelerator": "kvm", "reason": ""}')
    assert not abilities.has_kvm(config)


@pytest.mark.parametrize("text", ["", "[]", "{", "3"])
def test_a_torn_answer_is_none(config: WorkerConfig, text: str) -> None:
    keep(config, "kvm")
    next(config.stress.iterdir()).write_text(text)
    assert not abilities.has_kvm(config)


def test_without_qemu_there_is_no_stress(
    config: WorkerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(config, "kvm")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert abilities.queues(config) == ("stack", "build")
    with pytest.raises(UnableError, match="stress: qemu-system-x86_64 is not installed"):
        abilities.queues(config, ["stress"])
    with pytest.raises(UnableError, match="kvm: qemu-system-x86_64 is not installed"):
        abilities.queues(config, ["kvm", "stress"])


def test_without_a_guest_program_there_is_no_stress(
    config: WorkerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Path) -> bytes:
        raise guest.NoGuestError("the guest's program does not compile: x")

    monkeypatch.setattr(guest, "ensure", fails)
    assert abilities.queues(config) == ("stack", "build")


def test_without_a_sandbox_there_is_nothing(
    config: WorkerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise sandbox.NoSandboxError("no sandbox on this machine")

    monkeypatch.setattr(sandbox, "require", fails)
    with pytest.raises(NothingToServeError, match="can do nothing: no sandbox"):
        abilities.queues(config)
    assert abilities.queues(config, anyway=True) == ("stack", "stress", "build")
    with pytest.raises(UnableError, match="stack: no sandbox"):
        abilities.queues(config, ["stack"])


def test_wishes_are_held_against_the_machine(config: WorkerConfig) -> None:
    assert abilities.queues(config, ["build", "stack"]) == ("stack", "build")
    assert abilities.queues(config, ["kvm", "stress"]) == ("stress",)  # kvm comes when it is proven
    with pytest.raises(UnableError, match="kvm: no guest has booted with KVM yet"):
        abilities.queues(config, ["kvm"])
    keep(config, "tcg")
    with pytest.raises(UnableError, match="kvm: it was tried"):
        abilities.queues(config, ["kvm", "stress"])
    with pytest.raises(UnableError, match="there is no queue builds"):
        abilities.queues(config, ["builds"])
    accelerator.DEVICE.unlink()
    with pytest.raises(UnableError, match=r"kvm: .*/kvm cannot be opened"):
        abilities.queues(config, ["kvm", "stress"])


@pytest.mark.parametrize("name", ["", "two words", "a\nb", "50%", "a\x00b"])
def test_a_name_is_one_word(name: str) -> None:
    with pytest.raises(UnableError, match="worker_name"):
        abilities.name_of(name)


def test_a_worker_has_a_name() -> None:
    assert abilities.name_of("build-7") == "build-7"
    assert abilities.name_of(None).endswith(f":{os.getpid()}")


def test_a_missing_compiler_is_no_error() -> None:
    assert abilities.compiler("gcc").startswith("gcc")
    assert abilities.compiler("no-such-compiler") == ""
