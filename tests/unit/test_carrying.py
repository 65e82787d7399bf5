"""Jobs through a broker that loses, repeats and dies; the store is real, time is the test's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.contract import BuildResult, Outcome, Progress, Queue, StackRequest, wire
from bot.contract.wire import Presence
from bot.review.carrier import BrokerAwayError, Seen
from bot.service.carrying import Carriage, Limits
from bot.store import jobs, parts, wishes
from bot.store.database import Store
from bot.store.jobs import Job, New, State
from bot.store.wishes import Wish
from tests.carriers import Desk
from tests.stores import opened

NOW = datetime(2026, 1, 6, 9, 0, tzinfo=UTC)
PASSED = BuildResult(outcome=Outcome.PASSED, compiler="gcc").model_dump(mode="json")
BROKEN = BuildResult(outcome=Outcome.BROKEN, reason="no room").model_dump(mode="json")


class Shop:
    """A store, a broker, and a carriage between them."""

    def __init__(self, path: Path, **limits: Any) -> None:  # noqa: ANN401 - of Limits
        self.store: Store = opened(path / "store.db")
        self.desk = Desk(lambda kind, request: PASSED)  # noqa: ARG005 - the shape of an answer
        self.now, self.ticks = NOW, 0.0
        self.limits = Limits(backoff=lambda tries: timedelta(minutes=2**tries), **limits)
        self.carriage = self.another()

    def another(self) -> Carriage:
        """Return the carriage of a process that has just begun."""
        return Carriage(self.store, self.desk, self.limits, lambda: self.ticks)

    def want(self, key: str, priority: int = 5, kind: str = Queue.BUILD) -> int:
        with self.store.session() as session:
            number = wishes.want(session, f"series of {key}", {}, None, NOW)
            wishes.planned(session, number, "{}", priority, NOW)
            jobs.want(session, New(key, kind, "{}", 60.0), number, priority, self.now)
        return number

    def job(self, key: str = "a") -> Job:
        with self.store.session() as session:
            found = jobs.get(session, key)
        assert found is not None
        return found

    def dispatch(self) -> int:
        return self.carriage.dispatch(self.now)

    def collect(self, seconds: float = 0) -> set[str]:
        self.ticks += seconds
        return self.carriage.collect(self.now).keys


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_job_is_sent_once_runs_and_is_done(shop: Shop) -> None:
    shop.want("a")
    assert shop.dispatch() == 1
    assert shop.dispatch() == 0
    assert shop.job().state is State.SENT
    one = shop.desk.begin("w1")
    shop.collect()
    assert shop.job().state is State.RUNNING
    shop.desk.end(one)
    assert shop.collect() == {"a"}
    assert (shop.job().state, shop.job().outcome) == (State.DONE, "passed")
    assert shop.desk.seen == {}
    assert len(shop.desk.sent) == 1


def test_two_runs_share_a_job(shop: Shop) -> None:
    first = shop.want("a")
    with shop.store.session() as session:
        second = wishes.want(session, "another", {}, None, NOW)
        wishes.planned(session, second, "{}", 1, NOW)
        assert jobs.want(session, New("a", "build", "{}", 60.0), second, 1, NOW)
        assert jobs.needing(session, ["a"]) == (first, second)
    assert shop.dispatch() == 1
    assert shop.desk.sent[0].priority == 1


def test_what_was_asked_for_goes_first_and_the_rest_waits_in_the_store(tmp_path: Path) -> None:
    shop = Shop(tmp_path, in_flight=2)
    for key, priority in (("a", 7), ("b", 2), ("c", 0), ("d", 5)):
        shop.want(key, priority)
    assert shop.dispatch() == 2
    assert [one.task[0] for one in shop.desk.sent] == ["c", "b"]
    shop.desk.work()
    shop.collect()
    assert shop.dispatch() == 2
    assert [one.task[0] for one in shop.desk.sent[2:]] == ["d", "a"]


def test_a_broker_that_takes_nothing_costs_nothing(shop: Shop) -> None:
    for key in "abc":
        shop.want(key)
    shop.desk.most = 1
    with pytest.raises(BrokerAwayError):
        shop.dispatch()
    assert [shop.job(key).state for key in "abc"] == [State.SENT, State.READY, State.READY]
    shop.desk.away, shop.desk.most = False, 9
    assert shop.dispatch() == 2
    shop.desk.work()
    assert shop.collect() == {"a", "b", "c"}


def test_a_crash_between_noting_and_sending_loses_nothing(shop: Shop) -> None:
    shop.want("a")
    with shop.store.session() as session:
        jobs.send(session, "a", "a-1", "first", NOW, NOW)
    shop.carriage = shop.another()
    assert shop.collect() == {"a"}
    assert shop.job().state is State.READY
    assert shop.dispatch() == 1
    assert shop.desk.sent[0].task == "a-2"


def test_a_job_that_waits_in_the_broker_is_left_there(shop: Shop) -> None:
    shop.want("a")
    shop.dispatch()
    shop.carriage = shop.another()
    shop.collect(10)
    shop.collect(700)
    assert (shop.job().state, shop.job().attempts) == (State.SENT, 1)


def test_a_broker_restarted_empty_gets_all_again(shop: Shop) -> None:
    for key in "ab":
        shop.want(key)
    shop.dispatch()
    running = shop.desk.begin()
    shop.collect()
    shop.desk.restart_empty()
    shop.collect(10)
    assert {shop.job("a").state, shop.job("b").state} == {State.RUNNING, State.READY}
    shop.collect(31)
    assert {shop.job("a").state, shop.job("b").state} == {State.READY}
    assert shop.job("a").losses == shop.job("b").losses == 0
    shop.dispatch()
    shop.desk.work()
    shop.desk.seen[running.task] = Seen(result=BROKEN)  # it was on a worker all the time
    shop.collect()
    assert {shop.job("a").outcome, shop.job("b").outcome} == {"passed"}


def test_a_worker_that_dies_loses_its_job_to_another(shop: Shop) -> None:
    shop.want("a")
    shop.dispatch()
    shop.desk.die(shop.desk.begin("w1"))
    shop.collect()
    shop.collect(29)
    assert shop.job().state is State.RUNNING
    assert shop.collect(10) == {"a"}
    assert (shop.job().state, shop.job().losses) == (State.READY, 1)
    assert "w1" in shop.job().reason


def test_a_job_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    shop = Shop(tmp_path, losses=2)
    shop.want("a")
    for _ in range(3):
        shop.dispatch()
        shop.desk.die(shop.desk.begin())
        shop.collect()
        shop.collect(40)
    assert shop.job().state is State.BROKEN
    assert "3 times" in shop.job().reason
    assert shop.dispatch() == 0


def test_a_living_job_is_never_lost_however_long_it_takes(shop: Shop) -> None:
    shop.want("a")
    shop.dispatch()
    one = shop.desk.begin()
    for _ in range(50):
        shop.collect(3600)
    shop.now += timedelta(days=400)  # a clock that jumps
    shop.collect(6)
    assert shop.job().state is State.RUNNING
    shop.desk.end(one)
    shop.collect()
    assert shop.job().attempts == 1


def test_a_result_that_comes_late_or_twice_changes_nothing(shop: Shop) -> None:
    shop.want("a")
    shop.dispatch()
    late = shop.desk.begin("slow")
    shop.collect()
    shop.desk.die(late)
    shop.collect(40)
    shop.dispatch()
    shop.desk.work()
    shop.collect()
    before = shop.job()
    shop.desk.end(late, BROKEN)
    shop.collect()
    with shop.store.session() as session:
        assert not jobs.finish(session, late.task, "failed", "late", "{}", NOW)
        assert not jobs.finish(session, "a-2", "failed", "twice", "{}", NOW)
    assert shop.job() == before


def test_a_broken_job_waits_longer_each_time_and_is_then_given_up(tmp_path: Path) -> None:
    shop = Shop(tmp_path, failures=2)
    shop.desk.answer = lambda kind, request: BROKEN  # noqa: ARG005 - the shape of an answer
    shop.want("a")
    for minutes in (1, 2):
        shop.dispatch()
        shop.desk.work()
        shop.collect()
        assert shop.job().due == shop.now + timedelta(minutes=minutes)
        assert shop.dispatch() == 0
        shop.now = shop.job().due
    shop.dispatch()
    shop.desk.work()
    shop.collect()
    assert (shop.job().state, shop.job().reason) == (State.BROKEN, "no room")


def test_an_answer_that_cannot_be_read_counts_as_broken(shop: Shop) -> None:
    shop.want("a")
    shop.dispatch()
    shop.desk.end(shop.desk.begin(), {"outcome": "splendid"})
    shop.collect()
    assert shop.job().failures == 1
    assert "cannot be read" in shop.job().reason


def test_an_artifact_that_is_gone_is_not_waited_for(shop: Shop) -> None:
    shop.want("a")
    shop.dispatch()
    gone = {**BROKEN, "gone": "f" * 64}
    shop.desk.end(shop.desk.begin(), gone)
    shop.collect()
    assert (shop.job().state, shop.job().outcome) == (State.BROKEN, "gone")


def test_what_nobody_wants_any_more_is_cancelled_and_its_task_void(shop: Shop) -> None:
    first = shop.want("a")
    shop.want("b")
    shop.dispatch()
    with shop.store.session() as session:
        wishes.end(session, first, Wish.CANCELLED, "v2 has come", NOW)
    assert shop.carriage.sweep(NOW) == 1
    assert shop.job("a").state is State.CANCELLED
    assert shop.job("b").state is State.SENT
    assert len(shop.desk.voided) == 1
    shop.desk.work()
    assert shop.collect() == {"b"}
    assert shop.job("a").state is State.CANCELLED
    with shop.store.session() as session:
        again = wishes.want(session, "again", {}, None, NOW)
        wishes.planned(session, again, "{}", 1, NOW)
        jobs.want(session, New("a", "build", "{}", 60.0), again, 1, NOW)
    assert shop.dispatch() == 1


def test_a_comparison_may_begin_while_the_build_still_links(shop: Shop) -> None:
    shop.want("a")
    shop.dispatch()
    one = shop.desk.begin()
    shop.collect()
    request = StackRequest(base_facts="f" * 64, after=())
    shop.desk.tell(one, Progress(step="objects are there", stack=request))
    assert shop.carriage.collect(NOW).early == {"a": request}
    assert shop.carriage.collect(NOW).early == {}


def test_stress_goes_to_kvm_where_a_worker_has_it(shop: Shop) -> None:
    here = Presence(
        name="w:1", host="w", slots=1, queues=("build", "kvm"), cores=2, memory=1, disk_free=1
    )
    shop.want("a", kind=Queue.STRESS)
    shop.dispatch()
    shop.desk.present = (here,)
    shop.carriage.meet(NOW)
    shop.want("b", kind=Queue.STRESS)
    shop.dispatch()
    assert [one.queue for one in shop.desk.sent] == ["stress", wire.KVM]
    with shop.store.session() as session:
        (known,) = parts.alive(session, NOW)
    assert (known.kind, known.facts["slots"]) == ("worker", 1)


def test_two_bots_on_one_store_send_each_job_once(shop: Shop) -> None:
    for key in "abcdef":
        shop.want(key)
    other = shop.another()
    assert shop.carriage.dispatch(NOW) + other.dispatch(NOW) == 6
    assert len({one.task for one in shop.desk.sent}) == 6
    shop.desk.work()
    assert shop.carriage.collect(NOW).keys | other.collect(NOW).keys == set("abcdef")


def test_counters_tell_what_happened(shop: Shop) -> None:
    shop.want("a")
    shop.dispatch()
    shop.desk.end(shop.desk.begin(), {**PASSED, "baseline": "hit"})
    shop.collect()
    with shop.store.session() as session:
        found = parts.counted(session)
    assert found == {("jobs", "build passed"): 1, ("baseline", "hit"): 1}


def test_who_works_on_a_job_is_known_also_when_its_first_sign_is_how_far_it_is(shop: Shop) -> None:
    shop.want("a")
    shop.dispatch()
    shop.desk.tell(shop.desk.begin("w1"), Progress(step="building patch 1/2"))
    shop.collect()
    assert (shop.job().state, shop.job().worker) == (State.RUNNING, "w1")


def test_a_worker_that_is_cut_off_learns_later_that_nobody_waits_for_it(shop: Shop) -> None:
    shop.want("a")
    shop.dispatch()
    one = shop.desk.begin("w1")
    shop.collect()
    shop.desk.die(one)
    assert shop.collect(10) == set()
    assert shop.collect(40) == {"a"}
    assert shop.desk.voided == {"a-1"}


def test_what_a_broker_may_have_taken_is_void_when_it_is_back(shop: Shop) -> None:
    shop.want("a")
    shop.desk.most = 0
    with pytest.raises(BrokerAwayError):
        shop.dispatch()
    with pytest.raises(BrokerAwayError):
        shop.collect()
    assert shop.desk.voided == set()
    shop.desk.away = False
    shop.collect()
    assert shop.desk.voided == {"a-1"}


def test_what_was_handed_out_and_is_over_is_forgotten(shop: Shop) -> None:
    done, running = "d" * 40, "a" * 40
    for key in (done, running):
        shop.want(key)
    shop.dispatch()
    shop.desk.unacked = {"1": f"{done}-1", "2": f"{running}-1", "3": "a task of somebody else"}
    with shop.store.session() as session:
        jobs.finish(session, f"{done}-1", "passed", "", "{}", NOW)
    shop.carriage.sweep(NOW)
    assert sorted(shop.desk.unacked) == ["2", "3"]
