"""`make bench dispatch`: what carrying a job costs, from `ready` in the store to `done` in it."""

from __future__ import annotations

import itertools
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

from bot.contract import Queue
from bot.mail.outbox import Outbox
from bot.mail.outrules import Rules
from bot.service.running import Running
from bot.service.watch import Bot, Runs
from tests import stores
from tests.bench.service.works import Wanted, Works

Say = Callable[[str, float, float, str], None]
JOBS, AT_ONCE, ALONE = 3000, 250, 40
OVERHEAD, RATE = 0.050, 200.0  # seconds for each job, jobs a second
SECONDS = (0.0, 0.5)  # of jobs that are carried alone
KINDS = (Queue.BUILD, Queue.STACK, Queue.STRESS)
POLL = 0.002  # seconds
LONGEST = 120.0


@contextmanager
def running(works: Works) -> Iterator[Running]:
    """Run the bot's own loops, with nothing to read and nothing to plan."""
    stop = threading.Event()
    none = cast("Any", None)
    bot = Bot(
        store=works.store, outbox=Outbox(works.store, Rules()), ears=none, office=none, mouth=none,
        carriage=works.carriage, policy=none, patience=none, fetch=None, runs=Runs.NONE,
        clock=lambda: datetime.now(UTC), stop=stop.is_set,
    )  # fmt: skip
    found = Running(bot, [], lambda: None, stop)
    found.parts.start()
    try:
        yield found
    finally:
        stop.set()
        found.parts.join()


def alone(works: Works, bot: Running, numbers: Iterator[int], seconds: float) -> list[float]:
    """Return what jobs cost that are carried one at a time: seconds above their own."""
    found = []
    for number in itertools.islice(numbers, ALONE):
        one = Wanted(KINDS[number % 3], number, seconds)
        works.want([one])
        bot._carrying.wake()  # as planning does
        began, ended = wait(works, {one.key})[one.key]
        found.append((ended - began).total_seconds() - seconds)
    return found


def wait(works: Works, keys: set[str]) -> dict[str, tuple[datetime, datetime]]:
    """Wait until jobs are done; return when they were made, and done."""
    end = time.monotonic() + LONGEST
    pause = POLL if len(keys) == 1 else 0.1
    while len(found := works.ended(keys)) < len(keys):
        if time.monotonic() > end:
            raise TimeoutError(f"{len(keys) - len(found)} jobs are not done")
        time.sleep(pause)
    return found


def together(works: Works, bot: Running, numbers: Iterator[int]) -> float:
    """Return the jobs a second that are carried when there are many."""
    some = [Wanted(KINDS[number % 3], number, 0.0) for number in itertools.islice(numbers, JOBS)]
    for at in range(0, JOBS, AT_ONCE):
        works.want(some[at : at + AT_ONCE])
    began = time.monotonic()
    bot._carrying.wake()
    wait(works, {one.key for one in some})
    return JOBS / (time.monotonic() - began)


def run(say: Say) -> None:
    """Measure and say, on both databases."""
    with Works(slots=2) as works:
        measure(say, works, "SQLite")
    with stores.server() as cluster, Works(slots=2, url=cluster.fresh()) as works:
        measure(say, works, "PostgreSQL")


def measure(say: Say, works: Works, where: str) -> None:
    """Measure and say."""
    numbers = itertools.count(1)
    with running(works) as bot:
        for seconds in SECONDS:
            costs = sorted(alone(works, bot, numbers, seconds))
            tail = costs[int(len(costs) * 0.95)]
            say(f"{where}: overhead of a job of {seconds:g} s, seconds", statistics.median(costs),
                OVERHEAD, f"p95 {tail:.3f}, {_load()}")  # fmt: skip
        rate = together(works, bot, numbers)
        say(f"{where}: seconds for each of many jobs", 1 / rate, 1 / RATE,
            f"{rate:.0f} a second, {_load()}")  # fmt: skip


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"
