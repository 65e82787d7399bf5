"""A worker says that it lives, whatever the broker does; and what is meant for it alone."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bot.contract.wire import PRESENT_LOST, Presence, presence_key
from workers import results
from workers.abilities import Machine
from workers.presence import About, Announcer

EVERY = 0.02


class Redis:
    """Keeps what was written, and can be away."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.lasts = 0
        self.away = False
        self.tries = 0

    def set(self, name: str, value: str, ex: int) -> object:
        self.tries += 1
        if self.away:
            raise ConnectionError("away")
        self.kept[name], self.lasts = value, ex
        return True

    def delete(self, name: str) -> object:
        if self.away:
            raise ConnectionError("away")
        return self.kept.pop(name, None)

    def found(self) -> Presence:
        return Presence.model_validate_json(self.kept[presence_key("w")])


def until(redis: Redis, tries: int) -> None:
    ends = time.monotonic() + 10
    while redis.tries < tries:
        assert time.monotonic() < ends
        time.sleep(0.005)


@pytest.fixture
def about(tmp_path: Path) -> About:
    return About("w", 2, ("stack", "build"), Machine(4, 1 << 30), tmp_path, disk_budget=7)


def test_a_presence_says_what_is_true(about: About) -> None:
    redis = Redis()
    announcer = Announcer(redis, replace(about, used=lambda: 5), every=EVERY)
    announcer.start()
    until(redis, 2)
    found = redis.found()
    assert (found.name, found.slots, found.queues, found.cores) == ("w", 2, ("stack", "build"), 4)
    assert (found.disk_used, found.disk_budget, found.draining) == (5, 7, False)
    assert found.disk_free > 0
    assert redis.lasts == PRESENT_LOST.total_seconds()
    announcer.leave()
    assert redis.kept == {}


def test_draining_is_said_at_once(about: About) -> None:
    redis = Redis()
    announcer = Announcer(redis, about, every=60)
    announcer.start()
    until(redis, 1)
    announcer.drain()
    until(redis, 2)
    assert redis.found().draining
    announcer.leave()


def test_it_goes_on_when_the_broker_comes_back(
    about: About, caplog: pytest.LogCaptureFixture
) -> None:
    redis = Redis()
    redis.away = True
    announcer = Announcer(redis, about, every=EVERY)
    announcer.start()
    until(redis, 5)
    redis.away = False
    until(redis, redis.tries + 2)
    assert redis.found().name == "w"
    announcer.leave()
    said = [one.message for one in caplog.records]
    assert said == [  # once, not with every try
        "the broker does not hear that this worker lives: away",
        "the broker hears again that this worker lives",
    ]


def test_what_changes_is_looked_for(about: About) -> None:
    redis = Redis()
    announcer = Announcer(
        redis, about, lambda one: replace(one, queues=(*one.queues[:2], "kvm")), every=EVERY
    )
    announcer.start()
    until(redis, 3)
    assert redis.found().queues == ("stack", "build", "kvm")
    announcer.leave()


def test_leaving_does_not_wait_for_a_broker_that_is_away(about: About) -> None:
    redis = Redis()
    redis.away = True
    announcer = Announcer(redis, about, every=60)
    announcer.start()
    until(redis, 1)
    began = time.monotonic()
    announcer.leave()
    assert time.monotonic() - began < 1
    assert not [one for one in threading.enumerate() if one.name == "presence"]


def test_each_try_of_a_result_is_one_line() -> None:
    told = (ConnectionError, ConnectionError("away"), None)
    record = logging.LogRecord("celery", logging.WARNING, "x", 1, "try %s", ("one",), told)
    assert results.brief(record)
    assert (record.getMessage(), record.exc_info) == ("try one (away)", None)
    severe = logging.LogRecord("celery", logging.ERROR, "x", 1, "bad", (), told)
    assert results.brief(severe)
    assert severe.exc_info == told


@pytest.mark.parametrize(
    ("broker", "store"),
    [
        ("redis://h/0", "workers.results:Results+redis://h/0"),
        ("rediss://:p@h/0", "workers.results:Results+rediss://:p@h/0"),
        ("redis+socket:///a/b", "workers.results:Results+socket:///a/b"),
    ],
)
def test_results_go_where_the_jobs_come_from(broker: str, store: str) -> None:
    assert results.url(broker) == store
