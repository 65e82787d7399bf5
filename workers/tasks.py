"""The Celery tasks: unpack the request, call the function, pack the result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Ignore

from bot.contract import (
    BuildRequest,
    BuildResult,
    OursError,
    Outcome,
    Progress,
    Queue,
    Record,
    StackhogError,
    StackRequest,
    StackResult,
    StressRequest,
    StressResult,
    TheirsError,
)
from workers import build as building
from workers.artifacts import Artifacts, NoArtifactError
from workers.beat import TwiceError, VoidError, beating
from workers.config import WorkerConfig
from workers.stack import answer
from workers.stress import run as stressing
from workers.watch import DiskFullError

LOG = logging.getLogger(__name__)
PROGRESS = "PROGRESS"  # Celery state that carries a Progress
MAX_ATTEMPTS = 3  # of a job whose worker died under it
Json = dict[str, Any]


class TooManyAttemptsError(OursError):
    """The job's worker died again and again; redelivery alone has no limit."""


def _worker(task: Task) -> WorkerConfig:
    worker = task.app.conf.worker
    assert isinstance(worker, WorkerConfig)  # noqa: S101 - make_app put it there
    return worker


def _count_attempt(task: Task) -> None:
    client = task.backend.client
    attempts = client.incr(f"stackhog-attempts-{task.request.id}")
    client.expire(f"stackhog-attempts-{task.request.id}", 86400)
    if attempts > MAX_ATTEMPTS:
        raise TooManyAttemptsError(f"the worker of this job died {MAX_ATTEMPTS} times; see its log")


def _answer(
    task: Task, work: Callable[[], Record], ended: Callable[[Outcome, str], Record]
) -> Json:
    """Run the work; whatever it raises becomes a result with its outcome and a sentence."""
    name = str(task.app.conf.get("presence_name") or task.request.hostname)
    try:
        with beating(task.backend.client, task.request.id, name):
            _count_attempt(task)
            return work().model_dump(mode="json")
    except (TwiceError, VoidError) as error:
        raise Ignore from error  # nobody waits for an answer of this one
    except Exception as error:  # a job that is lost is sent again, and would fail again
        LOG.exception("job %s", task.request.id)
        found = ended(_outcome(error), _reason(error))
        if isinstance(error, NoArtifactError):
            found = found.model_copy(update={"gone": error.key})
        return found.model_dump(mode="json")


def _outcome(error: Exception) -> Outcome:
    """Return whose fault an error is.

    A patch that fills the disk is told of in a result: the error is raised when that
    happens before any patch is built, and is ours (docs/decisions/0008).
    """
    theirs = isinstance(error, TheirsError) and not isinstance(error, DiskFullError)
    return Outcome.FAILED if theirs else Outcome.BROKEN


def _reason(error: Exception) -> str:
    if isinstance(error, StackhogError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or 'worker'}"
    return f"an error of stackhog's own, see the worker's log: {type(error).__name__}: {error}"


@shared_task(bind=True, name=f"stackhog.{Queue.BUILD}")  # type: ignore[untyped-decorator]
def build(self: Task, request: Json) -> Json:
    """Run a BuildRequest; returns a BuildResult."""

    def report(progress: Progress) -> None:
        self.update_state(state=PROGRESS, meta=progress.model_dump(mode="json"))

    return _answer(
        self,
        lambda: building.build(_worker(self), BuildRequest.model_validate(request), report),
        lambda outcome, reason: BuildResult(outcome=outcome, reason=reason),
    )


@shared_task(bind=True, name=f"stackhog.{Queue.STACK}")  # type: ignore[untyped-decorator]
def stack(self: Task, request: Json) -> Json:
    """Run a StackRequest; returns a StackResult."""
    worker = _worker(self)
    artifacts = Artifacts(worker.artifacts, worker.remote)
    return _answer(
        self,
        lambda: answer.answer(StackRequest.model_validate(request), artifacts.get),
        lambda outcome, reason: StackResult(outcome=outcome, reason=reason),
    )


@shared_task(bind=True, name=f"stackhog.{Queue.STRESS}")  # type: ignore[untyped-decorator]
def stress(self: Task, request: Json) -> Json:
    """Run a StressRequest; returns a StressResult."""

    def report(progress: Progress) -> None:
        self.update_state(state=PROGRESS, meta=progress.model_dump(mode="json"))

    return _answer(
        self,
        lambda: stressing.run(_worker(self), StressRequest.model_validate(request), report),
        lambda outcome, reason: StressResult(outcome=outcome, reason=reason),
    )
