"""`python -m tests.bench.service.scaling`: how latency grows with mail, for 1, 10 and 100 slots.

Recorded jobs are slept, time is compressed, and Celery, Valkey, the store and all that carries
jobs between them are the real ones; a computed line says what carrying adds. Writes scaling.json
beside this file and docs/scaling.svg. `--plot` only draws what is there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bot.contract import Queue
from tests.bench.service import line, plot, traffic
from tests.bench.service.line import Ended
from tests.bench.service.traffic import HOUR, Run
from tests.bench.service.works import Wanted, Works, begin

FIGURES = Path(__file__).with_name("scaling.json")
PLOT = Path(__file__).parents[3] / "docs" / "scaling.svg"
DAY = 24 * HOUR
START, END = DAY + 6 * HOUR, DAY + 18 * HOUR  # the busy half of a Tuesday, UTC
SLOTS = (1, 10, 100)
STEP, MOST = 2 ** (1 / 3), 2000.0  # of how much mail there is, from 1 on
LATE = 24 * HOUR  # with more mail it only gets worse
ENOUGH = 1500  # runs that a computed point is made of
HOUSE = 10.0  # seconds between two looks at the workers
LOOK = 0.05  # the most that is waited for news
PATIENCE = 3.0  # times the span that is waited for the last reply
CARRIED = 0.03  # seconds that carrying a job takes, as `make bench dispatch` has it


@dataclass(frozen=True)
class Point:
    """What came of so much mail on so many slots; seconds."""

    slots: int
    times: float
    runs: int
    ended: int  # of them, before patience was at an end
    median: float
    p90: float
    p99: float
    used: float  # share of the span in which a slot worked
    asked: float  # median of what somebody asked for
    small: float  # of one patch, of what nobody asked for
    large: float  # of more than 8 patches, likewise
    compressed: float = 0.0  # how often faster than real; 0: computed
    load: float = 0.0  # of the machine meanwhile


def point(slots: int, times: float, runs: Sequence[Run], ended: Sequence[Ended], used: float) -> Point:  # noqa: E501 # fmt: skip
    """Sum up; what has not ended counts as what took longest."""
    longest = max((one.latency for one in ended), default=0.0)
    spans = sorted(one.latency for one in ended)
    spans += [longest] * (len(runs) - len(ended))
    unasked = [one for one in ended if not one.run.asked]
    return Point(
        slots, times, len(runs), len(ended), at(spans, 0.5), at(spans, 0.9), at(spans, 0.99), used,
        _median(one.latency for one in ended if one.run.asked),
        _median(one.latency for one in unasked if one.run.patches == 1),
        _median(one.latency for one in unasked if one.run.patches > 8),
    )  # fmt: skip


def at(spans: Sequence[float], share: float) -> float:
    """Return a quantile of what is sorted."""
    return round(spans[min(int(len(spans) * share), len(spans) - 1)], 1)


def _median(some: Iterable[float]) -> float:
    found = list(some)
    return round(statistics.median(found), 1) if found else 0.0


def mail(times: float, seed: int = 1) -> list[Run]:
    """Return the runs of the span that is looked at."""
    return traffic.runs(times, START, END, seed)


def computed(slots: int, times: float, cost: float = CARRIED, days: int = 1) -> Point:
    """Return a point without any broker, of so many days that are alike."""
    runs: list[Run] = []
    ended: list[Ended] = []
    used = 0.0
    for seed in range(1, days + 1):
        some = mail(times, seed)
        done, busy = line.serve(some, slots, cost)
        runs, ended = [*runs, *some], [*ended, *done]
        used += busy.share(slots, END - START) / days
    return point(slots, times, runs, ended, round(used, 4))


def curve(slots: int) -> list[Point]:
    """Return computed points, from today's mail to more than the slots can bear."""
    found: list[Point] = []
    times = 1.0
    while times <= MOST and (not found or found[-1].p90 < LATE):
        days = math.ceil(ENOUGH / max(len(mail(times)), 1))
        found.append(computed(slots, round(times, 2), days=days))
        times *= STEP
    return found


class Office:
    """Wants what each run needs next, and notes when it is answered."""

    def __init__(self, works: Works, runs: Sequence[Run], compressed: float) -> None:
        self._works, self._runs, self._compressed = works, runs, compressed
        self._next, self._left = 0, [1 + bool(one.stress) for one in runs]
        self._jobs: dict[str, tuple[int, Queue]] = {}
        self._numbers: dict[int, int] = {}
        self.ended: list[Ended] = []
        self._began = time.monotonic()
        self._kept, self.load = float("-inf"), 0.0

    @property
    def now(self) -> float:
        """Seconds since the beginning, as the mail has them."""
        return (time.monotonic() - self._began) * self._compressed

    def come(self) -> None:
        """Have built what mail has come."""
        new: dict[int, list[Queue]] = {}
        while self._next < len(self._runs) and self._runs[self._next].seen <= self.now:
            new[self._next] = [Queue.BUILD]
            self._next += 1
        with self._works.store.session() as session:
            for which in new:
                series = f"{which}@example.org"
                priority = self._runs[which].priority
                self._numbers[which] = begin(session, series, priority, datetime.now(UTC))
        self._want(new)

    def go_on(self, keys: Iterable[str]) -> None:
        """Go on with the runs of jobs that are done."""
        new: dict[int, list[Queue]] = defaultdict(list)
        for key in sorted(keys):
            which, kind = self._jobs.pop(key)
            if kind is Queue.BUILD:
                new[which] = [Queue.STACK, *([Queue.STRESS] if self._runs[which].stress else [])]
                continue
            self._left[which] -= 1
            if not self._left[which]:
                self.ended.append(Ended(self._runs[which], self.now))
        self._want(new)

    def _want(self, new: dict[int, list[Queue]]) -> None:
        some = []
        for which, kinds in new.items():
            run = self._runs[which]
            for kind in kinds:
                number = 3 * which + list(Queue).index(kind)
                seconds = line.seconds(run, kind) / self._compressed
                one = Wanted(kind, number, seconds, run.priority, self._numbers[which])
                self._jobs[one.key] = which, kind
                some.append(one)
        if some:
            self._works.want(some)

    def step(self) -> None:
        """Do what there is to do, as the bot's own loops do, or wait for news."""
        self.come()
        self._keep_house()
        carriage, now = self._works.carriage, datetime.now(UTC)
        change = carriage.collect(now)
        self.go_on(change.keys)
        if not carriage.dispatch(now) and not change.keys:
            carriage.listen(self.pause())

    def _keep_house(self) -> None:
        if time.monotonic() - self._kept < HOUSE:
            return
        self._kept, self.load = time.monotonic(), max(self.load, os.getloadavg()[0])
        self._works.carriage.sweep(datetime.now(UTC))
        self._works.carriage.meet(datetime.now(UTC))

    def pause(self) -> float:
        """Return the seconds until more mail comes, a few at most."""
        if self._next == len(self._runs):
            return LOOK
        left = (self._runs[self._next].seen - self.now) / self._compressed
        return min(max(left, 0.0), LOOK)

    def busy(self) -> bool:
        """Whether there is more to come, and it is worth waiting."""
        more = len(self.ended) < len(self._runs)
        return more and self.now < PATIENCE * (END - START)


def carried(slots: int, times: float, compressed: float) -> Point:
    """Return a point with everything real but the jobs."""
    runs = mail(times)
    with Works(slots) as works:
        office = Office(works, runs, compressed)
        while office.busy():
            office.step()
        used = works.busy((END - START) / compressed) / slots
    found = point(slots, times, runs, office.ended, round(used, 4))
    return replace(found, compressed=compressed, load=round(office.load, 1))


# slots, times, compression: what is asked for, the same at another compression, and near the knee
REAL = (
    (1, 10, 240.0), (10, 10, 240.0), (100, 10, 240.0), (1, 10, 480.0), (10, 100, 240.0),
)  # fmt: skip


def main(words: Sequence[str]) -> None:
    """Run all points, or one, or draw them again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plot", action="store_true")
    parser.add_argument("--point", nargs=3, type=float, metavar=("SLOTS", "TIMES", "COMPRESSION"))
    told = parser.parse_args(words)
    if told.point:
        compare(carried(int(told.point[0]), *told.point[1:]))
        return
    if not told.plot:
        keep([carried(*one) for one in REAL])
    draw([Point(**one) for one in json.loads(FIGURES.read_text())])


def keep(found: Sequence[Point]) -> None:
    """Write down what was carried."""
    rows = ",\n  ".join(json.dumps(asdict(one)) for one in found)
    FIGURES.write_text(f"[\n  {rows}\n]\n", encoding="utf-8")


def draw(real: Sequence[Point]) -> None:
    """Draw what was carried, and what is computed, and print both."""
    for one in real:
        compare(one)
    lines = {slots: curve(slots) for slots in SLOTS}
    for one in itertools.chain(*lines.values()):
        show(one)
    PLOT.write_text(plot.drawn(lines, real), encoding="utf-8")


def compare(one: Point) -> None:
    """Print what was carried, and what is computed with the same cost and without any."""
    show(one)
    show(computed(one.slots, one.times, CARRIED * one.compressed))
    show(computed(one.slots, one.times))


def show(one: Point) -> None:
    """Print a point."""
    how = f"1:{one.compressed:g}" if one.compressed else "computed"
    sys.stdout.write(
        f"{one.slots:4} slots {one.times:5g} times {how:>9}: {one.runs:6} runs, "
        f"used {one.used:6.1%}, median {minutes(one.median)} p90 {minutes(one.p90)} "
        f"p99 {minutes(one.p99)} asked {minutes(one.asked)} small {minutes(one.small)} "
        f"large {minutes(one.large)}"
        f"{f' load {one.load}' if one.load else ''}\n"
    )
    sys.stdout.flush()


def minutes(seconds: float) -> str:
    """Return minutes, as a table has them."""
    return f"{seconds / 60:7.1f}"


if __name__ == "__main__":
    main(sys.argv[1:])
