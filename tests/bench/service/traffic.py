"""Mail as a service meets it: how many series a day, how large, when, and what their jobs take.

What is measured and what is assumed is in docs/scaling.md, beside each number. Equal seeds give
equal traffic.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bot.service import planning
from bot.store.wishes import Wanted

DURATIONS = Path(__file__).with_name("durations.jsonl")
HOUR = 3600.0
SERIES = 75.0  # a day on all lists of mm and filesystems, each counted once; a mean day
# how many patches a series has: counts of one month of linux-ext4
SIZES = {
    1: 29, 2: 6, 3: 1, 4: 2, 5: 6, 6: 1, 7: 2, 8: 1, 9: 2, 11: 1, 13: 2, 14: 1, 21: 1, 23: 1,
}  # fmt: skip
RUNS = (1, 2, 4)  # profiles times filesystems of one stress job, each as often
IN_SCOPE = 0.10  # that a patch brings its series into scope
ASKED = 0.02  # of all series: /test
MISS = 0.20  # of the builds have a base that nobody has built yet
WIDE, SOME = 0.02, 0.08  # of the patches touch a header of all, or of some
PEAK, SWING = 14, 0.6  # hour of the day, UTC, with most mail; how much more it is than the mean
WEEKEND = 0.3  # of a weekday's mail
POLL = 60.0  # seconds between two looks for mail: the setting poll_seconds


@dataclass(frozen=True)
class Run:
    """A run that mail causes; times in seconds, ``at`` after the beginning."""

    at: float  # its last mail came
    patches: int
    asked: bool
    build: float
    stack: float
    stress: float

    @property
    def seen(self) -> float:
        """Return when it is looked at."""
        return math.ceil(self.at / POLL) * POLL

    @property
    def work(self) -> float:
        """Return the seconds that it takes on a slot, all together."""
        return self.build + self.stack + self.stress

    @property
    def priority(self) -> int:
        """Return its priority, as planning gives it."""
        asked = Wanted(0, "", {}, "a@example.org" if self.asked else None, None)
        return planning.priority(asked, self.patches)


@dataclass(frozen=True)
class Samples:
    """What was recorded, as it is drawn from; seconds."""

    patch: tuple[float, ...]  # one that touches files
    some: tuple[float, ...]  # one that touches a header of some files
    wide: tuple[float, ...]  # one that touches a header of nearly all
    around: tuple[float, ...]  # of a build, beside its patches
    stack: tuple[tuple[int, float], ...]  # patches, seconds
    boots: tuple[tuple[float, float], ...]  # of one profile on one filesystem: patched, base
    cold: tuple[float, ...]  # a baseline that was not there


@cache
def samples() -> Samples:
    """Read what was recorded."""
    rows = [json.loads(line) for line in DURATIONS.read_text().splitlines()]
    warm = [row for row in rows if row["baseline"] == "hit"]
    plain = [row for row in warm if "header" not in row["series"]]
    around = [row["seconds"]["build"] - sum(row["patches"]) for row in warm]
    runs = [(row, run) for row in warm for run in row.get("stress", ())]
    return Samples(
        patch=tuple(one for row in plain for one in row["patches"]),
        some=_of(warm, "a header of some"), wide=_of(warm, "a header of all"),
        around=tuple(round(max(one, 0.0), 1) for one in around),
        stack=tuple((len(row["patches"]), row["seconds"]["stack"]) for row in plain),
        boots=tuple(_boots(row, run) for row, run in runs),
        cold=tuple(row["cold"] for row in rows if row.get("cold")),
    )  # fmt: skip


def _of(rows: Sequence[dict[str, Any]], name: str) -> tuple[float, ...]:
    return tuple(one for row in rows if name in row["series"] for one in row["patches"])


def _boots(row: dict[str, Any], run: dict[str, Any]) -> tuple[float, float]:
    """Return the seconds of a kernel's boots in a run, and of the base's; each with its share."""
    half = run["base"]
    worked = sum(sum(one["boots"][one["kept"] :]) for one in row["stress"])
    beside = max(row["seconds"]["stress"] - worked, 0.0) / len(row["stress"])
    return sum(run["boots"][half:]) + beside, sum(run["boots"][:half])


def build(rng: random.Random, patches: int, cold: float) -> float:
    """Return how long a build takes."""
    found = samples()
    seconds = rng.choice(found.around) + cold
    for _ in range(patches):
        kind = rng.random()
        pool = found.wide if kind < WIDE else found.some if kind < WIDE + SOME else found.patch
        seconds += rng.choice(pool)
    return seconds


def stack(rng: random.Random, patches: int) -> float:
    """Return how long a comparison takes: as one recorded that is about as large."""
    near = sorted(samples().stack, key=lambda one: (abs(math.log(one[0] / patches)), one))[:3]
    return rng.choice(near)[1]


def stress(rng: random.Random, *, fresh: bool) -> float:
    """Return how long a stress job takes; ``fresh``: the base has to be booted as well."""
    some = [rng.choice(samples().boots) for _ in range(rng.choice(RUNS))]
    return sum(patched + (base if fresh else 0.0) for patched, base in some)


def run(rng: random.Random, at: float) -> Run | None:
    """Return what a series causes that came at some time; None: it is out of scope."""
    patches = rng.choices(list(SIZES), list(SIZES.values()))[0]
    asked = rng.random() < ASKED
    if rng.random() >= 1 - (1 - IN_SCOPE) ** patches and not asked:
        return None
    fresh = rng.random() < MISS
    cold = rng.choice(samples().cold) if fresh else 0.0
    return Run(at, patches, asked, build(rng, patches, cold), stack(rng, patches), stress(rng, fresh=fresh))  # noqa: E501 # fmt: skip


def rate(at: float) -> float:
    """Return how much mail comes at a time beside the mean; time 0 is Monday, 0:00 UTC."""
    day, hour = int(at // (24 * HOUR)) % 7, at / HOUR % 24
    shape = 1 + SWING * math.cos((hour - PEAK) / 24 * math.tau)
    return shape * (WEEKEND if day >= 5 else 1.0) * 7 / (5 + 2 * WEEKEND)


def runs(times: float, start: float, end: float, seed: int = 1) -> list[Run]:
    """Return the runs of a span of time, ``times`` as many as there are; ``at`` from its start."""
    rng = random.Random(seed)  # noqa: S311 - equal seeds, equal traffic
    most = 7 / (5 + 2 * WEEKEND) * (1 + SWING)
    every, at = 24 * HOUR / (SERIES * times * most), start
    found = []
    while (at := at + rng.expovariate(1 / every)) < end:
        if rng.random() * most < rate(at) and (one := run(rng, at - start)):
            found.append(one)
    return found


def demand(times: float = 1.0) -> tuple[float, float, float]:
    """Return runs a day, seconds of a slot for each, and slots that are busy: a week's means."""
    found = runs(max(times, 10.0), 0.0, 7 * 24 * HOUR)
    scale = times / max(times, 10.0)
    work = sum(one.work for one in found)
    return len(found) / 7 * scale, work / len(found), work / (7 * 24 * HOUR) * scale
