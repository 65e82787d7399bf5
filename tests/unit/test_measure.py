from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bot.store import durations, jobs, measure, outbox, overview, parts
from bot.store.database import Store
from bot.store.durations import EDGES, Spread
from bot.web.ledger import Ledger
from tests import history
from tests.history import NOW, at
from tests.stores import opened


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return opened(tmp_path / "store.db")


def bucket(seconds: float) -> int:
    return next(number for number, edge in enumerate((*EDGES, seconds)) if seconds <= edge)


def spread(*seconds: float) -> Spread:
    counts = [0] * (len(EDGES) + 1)
    for one in seconds:
        counts[bucket(one)] += 1
    return Spread(tuple(counts), pytest.approx(sum(seconds), abs=0.01))  # type: ignore[arg-type]


def test_an_empty_store_has_figures(store: Store) -> None:
    with store.reading() as session:
        found = measure.figures(session)
        assert durations.spreads(session) == {}
        assert overview.overview(session).failures == 0
        assert measure.known(session, NOW) == ()
        assert measure.is_current(session)
    assert found == measure.Figures({}, (), {}, measure.Post({}, None, ""), ())


def test_jobs_are_counted_by_kind_and_state(store: Store) -> None:
    with store.session() as session:
        for number, state in enumerate(("ready", "sent", "sent", "running", "done", "done")):
            history.job(session, f"b{number}", "build", state, at(number - 100))
        history.job(session, "s", "stress", "broken", at(0))
        history.job(session, "c", "stack", "cancelled", at(0))
        history.job(session, "d", "stack", "done", at(0))
    with store.reading() as session:
        found = measure.figures(session)
    assert found.jobs == {
        ("build", "done"): 2, ("build", "ready"): 1, ("build", "running"): 1,
        ("build", "sent"): 2, ("stack", "cancelled"): 1, ("stack", "done"): 1,
        ("stress", "broken"): 1,
    }  # fmt: skip
    assert found.lines == (measure.Line("build", waiting=3, running=1, oldest=at(-100)),)


def test_the_outbox_is_counted_by_state(store: Store) -> None:
    with store.session() as session:
        history.post(session, "a", "held", at(-900))
        history.post(session, "b", "waiting", at(-50))
        history.post(session, "c", "handed", at(-70))
        history.post(session, "d", "sent", at(-800))
        outbox.turn(session, NOW, "by jane")
    with store.reading() as session:
        found = measure.post(session)
    assert found.states == {"handed": 1, "held": 1, "sent": 1, "waiting": 1}
    assert found.oldest == at(-70)
    assert found.stopped == "by jane"


def test_sources_are_those_that_the_settings_name(store: Store) -> None:
    with store.session() as session:
        history.source(session, "mbox:/b", at(-5))
        history.source(session, "lore:/a", at(-9))
        history.source(session, "threads", at(0))
    with store.reading() as session:
        found = measure.sources(session)
    assert found == (measure.Read("lore:/a", at(-9)), measure.Read("mbox:/b", at(-5)))


def test_the_last_bot_is_known_however_long_ago_it_was_seen(store: Store) -> None:
    with store.session() as session:
        history.lives(session, at(-4000))
        parts.saw(session, "older:1", "bot", {}, at(-9000))
        history.works(session, "gone", at(-4000))
        history.works(session, "w1", at(-3))
    with store.reading() as session:
        found = measure.known(session, at(-60))
    assert [one.name for one in found] == ["hogfast:7", "w1"]


def test_the_stages_of_a_review_take_what_they_took(store: Store) -> None:
    with store.session() as session:
        history.reviewed(session, "one", -10_000)
        history.reviewed(session, "two", -8000, command="asked")
    with store.reading() as session:
        found = durations.spreads(session)
    assert found["job", "build"] == spread(40, 40)
    assert found["stage", "assembled"] == spread(1)  # the other was asked for
    assert found["stage", "planned"] == spread(2, 2)
    assert found["stage", "build"] == spread(45, 45)
    assert found["stage", "stress"] == spread(65, 65)
    assert found["stage", "told"] == spread(3, 3)
    assert found["stage", "sent"] == spread(4, 4)
    assert found["stage", "total"] == spread(120, 120)


def test_only_a_reply_that_was_sent_is_a_latency(store: Store) -> None:
    with store.session() as session:
        history.reviewed(session, "one", -1000)
        history.post(session, "p", "sent", at(-9), changed=at(-5), kind="private", series="one")
        history.post(session, "w", "waiting", at(-9), changed=at(-5), series="one")
    with store.reading() as session:
        found = durations.spreads(session)
    assert sum(found["stage", "sent"].counts) == 1
    assert sum(found["stage", "total"].counts) == 1


def test_a_run_whose_jobs_were_done_before_waited_for_none_of_them(store: Store) -> None:
    with store.session() as session:
        number = history.run(session, "s", at(-20), started=at(-10), ended=at(-7))
        history.job(
            session, "b", "build", "done", at(-900), number, started=at(-800), ended=at(-600)
        )
        history.job(session, "t", "stack", "done", at(-3), number, started=at(-2), ended=at(-1))
    with store.reading() as session:
        found = durations.spreads(session)
    assert found["stage", "told"] == spread(3)


def test_a_clock_that_was_set_back_makes_no_time_negative(store: Store) -> None:
    with store.session() as session:
        history.job(session, "b", "build", "done", at(0), started=at(50), ended=at(-3600))
    with store.reading() as session:
        assert durations.spreads(session)["job", "build"] == spread(0)


@pytest.mark.parametrize("seconds", [0.1, 0.11, 86400, 86401])
def test_a_time_at_an_edge_is_in_the_bucket_below(store: Store, seconds: float) -> None:
    with store.session() as session:
        history.job(session, "b", "build", "done", NOW, started=NOW, ended=at(seconds - 0.005))
    with store.reading() as session:
        found = durations.spreads(session)["job", "build"]
    assert found.counts.index(1) == bucket(seconds - 0.005)


def test_times_can_be_counted_in_parts(store: Store) -> None:
    with store.session() as session:
        for number in range(5):
            ended = at(number)
            history.job(session, f"b{number}", "build", "done", NOW, started=NOW, ended=ended)
    with store.reading() as session:
        whole = durations.spreads(session)["job", "build"]
        until = durations.spreads(session, until=at(2))["job", "build"]
        after = durations.spreads(session, after=at(2))["job", "build"]
        middle = durations.spreads(session, at(0), at(2))["job", "build"]
    assert (sum(until.counts), sum(after.counts), sum(middle.counts)) == (3, 2, 2)
    assert until + after == whole


def test_what_was_counted_is_never_less_again(store: Store) -> None:
    ledger = Ledger(store, at(-60))
    with store.session() as session:
        history.job(session, "b", "build", "done", at(-50), started=at(-40), ended=at(-10))
        history.job(session, "c", "build", "done", at(-50), started=at(-40), ended=at(-10))
    before = ledger.read(NOW)
    with store.session() as session:
        assert jobs.again(session, "b", "once more", NOW)
    assert ledger.read(at(1)) == before
    with store.session() as session:
        assert jobs.send(session, "b", "t", "e", at(90), at(2))
        assert jobs.began(session, "t", "w1", at(90), at(3))
        assert jobs.finish(session, "t", "passed", "", "{}", at(12))
    after = ledger.read(at(20))
    assert sum(after["job", "build"].counts) == 3  # 30 s twice, then 9 s
    assert after["job", "build"].counts[bucket(9)] == 1


def ended(store: Store, key: str, when: datetime) -> None:
    with store.session() as session:
        history.job(session, key, "build", "done", when, started=when, ended=when)


def total(ledger: Ledger, now: datetime) -> int:
    found = ledger.read(now).get(("job", "build"))
    return sum(found.counts) if found else 0


def test_what_ended_before_the_process_began_is_not_counted(store: Store) -> None:
    ledger = Ledger(store, NOW)
    ended(store, "before", at(-1))
    assert total(ledger, NOW) == 0
    ended(store, "after", at(1))
    assert total(ledger, at(2)) == 1


def test_what_is_settled_is_not_counted_twice(store: Store) -> None:
    ledger = Ledger(store, at(-1))
    for number in range(8):
        now = NOW + timedelta(minutes=45 * number)
        ended(store, f"b{number}", now)
        assert total(ledger, now) == number + 1
    ended(store, "late", now - timedelta(minutes=50))
    assert total(ledger, now) == 9


def test_a_clock_that_was_set_back_loses_nothing_that_ends_later(store: Store) -> None:
    ledger = Ledger(store, at(-1))
    ended(store, "b", at(0))
    assert total(ledger, at(1)) == 1
    back = NOW - timedelta(days=3)
    assert total(ledger, back) >= 1
    ended(store, "c", back + timedelta(seconds=5))
    assert total(ledger, back + timedelta(seconds=6)) >= 2


def test_a_broken_job_is_shown_with_the_runs_that_were_given_up_for_it(store: Store) -> None:
    with store.session() as session:
        history.series(session, "lead")
        number = history.run(
            session, "lead", at(-90), "failed", "the build job is broken: no gcc", ended=at(-5)
        )
        history.job(
            session, "k" * 64, "build", "broken", at(-80), number, reason="no gcc",
            outcome="broken", failures=5, ended=at(-5),
        )  # fmt: skip
        history.job(session, "other", "build", "broken", at(-80), reason="x", outcome="broken")
    with store.reading() as session:
        found = overview.overview(session)
    assert [(one.number, one.title, one.reason) for one in found.failed] == [
        (number, history.TITLE, "the build job is broken: no gcc")
    ]
    assert [(one.key, one.reason, one.failures, one.runs) for one in found.broken] == [
        ("k" * 64, "no gcc", 5, (number,))
    ]
    assert found.failures == 1


def test_a_failure_is_over_when_the_series_was_run_again(store: Store) -> None:
    with store.session() as session:
        history.run(session, "lead", at(-90), "failed", "x", ended=at(-80))
        history.run(session, "lead", at(-50), "cancelled", "x", ended=at(-50))
    with store.reading() as session:
        assert overview.overview(session).failures == 1
    with store.session() as session:
        history.run(session, "lead", at(-10), "running")
    with store.reading() as session:
        found = overview.overview(session)
    assert (found.failures, found.failed) == (0, ())
    assert [one.state for one in found.waiting] == ["running"]
    assert found.runs == {"cancelled": 1, "failed": 1, "running": 1}


def test_a_running_job_has_the_title_of_what_wants_it(store: Store) -> None:
    with store.session() as session:
        history.series(session, "lead", "mm: two")
        number = history.run(session, "lead", at(-90), "running")
        for key, wanted in (("b1", number), ("b2", 0)):
            history.job(
                session, key, "build", "running", at(-80), wanted, step="patch 1 of 3",
                worker="w1", started=at(-70),
            )  # fmt: skip
        history.job(session, "r", "build", "ready", at(-80), number)
    with store.reading() as session:
        found = overview.overview(session).running
    assert [(one.key, one.title, one.step, one.since) for one in found] == [
        ("b1", "mm: two", "patch 1 of 3", at(-70)), ("b2", "", "patch 1 of 3", at(-70)),
    ]  # fmt: skip


def test_lists_are_cut_and_counts_are_not(store: Store) -> None:
    with store.session() as session:
        for number in range(overview.MOST + 5):
            history.run(session, f"s{number}", at(number), "failed", "x", ended=at(number))
    with store.reading() as session:
        found = overview.overview(session)
    assert len(found.failed) == overview.MOST
    assert found.failures == overview.MOST + 5
    assert found.failed[0].series == f"s{overview.MOST + 4}"  # the latest
