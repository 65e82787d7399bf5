"""What a worker answers when its work raises: always a result, never a lost job."""

from __future__ import annotations

import platform
import time
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Ignore

from bot.contract import BuildResult, OursError, Outcome, Record, StackhogError, TheirsError, wire
from workers import beat, tasks
from workers.artifacts import NoArtifactError
from workers.watch import DiskFullError


class Redis:
    """What is kept of a task beside the queues."""

    def __init__(self, attempts: int) -> None:
        self.kept: dict[str, bytes] = {}
        self.attempts = attempts

    def incr(self, _: str) -> int:
        return self.attempts

    def expire(self, *_: object) -> bool:
        return True

    def set(self, name: str, value: str, ex: int, nx: bool = False) -> object:  # noqa: ARG002, FBT001, FBT002 - redis-py's names
        if nx and name in self.kept:
            return None
        self.kept[name] = value.encode()
        return True

    def get(self, name: str) -> bytes | None:
        return self.kept.get(name)

    def exists(self, name: str) -> int:
        return int(name in self.kept)

    def delete(self, name: str) -> object:
        return self.kept.pop(name, None)


def task(attempts: int = 1) -> Any:  # noqa: ANN401 - stands in for celery's, which has no types
    """Return a task as far as it is looked at, at its n-th attempt."""
    return SimpleNamespace(
        backend=SimpleNamespace(client=Redis(attempts)), app=SimpleNamespace(conf={}),
        request=SimpleNamespace(id="1", hostname="w"),
    )  # fmt: skip


def ended(outcome: Outcome, reason: str) -> BuildResult:
    return BuildResult(outcome=outcome, reason=reason)


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (TheirsError("no such commit"), "failed", "no such commit"),
        (OursError("no sandbox"), "broken", "no sandbox"),
        (StackhogError("odd"), "broken", "odd"),
        (DiskFullError(1 << 20), "broken", "the build wrote more than 1 MiB, which is its limit"),
        (OSError(28, "No space left", "/x"), "broken", "No space left: /x"),
        (KeyError(3), "broken", "an error of stackhog's own, see the worker's log: KeyError: 3"),
    ],
)
def test_each_error_becomes_a_result_that_says_whose_fault_it_is(
    error: Exception, outcome: str, reason: str
) -> None:
    def work() -> Record:
        raise error

    answered = tasks._answer(task(), work, ended)
    assert (answered["outcome"], answered["reason"]) == (outcome, reason)


def test_an_artifact_that_is_gone_is_named() -> None:
    def work() -> Record:
        raise NoArtifactError("f" * 64)

    answered = tasks._answer(task(), work, ended)
    assert (answered["outcome"], answered["gone"]) == ("broken", "f" * 64)


def test_a_job_that_kills_its_worker_is_given_up() -> None:
    answered = tasks._answer(task(attempts=4), lambda: ended(Outcome.PASSED, ""), ended)
    assert answered["outcome"] == "broken"
    assert "died 3 times" in answered["reason"]


def test_a_result_is_handed_on() -> None:
    answered = tasks._answer(task(), lambda: ended(Outcome.PASSED, "fine"), ended)
    assert (answered["outcome"], answered["reason"]) == ("passed", "fine")


def test_a_task_that_somebody_else_has_is_left_alone() -> None:
    mine = task()
    mine.backend.client.kept[wire.beat_key("1")] = b"other elsewhere 1/1"
    with pytest.raises(Ignore):
        tasks._answer(mine, lambda: ended(Outcome.PASSED, ""), ended)


def test_a_beat_of_a_process_that_died_here_is_taken_over() -> None:
    mine = task()
    dead = f"w {platform.node()} {2**22 + 1}/1"
    mine.backend.client.kept[wire.beat_key("1")] = dead.encode()
    assert tasks._answer(mine, lambda: ended(Outcome.PASSED, ""), ended)["outcome"] == "passed"
    assert mine.backend.client.kept == {}


def test_a_task_that_is_void_ends_at_once() -> None:
    mine = task()
    mine.backend.client.kept[wire.void_key("1")] = b"1"
    with pytest.raises(Ignore):
        tasks._answer(mine, lambda: ended(Outcome.PASSED, ""), ended)


def test_a_task_that_gets_void_is_broken_off() -> None:
    redis = Redis(1)

    def void() -> None:
        redis.kept[wire.void_key("1")] = b"1"
        time.sleep(30)

    with pytest.raises(beat.VoidError), beat.beating(redis, "1", "w", every=0.01):
        void()
    assert wire.beat_key("1") not in redis.kept
