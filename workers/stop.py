"""How a worker ends: it drains when it is asked first, and is dead at once when asked again.

Celery ignores a second SIGTERM, and leaves directories and control groups of the jobs that a cold
shutdown kills; so the second word is heard here.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from celery.signals import worker_ready, worker_shutting_down

from workers import cgroup, layers
from workers.config import WorkerConfig

LOG = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
DEAD_SECONDS = 10.0  # until all that was killed is gone
SWEEPS = 20


class Stopping:
    """Hears the signals of a worker's main process."""

    def __init__(self, worker: WorkerConfig, drains: Callable[[], None]) -> None:
        self._worker, self._drains = worker, drains
        self._leaves: Callable[[], None] = lambda: None
        self._main = os.getpid()

    def listen(self, leaves: Callable[[], None]) -> None:
        """Take the signals over from Celery once it has set its own; ``leaves`` says goodbye."""
        self._leaves = leaves
        worker_ready.connect(self._ready, weak=False)
        worker_shutting_down.connect(self._drain, weak=False)

    def _ready(self, **_: Any) -> None:  # noqa: ANN401 - the signal's own signature
        signal.signal(signal.SIGQUIT, self._kill)
        # Celery would start itself anew on SIGHUP, by a command line that is not ours, and leave
        # with status 1 on SIGINT
        for one in SIGNALS:
            signal.signal(one, signal.getsignal(signal.SIGTERM))

    def _drain(self, **_: Any) -> None:  # noqa: ANN401 - the same
        """The first word: Celery finishes what it has; the next word is heard here."""
        LOG.warning("draining: no new job is taken; the next signal kills those that run")
        for one in (*SIGNALS, signal.SIGQUIT):
            signal.signal(one, self._kill)
        self._drains()

    def _kill(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._main:  # a slot that was forked with this handler
            os._exit(128 + number)
        LOG.warning("killing the jobs that run; they begin anew elsewhere")
        bury(os.getpid())
        for _try in range(SWEEPS):
            layers.sweep(self._worker.builds)
            if cgroup.sweep():
                break
            time.sleep(0.1)
        self._leaves()
        os._exit(128 + number)


def bury(pid: int) -> None:
    """Kill all processes below one, and wait until they are gone."""
    ends = time.monotonic() + DEAD_SECONDS
    left = below(pid)
    while left and time.monotonic() < ends:
        for one in left:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        time.sleep(0.02)
        with suppress(ChildProcessError):  # a zombie still owns its control groups
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        left = [one for one in {*left, *below(pid)} if _lives(one)]


def below(pid: int) -> list[int]:
    """Return the processes below one, at any depth."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *below(int(child))]
    return found


def _lives(pid: int) -> bool:
    """Whether a process is not gone; a zombie is, but for one that is ours to reap."""
    with suppress(OSError, IndexError):
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        return state not in "ZX" or int(parent) == os.getpid()
    return False
