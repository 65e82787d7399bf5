"""`make bench idle`: what the service takes while no mail comes: memory, and time of a core."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bot.store.database import sqlite

Say = Callable[[str, float, float, str], None]
SETTLED, SPAN = 25.0, 60.0  # seconds until it idles, and for which it is watched
MEMORY, SHARE = 200.0, 0.01  # MB, share of a core
WORDS = 5  # of a command line that are looked at
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Taken:
    """What a process has taken."""

    name: str
    memory: float  # MB, of shared pages its part alone
    seconds: float  # of a core


def taken(top: int) -> dict[int, Taken]:
    """Return what a process and all below it have taken."""
    found = {}
    for pid in tree(top):
        with suppress(FileNotFoundError, ProcessLookupError):
            found[pid] = Taken(name(pid), memory(pid), seconds(pid))
    return found


def tree(top: int) -> Iterator[int]:
    """Yield a process and all below it."""
    yield top
    for children in Path(f"/proc/{top}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from tree(int(child))


def name(pid: int) -> str:
    """Return what a process is called here."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:WORDS]
    return next((w for w in ("serve", "watch", "worker") if w in words), Path(words[0]).name)


def memory(pid: int) -> float:
    """Return the memory of a process in MB, its share of what it shares: PSS."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith("Pss:")) * 1024 / 1e6


def seconds(pid: int) -> float:
    """Return the time of a core that a process took: proc(5), fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def served(verb: str) -> Iterator[int]:
    """Run the service over an empty maildir, with settings as they are by default."""
    with tempfile.TemporaryDirectory(prefix="stackhog-idle-") as home:
        for part in ("new", "cur", "tmp"):
            Path(home, "mail", part).mkdir(parents=True)
        sqlite(Path(home, "data", "store.db")).close()  # as after the first start
        env = {one: value for one, value in os.environ.items() if not one.startswith("STACKHOG_")}
        env |= {"STACKHOG_HOME": home, "STACKHOG_WEB_PORT": "0"}
        with Path(home, "log").open("wb") as log:
            words = [sys.executable, "-m", "bot", verb, f"maildir:{home}/mail"]
            running = subprocess.Popen(words, env=env, stdout=log, stderr=log)
        try:
            time.sleep(SETTLED)
            if running.poll() is not None:
                raise RuntimeError(Path(home, "log").read_text())
            yield running.pid
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait()


def shares(before: Mapping[int, Taken], after: Mapping[int, Taken]) -> dict[str, tuple[int, float, float]]:  # noqa: E501 # fmt: skip
    """Return processes, memory and seconds by what they are called."""
    found: dict[str, tuple[int, float, float]] = {}
    for pid, one in after.items():
        began = before[pid].seconds if pid in before else 0.0
        number, all_of, took = found.get(one.name, (0, 0.0, 0.0))
        found[one.name] = number + 1, all_of + one.memory, took + one.seconds - began
    return found


def run(say: Say, verb: str = "serve") -> None:
    """Measure and say."""
    with served(verb) as top:
        before, began = taken(top), time.monotonic()
        time.sleep(SPAN)
        after = taken(top)
        span = time.monotonic() - began
    found = shares(before, after)
    each = ", ".join(f"{number} {what} {size:.0f}" for what, (number, size, _) in sorted(found.items()))  # noqa: E501 # fmt: skip
    say("memory of the idle service, MB", sum(one.memory for one in after.values()), MEMORY, each)
    each = ", ".join(f"{what} {took / span:.3%}" for what, (_, _, took) in sorted(found.items()))
    used = sum(took for _, _, took in found.values())
    load = f"load {os.getloadavg()[0]:.1f}"
    say("idle service, share of a core", used / span, SHARE, f"{each}, {load}")
