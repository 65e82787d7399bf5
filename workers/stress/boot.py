"""One boot of a guest: starts QEMU, listens to both its channels, says how it ended.

What comes from the guest is counted before it is kept, and read as text only in the end.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from workers import sandbox
from workers.process import CHUNK
from workers.stress import qemu
from workers.stress.qemu import Machine

DONE, SETUP, STALL = 0x10, 0x11, 0x12  # enum leave, guest/guest.h
TICK = 0.2  # seconds
LAST_WORDS = 4.0  # seconds that a silent guest has after it was asked by an NMI
BUSY = 0.5  # of one processor: a guest that is silent and takes more is spinning
GRACE = 20  # seconds of a stalled guest to show its stacks


@dataclass(frozen=True)
class Patience:
    """How long and how much a guest may talk, and how long it may be silent."""

    seconds: float
    silent_seconds: float
    console_bytes: int
    record_bytes: int
    last_words: float = LAST_WORDS


@dataclass
class Heard:
    """What came out of a guest."""

    console: bytearray = field(default_factory=bytearray)
    records: bytearray = field(default_factory=bytearray)
    status: int | None = None  # of QEMU; None: it was killed here
    why: str = ""  # why it was killed: "silent", "slow", "flooded"
    busy: float = 0.0  # processors' worth of time that a silent guest took
    asked: int | None = None  # bytes of console before an NMI was sent; what follows is our doing
    seconds: float = 0.0
    errors: str = ""  # QEMU's standard error

    @property
    def code(self) -> int | None:
        """Return what the guest gave to isa-debug-exit, None if it did not leave by it."""
        if self.status is None or self.status < 0 or self.status % 2 == 0 or self.status == 1:
            return None
        return self.status >> 1


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and all below it, as far as they live."""
    total = 0.0
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += _cpu_seconds(int(child))
    return total


class _Conversation:
    """Listens until the guest ends or has to be ended."""

    def __init__(
        self,
        running: subprocess.Popen[bytes],
        pipes: tuple[int, int],
        machine: Machine,
        patience: Patience,
        tell: Callable[[str], None],
    ) -> None:
        self.running, self.machine, self.patience, self.tell = running, machine, patience, tell
        self.console_fd, self.records_fd = pipes
        self.heard = Heard()
        self.began = self.last = time.monotonic()
        self.marks: list[tuple[float, float]] = []  # (time, processor seconds)
        self.lifted = False
        self.ends: float | None = None  # when a guest that was asked is killed

    def hold(self) -> Heard:
        """Listen to the end."""
        self._say({"execute": "qmp_capabilities"})
        with selectors.DefaultSelector() as selector:
            open_fds = {self.console_fd, self.records_fd, _fileno(self.running.stdout)}
            for fd in open_fds:
                os.set_blocking(fd, False)
                selector.register(fd, selectors.EVENT_READ)
            while open_fds:
                for key, _ in selector.select(timeout=TICK):
                    if not self._take(key.fd):
                        selector.unregister(key.fd)
                        open_fds.discard(key.fd)
                if self._judge():
                    break
                if self.running.poll() is not None and not selector.select(timeout=0):
                    break
        return self._finish()

    def _finish(self) -> Heard:
        heard = self.heard
        if not heard.why or heard.asked is not None:
            with suppress(subprocess.TimeoutExpired):
                self.running.wait(timeout=0.2 if heard.why else 2)
        status = self.running.poll()
        heard.status = status if not heard.why else None
        heard.seconds = time.monotonic() - self.began
        return heard

    def _take(self, fd: int) -> bool:
        try:
            chunk = os.read(fd, CHUNK)
        except BlockingIOError:
            return True
        if fd == self.console_fd:
            _add(self.heard.console, chunk, self.patience.console_bytes)
        elif fd == self.records_fd:
            self.last = time.monotonic()
            _add(self.heard.records, chunk, self.patience.record_bytes)
            self._look_at_records(chunk)
        return bool(chunk)

    def _look_at_records(self, chunk: bytes) -> None:
        if not self.lifted and b" phase verify\n" in self.heard.records[-len(chunk) - 64 :]:
            self.lifted = True  # what is dirty still goes to the disk, which need not last
            for number, disk in enumerate(self.machine.disks):
                if disk.write_bytes:
                    self._say({"execute": "block_set_io_throttle", "arguments": _unlimited(number)})
        last = bytes(self.heard.records[-400:]).split(b"\n")[-2:-1]
        if last:
            self.tell(last[0].decode(errors="replace"))

    def _say(self, command: dict[str, object]) -> None:
        assert self.running.stdin is not None  # noqa: S101 - a pipe
        with suppress(OSError):
            self.running.stdin.write(json.dumps(command).encode() + b"\n")
            self.running.stdin.flush()

    def _judge(self) -> bool:
        """Return whether the guest has to be killed now; heard.why says why."""
        now, heard, patience = time.monotonic(), self.heard, self.patience
        self._measure(now)
        if self.ends is not None:
            return now > self.ends
        if (
            len(heard.console) >= patience.console_bytes
            or len(heard.records) >= patience.record_bytes
        ):
            heard.why = "flooded"
            return True
        if now - self.began > patience.seconds:
            heard.why = "slow"
        elif now - self.last > patience.silent_seconds:
            heard.why = "silent"
        if heard.why:
            heard.busy = self._recent(now)
            heard.asked = len(heard.console)
            self._say({"execute": "inject-nmi"})
            self.ends = now + patience.last_words
        return False

    def _measure(self, now: float) -> None:
        if not self.marks or now - self.marks[-1][0] >= 1:
            self.marks.append((now, _cpu_seconds(self.running.pid)))
            del self.marks[:-6]

    def _recent(self, now: float) -> float:
        (then, before), after = self.marks[0], _cpu_seconds(self.running.pid)
        return (after - before) / max(now - then, TICK)


def _add(kept: bytearray, chunk: bytes, most: int) -> None:
    kept += chunk[: max(0, most - len(kept))]


def _fileno(stream: IO[bytes] | None) -> int:
    assert stream is not None  # noqa: S101 - a pipe
    return stream.fileno()


def _unlimited(number: int) -> dict[str, object]:
    names = ("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")
    return {"device": qemu.drive_name(number), **dict.fromkeys(names, 0)}


def boot(
    machine: Machine,
    patience: Patience,
    scratch: Path,
    uid: int,
    tell: Callable[[str], None] = lambda _: None,
) -> Heard:
    """Boot the guest and listen until it is over; nothing of it is left afterwards.

    ``tell`` gets the guest's last record now and then.
    """
    console, console_in = os.pipe()
    records, records_in = os.pipe()
    pipes = (console, records)
    try:
        argv = qemu.argv(machine, console_in, records_in)
        given = qemu.box(machine, scratch, uid)
        with sandbox.boxed(given, argv, (console_in, records_in)) as running:
            os.close(console_in)
            os.close(records_in)
            console_in = records_in = -1
            heard = _Conversation(running, pipes, machine, patience, tell).hold()
            if running.poll() is not None and running.stderr is not None:
                heard.errors = running.stderr.read(CHUNK).decode(errors="replace")
        return heard
    finally:
        for fd in (*pipes, console_in, records_in):
            if fd >= 0:
                os.close(fd)
