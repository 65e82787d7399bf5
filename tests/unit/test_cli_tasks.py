"""What a worker answers when its work raises: always a result, never a lost job."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bot.contract import BuildResult, OursError, Outcome, Record, StackhogError, TheirsError
from workers import tasks
from workers.watch import DiskFullError


def task(attempts: int = 1) -> Any:  # noqa: ANN401 - stands in for celery's, which has no types
    """Return a task as far as it is looked at, at its n-th attempt."""
    client = SimpleNamespace(incr=lambda _: attempts, expire=lambda *_: True)
    return SimpleNamespace(backend=SimpleNamespace(client=client), request=SimpleNamespace(id="1"))


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


def test_a_job_that_kills_its_worker_is_given_up() -> None:
    answered = tasks._answer(task(attempts=4), lambda: ended(Outcome.PASSED, ""), ended)
    assert answered["outcome"] == "broken"
    assert "died 3 times" in answered["reason"]


def test_a_result_is_handed_on() -> None:
    answered = tasks._answer(task(), lambda: ended(Outcome.PASSED, "fine"), ended)
    assert (answered["outcome"], answered["reason"]) == ("passed", "fine")
