"""Guests that lie, flood, hang or die: each is called by its name, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bot.contract import Boot, Ending
from tests.integration.conftest import ROOT, children, command_of
from workers import cgroup
from workers.stress import boot, guest, judge
from workers.stress.boot import Patience
from workers.stress.qemu import Disk, Machine

NONCE = "0123456789abcdef0123456789abcdef"
UID = 64738
PATIENCE = Patience(seconds=40, silent_seconds=4, console_bytes=200_000, record_bytes=20_000)


@pytest.fixture(scope="session")
def init(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    program = tmp_path_factory.mktemp("hostile") / "init"
    source = Path(__file__).with_name("hostile.c")
    subprocess.run(["gcc", "-static", "-Os", "-s", "-o", program, source], check=True)  # noqa: S607
    return program.read_bytes()


@pytest.fixture
def machine(init: bytes, image: Path, tmp_path: Path) -> Iterator[Machine]:
    """Yield a machine whose guest still has to be told what to do; look for what it left."""
    disk = tmp_path / "disk"
    disk.write_bytes(b"\0" * (1 << 20))
    before = _empty_groups()
    assert init
    yield Machine(image, tmp_path / "initramfs", (Disk(disk),), 128, 2, "tcg", 40)
    assert _guests() == []
    assert [*(tmp_path / "scratch").iterdir()] == []
    _wait_until(lambda: _empty_groups() <= before)
    assert disk.read_bytes() == b"\0" * (1 << 20)


def _guests() -> list[str]:
    """Return the command lines of QEMUs that this process started and that still run."""
    return [command_of(pid) for pid in children(os.getpid()) if "qemu" in command_of(pid)]


def _empty_groups() -> set[Path]:
    """Return the groups without a process; others' jobs may run beside this test."""
    found = set()
    for one in cgroup.hierarchies():
        for group in one.parent.iterdir():
            with suppress(OSError):
                if group.is_dir() and not (group / "cgroup.procs").read_text():
                    found.add(group)
    return found


def _wait_until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.1)


def act(what: str, init: bytes, machine: Machine) -> Boot:
    machine.initramfs.write_bytes(guest.initramfs(init, f"nonce {NONCE}\nact {what}\n"))
    heard = boot.boot(machine, PATIENCE, machine.initramfs.with_name("scratch"), UID)
    assert len(heard.console) <= PATIENCE.console_bytes
    assert len(heard.records) <= PATIENCE.record_bytes
    return judge.judge(heard, NONCE, "tcg")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("what", "endings"),
    [
        ("forge-records", {Ending.FORGED}),
        ("forge-account", {Ending.DEAF}),
        ("forge-panic", {Ending.FORGED}),
        ("print-panic", {Ending.EARLY}),
        ("early", {Ending.EARLY}),
        ("stall-code", {Ending.EARLY}),
        ("reboot", {Ending.EARLY}),
        ("flood", {Ending.FLOODED}),
        ("flood-log", {Ending.SPUN}),  # /dev/kmsg lets so much through, and no more
        ("huge-record", {Ending.FLOODED}),
        ("hang", {Ending.HUNG}),
        ("spin", {Ending.SPUN}),
        ("die", {Ending.CRASHED}),  # "Attempted to kill init!"
        # it takes all memory, or all processors, or both, and the kernel tells of each OOM kill
        ("fork-bomb", {Ending.SPUN, Ending.CRASHED, Ending.HUNG, Ending.FLOODED}),
    ],
)
def test_a_hostile_guest_is_called_by_its_name(
    what: str, endings: set[Ending], init: bytes, machine: Machine
) -> None:
    found = act(what, init, machine)
    assert found.ending in endings, found
    assert found.problem


WORKER = """
import sys
from pathlib import Path
from workers.stress import boot
from workers.stress.boot import Patience
from workers.stress.qemu import Machine
top = Path(sys.argv[2])
machine = Machine(Path(sys.argv[1]), top / "initramfs", (), 128, 2, "tcg", 100)
boot.boot(machine, Patience(100, 100, 1 << 20, 1 << 20), top / "scratch", 64738)
"""


@pytest.mark.timeout(120)
def test_a_guest_does_not_outlive_its_worker(init: bytes, image: Path, tmp_path: Path) -> None:
    (tmp_path / "initramfs").write_bytes(guest.initramfs(init, f"nonce {NONCE}\nact hang\n"))
    argv = [sys.executable, "-c", WORKER, str(image), str(tmp_path)]
    worker = subprocess.Popen(argv, cwd=ROOT)
    try:
        below = _wait_for_qemu(worker.pid)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        _wait_until(lambda: not any("qemu" in command_of(pid) for pid in below))
        assert [*(tmp_path / "scratch").iterdir()] == []
    finally:
        worker.kill()


def _wait_for_qemu(pid: int) -> list[int]:
    def running() -> list[int]:
        return [one for one in children(pid) if command_of(one).startswith("qemu-system")]

    _wait_until(lambda: bool(running()), 30)
    return running()
