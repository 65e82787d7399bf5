from __future__ import annotations

import itertools
import math
import re
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bot.contract import Outcome, Queue
from bot.store import jobs, outbox, parts
from bot.store.database import Store
from bot.store.durations import EDGES
from bot.web import metrics
from tests import history
from tests.history import NOW, at
from tests.stores import opened

GUIDE = Path(__file__).parents[2] / "docs" / "operators.md"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return opened(tmp_path / "store.db")


class Scraper:
    """A scrape at a time that tests choose."""

    def __init__(self, store: Store, start: datetime = NOW) -> None:
        self.now = start
        self.registry = metrics.registry(store, lambda: self.now)

    def scrape(self, now: datetime = NOW) -> Samples:
        self.now = now
        text = generate_latest(self.registry).decode()
        return {
            (one.name, frozenset(one.labels.items())): one.value
            for family in text_string_to_metric_families(text) for one in family.samples
        }  # fmt: skip


def value(found: Samples, metric: str, **labels: str) -> float:
    return found[f"stackhog_{metric}", frozenset(labels.items())]


def test_an_empty_store_has_every_series_that_an_alert_looks_at(store: Store) -> None:
    found = Scraper(store).scrape()
    for kind in Queue:
        assert value(found, "queue_length", queue=kind) == 0
        assert value(found, "queue_oldest_seconds", queue=kind) == 0
        assert value(found, "lost_total", kind=kind) == 0
        assert value(found, "job_seconds_count", kind=kind) == 0
        for state in jobs.State:
            assert value(found, "jobs", kind=kind, state=state) == 0
        for outcome in Outcome:
            assert value(found, "jobs_total", kind=kind, outcome=outcome) == 0
    for one in outbox.State:
        assert value(found, "outbox", state=one) == 0
    for stage in ("assembled", "planned", "build", "stack", "stress", "told", "sent", "total"):
        assert value(found, "stage_seconds_bucket", stage=stage, le="+Inf") == 0
    assert value(found, "bot_age_seconds") == math.inf
    assert value(found, "workers") == 0
    assert value(found, "worker_slots", queue="kvm") == 0
    assert value(found, "sending_stopped") == 0
    assert value(found, "info", version="0.1.0") == 1


def test_what_there_is_is_counted(store: Store) -> None:
    with store.session() as session:
        history.lives(session, at(-7))
        history.works(session, "w1", at(-3))
        history.works(session, "w2", at(-3), queues=["stress", "kvm"], slots=3)
        history.works(session, "w3", at(-3), draining=True)
        history.works(session, "dead", at(-61), host="gone")
        history.job(session, "a", "build", "ready", at(-30))
        history.job(session, "b", "build", "sent", at(-40))
        history.job(session, "c", "build", "running", at(-90))
        history.post(session, "m", "waiting", at(-50))
        history.source(session, "mbox:/in", at(-20))
        outbox.turn(session, NOW, "by hand")
    found = Scraper(store).scrape()
    assert value(found, "queue_length", queue="build") == 2
    assert value(found, "queue_oldest_seconds", queue="build") == 40
    assert value(found, "jobs", kind="build", state="running") == 1
    assert value(found, "workers") == 3
    slots = [value(found, "worker_slots", queue=one) for one in ("build", "stress", "kvm")]
    assert slots == [2, 5, 3]
    assert value(found, "disk_free_bytes", host="hogfast") == 50 << 30
    assert value(found, "disk_budget_bytes", host="hogfast") == 20 << 30
    assert ("stackhog_disk_free_bytes", frozenset({("host", "gone")})) not in found
    assert value(found, "bot_age_seconds") == 7
    assert value(found, "outbox_oldest_seconds") == 50
    assert value(found, "sending_stopped") == 1
    assert value(found, "source_age_seconds", source="mbox:/in") == 20


def test_counters_of_the_store_are_counters_here(store: Store) -> None:
    with store.session() as session:
        for name, label in (
            ("jobs", "build passed"), ("jobs", "build passed"), ("jobs", "build odd one"),
            ("lost", "stress"), ("baseline", "hit"), ("refusals", "no sandbox"),
            ("runs", "refused"), ("nobody", "knows"),
        ):  # fmt: skip
            parts.count(session, name, label)
    found = Scraper(store).scrape()
    assert value(found, "jobs_total", kind="build", outcome="passed") == 2
    assert value(found, "jobs_total", kind="build", outcome="odd one") == 1
    assert value(found, "lost_total", kind="stress") == 1
    assert value(found, "baseline_total", result="hit") == 1
    assert value(found, "refusals_total", reason="no sandbox") == 1
    assert value(found, "runs_total", outcome="refused") == 1
    assert not any("nobody" in name for name, _ in found)


def test_histograms_rise_and_never_fall(store: Store) -> None:
    scraper = Scraper(store)
    before = scraper.scrape()
    with store.session() as session:
        history.reviewed(session, "one", 10)
    after = scraper.scrape(at(200))
    assert value(after, "stage_seconds_sum", stage="total") == pytest.approx(120, abs=0.1)
    assert value(after, "stage_seconds_bucket", stage="total", le="120.0") == 1
    assert value(after, "stage_seconds_bucket", stage="total", le="90.0") == 0
    with store.session() as session:
        jobs.again(session, "build-one", "once more", at(210))
    later = scraper.scrape(at(220))
    cumulative = [key for key in later if key[0].endswith(("_bucket", "_count", "_sum"))]
    for one, other in itertools.pairwise((before, after, later)):
        assert all(one[key] <= other[key] for key in cumulative)
    for stage in ("build", "told"):
        bounds = [f"{float(edge)}" for edge in EDGES]
        counts = [value(later, "stage_seconds_bucket", stage=stage, le=one) for one in bounds]
        assert counts == sorted(counts)


def test_a_worker_that_says_odd_things_breaks_no_scrape(store: Store) -> None:
    with store.session() as session:
        history.works(session, "odd", slots="many", queues="build", disk_free=None, host=None)
        history.works(session, "evil", host='a"\n} 1', queues=["new\nqueue"])
        history.lives(session, unread=3)
    found = Scraper(store).scrape()
    assert value(found, "workers") == 2
    assert value(found, "disk_free_bytes", host='a"\n} 1') == 50 << 30


def test_every_metric_is_in_the_operators_guide(store: Store) -> None:
    names = {
        re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in Scraper(store).scrape()
    } | {"stackhog_source_age_seconds", "stackhog_disk_free_bytes"}  # fmt: skip
    text = GUIDE.read_text()
    missing = [name for name in sorted(names) if f"`{name}" not in text]
    assert not missing
