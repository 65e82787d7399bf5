"""The metrics, read out of the store when they are asked for; docs/operators.md lists them.

A label's known values are there from the start, as 0: an alert on what is absent never fires.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from bot.contract import Outcome, Queue
from bot.store import jobs, measure, outbox
from bot.store.database import Store
from bot.store.durations import EDGES, JOB, NONE, STAGE, STAGES, Spreads
from bot.store.measure import Figures
from bot.web.ledger import Ledger
from bot.web.living import LATELY, Living, living

KINDS = tuple(Queue)
RUNS = (Outcome.PASSED, Outcome.FAILED, Outcome.BROKEN, "refused")
BOUNDS = (*(f"{float(edge)}" for edge in EDGES), "+Inf")


@dataclass(frozen=True)
class Counter:
    """A counter of the store, as a metric."""

    labels: tuple[str, ...]
    known: tuple[str, ...]  # labels that are there from the start, as the store spells them
    help: str


COUNTERS = {
    "runs": Counter(("outcome",), RUNS, "Runs that ended."),
    "jobs": Counter(("kind", "outcome"), tuple(f"{k} {o}" for k in KINDS for o in Outcome),
        "Jobs that a worker answered.",
    ),
    "lost": Counter(("kind",), KINDS, "Jobs that were lost, and sent again."),
    "retried": Counter(("kind",), KINDS, "Jobs that were broken, and tried again."),
    "reused": Counter(("kind",), KINDS, "Jobs that another run had made already."),
    "baseline": Counter(("result",), ("hit", "miss"), "Baselines that were wanted."),
    "boots": Counter(("result",), ("kept", "made"), "Boots of a base that were wanted."),
    "refusals": Counter(("reason",), ("patch",), "What was not even tried."),
    "sent": Counter(("outcome",), ("sent", "failed"), "Mails that were sent, or failed."),
}  # fmt: skip


def registry(store: Store, clock: Callable[[], datetime]) -> CollectorRegistry:
    """Return what metrics come out of."""
    made = CollectorRegistry()
    made.register(Collector(store, clock))
    return made


class Collector:
    """Reads the store at each scrape."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store, self._clock = store, clock
        self._ledger = Ledger(store, clock())

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics. Raises StoreError before the first."""
        now = self._clock()
        with self._store.reading() as session:
            figures = measure.figures(session)
            alive = living(measure.known(session, now - LATELY), now)
        times = self._ledger.read(now)
        yield from _work(figures, now)
        yield from _times(times)
        yield from _counters(figures.counters)
        yield from _mail(figures, now)
        yield from _parts(alive, now)
        yield gauge(
            "info", "The version that says this.", ("version",), [((version("stackhog"),), 1)]
        )


Samples = Iterable[tuple[tuple[str, ...], float]]


def gauge(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    """Return a gauge."""
    family = GaugeMetricFamily(f"stackhog_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _one(name: str, text: str, value: float) -> Metric:
    return gauge(name, text, (), [((), value)])


def _work(found: Figures, now: datetime) -> Iterator[Metric]:
    lines = {one.kind: one for one in found.lines}
    waiting = [((kind,), lines[kind].waiting if kind in lines else 0) for kind in KINDS]
    oldest = [((kind,), _age(lines[kind].oldest if kind in lines else None, now)) for kind in KINDS]
    states = dict.fromkeys(itertools.product(KINDS, jobs.State), 0) | dict(found.jobs)
    yield gauge("queue_length", "Jobs that wait.", ("queue",), waiting)
    yield gauge("queue_oldest_seconds", "Age of the oldest job that waits.", ("queue",), oldest)
    yield gauge("jobs", "Jobs by state.", ("kind", "state"), states.items())


def _times(found: Spreads) -> Iterator[Metric]:
    for family, name, labels, label, text in (
        (JOB, "job_seconds", KINDS, "kind", "From a job's start to its end."),
        (STAGE, "stage_seconds", STAGES, "stage", "How long each stage of a review took."),
    ):
        metric = HistogramMetricFamily(f"stackhog_{name}", text, labels=(label,))
        for value in labels:
            spread = found.get((family, value), NONE)
            upto = map(float, itertools.accumulate(spread.counts))
            metric.add_metric((value,), list(zip(BOUNDS, upto, strict=True)), spread.seconds)
        yield metric


def _counters(found: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    for name, one in COUNTERS.items():
        family = CounterMetricFamily(f"stackhog_{name}", one.help, labels=one.labels)
        values = {label: value for (other, label), value in found.items() if other == name}
        for label, value in (dict.fromkeys(one.known, 0) | values).items():
            family.add_metric(_split(label, len(one.labels)), value)
        yield family


def _split(label: str, number: int) -> tuple[str, ...]:
    """Return the words of a counter's label; the last one takes what is too many."""
    words = label.split(" ", number - 1)
    return (*words, *[""] * (number - len(words)))


def _mail(found: Figures, now: datetime) -> Iterator[Metric]:
    states = dict.fromkeys(outbox.State, 0) | dict(found.post.states)
    post = [((state,), number) for state, number in states.items()]
    ages = [((one.name,), _age(one.at, now)) for one in found.sources]
    yield gauge("outbox", "Mails by state.", ("state",), post)
    yield _one(
        "outbox_oldest_seconds", "Age of the oldest mail on its way.", _age(found.post.oldest, now)
    )
    yield _one("sending_stopped", "1 when nothing is sent.", float(bool(found.post.stopped)))
    yield gauge("source_age_seconds", "Since a source brought a mail last.", ("source",), ages)


def _parts(found: Living, now: datetime) -> Iterator[Metric]:
    slots = [((queue,), number) for queue, number in found.slots().items()]
    age = _age(found.last.seen, now) if found.last else math.inf
    yield _one("workers", "Workers that live.", len(found.workers))
    yield gauge("worker_slots", "Jobs that can run at a time.", ("queue",), slots)
    yield _one("bot_age_seconds", "Since a bot said last that it lives; +Inf: never.", age)
    for name, text in (
        ("free", "Free on the file system of the cache."), ("used", "Below the cache directory."),
        ("budget", "What the cache directory may take; 0: all."),
    ):  # fmt: skip
        # workers of one host share its disk
        hosts = {one.host: int(getattr(one, f"disk_{name}")) for one in found.workers}
        samples = [((host,), value) for host, value in sorted(hosts.items())]
        yield gauge(f"disk_{name}_bytes", text, ("host",), samples)


def _age(when: datetime | None, now: datetime) -> float:
    return max(0.0, (now - when).total_seconds()) if when else 0.0
