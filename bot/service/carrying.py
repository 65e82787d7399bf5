"""jobs → broker → results: what is ready is sent, what is lost is sent again.

The store is the truth, and Celery only carries. A task that a worker has gives a *beat*; time
without one is measured by this process's own monotonic clock, so that a clock which jumps loses
no job.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import ValidationError

from bot.contract import (
    BuildResult,
    Outcome,
    Queue,
    StackRequest,
    StackResult,
    StressResult,
    wire,
)
from bot.contract.wire import Presence
from bot.review.carrier import Seen
from bot.store import jobs, parts, wishes
from bot.store.database import Store
from bot.store.jobs import Job, State, Toll

LOG = logging.getLogger(__name__)
OURS = re.compile(r"[0-9a-f]{40}-[0-9]+")  # a task of the service, not of `stackhog review`
AT_ONCE = 50  # jobs that are sent under one commit
RESULTS: dict[str, type[BuildResult | StackResult | StressResult]] = {
    Queue.BUILD: BuildResult, Queue.STACK: StackResult, Queue.STRESS: StressResult,
}  # fmt: skip


class Carrier(Protocol):
    """The broker, as it is needed here: bot/review/carrier.py. All raise BrokerAwayError."""

    def epoch(self) -> str: ...  # noqa: D102 - as in the class that has it
    def send(  # noqa: D102
        self, kind: Queue, queue: str, task: str, request: str, seconds: float, priority: int
    ) -> None: ...
    def look(self, tasks: Collection[str]) -> dict[str, Seen]: ...  # noqa: D102
    def beats(self, tasks: Collection[str]) -> dict[str, str]: ...  # noqa: D102
    def held(self) -> frozenset[str]: ...  # noqa: D102
    def handed(self) -> dict[str, str]: ...  # noqa: D102
    def drop(self, tags: Collection[str]) -> None: ...  # noqa: D102
    def void(self, tasks: Collection[str]) -> None: ...  # noqa: D102
    def listen(self, seconds: float) -> bool: ...  # noqa: D102
    def forget(self, tasks: Collection[str]) -> None: ...  # noqa: D102
    def workers(self) -> tuple[Presence, ...]: ...  # noqa: D102


@dataclass(frozen=True)
class Limits:
    """How long is waited, and how often a job is tried."""

    backoff: Callable[[int], timedelta]  # after so many tries that came to nothing
    in_flight: int = 500
    failures: int = 5
    losses: int = 5
    lost: float = 30.0  # seconds without a sign of a running job
    queued: float = 600.0  # seconds until the broker is asked for a job that waits there


@dataclass
class Change:
    """What one look at the broker brought."""

    keys: set[str] = field(default_factory=set)  # jobs that ended or are to be sent again
    early: dict[str, StackRequest] = field(default_factory=dict)  # by the build's key
    sent: int = 0

    def __bool__(self) -> bool:
        return bool(self.keys or self.early or self.sent)


class Carriage:
    """Sends jobs and takes their results; one for each process."""

    def __init__(
        self,
        store: Store,
        carrier: Carrier,
        limits: Limits,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._carrier, self._limits, self._ticks = store, carrier, limits, ticks
        self._signs: dict[str, float] = {}  # task → when it last gave one
        self._steps: dict[str, str] = {}  # task → what it was doing
        self._dead: list[str] = []  # tasks that were given up, and may still be worked on
        self._listened = float("-inf")
        self._kvm = False

    def dispatch(self, now: datetime) -> int:
        """Send what is ready, as far as there is room in flight; return how many."""
        with self._store.reading() as session:
            room = self._limits.in_flight - len(jobs.under_way(session))
            ready = jobs.ready(session, now, max(room, 0))
        if not ready:
            return 0
        epoch, count = self._carrier.epoch(), 0
        for at in range(0, len(ready), AT_ONCE):
            count += self._send(ready[at : at + AT_ONCE], epoch, now)
        return count

    def _send(self, some: Iterable[Job], epoch: str, now: datetime) -> int:
        """Send some jobs: noted first, so that a crash in between costs time and no order."""
        lease = now + timedelta(seconds=self._limits.queued)
        taken: list[tuple[Job, str, str]] = []
        with self._store.session() as session:
            for job in some:
                task = f"{job.key[:40]}-{job.attempts + 1}"
                if jobs.send(session, job.key, task, epoch, lease, now):
                    taken.append((job, task, jobs.request(session, job.key)))
        left = [task for _, task, _ in taken]
        try:
            for job, task, request in taken:
                kind = Queue(job.kind)
                self._carrier.send(
                    kind, self._queue(kind), task, request, job.seconds, job.priority
                )
                self._signs[task] = self._ticks()
                left.remove(task)
        finally:
            if left:
                self._dead += left  # whether the broker has it is not known
                with self._store.session() as session:
                    for task in left:
                        jobs.put_back(session, task, "the broker did not take it", now, Toll())
        return len(taken)

    def _queue(self, kind: Queue) -> str:
        return wire.KVM if kind is Queue.STRESS and self._kvm else kind.value

    def collect(self, now: datetime) -> Change:
        """Take what has come, and find what is lost."""
        with self._store.reading() as session:
            there = jobs.under_way(session)
        self._bury()
        change = Change()
        if not there:
            self._signs.clear()
            self._steps.clear()
            return change
        seen = self._named(there, self._carrier.look([one.task for one in there if one.task]))
        over = []
        with self._store.session() as session:
            for job in there:
                task = job.task or ""
                if task in seen and self._take(session, job, seen[task], change, now):
                    over.append(task)
        self._carrier.forget(over)
        for task in over:
            self._signs.pop(task, None)
            self._steps.pop(task, None)
        self._listen([one for one in there if one.task not in over], change, now)
        self._bury()
        return change

    def _bury(self) -> None:
        """Tell whoever works on what was given up that nobody waits for it."""
        if self._dead:
            self._carrier.void(self._dead)
            self._dead.clear()

    def _named(self, there: Sequence[Job], seen: dict[str, Seen]) -> dict[str, Seen]:
        """Put in who has begun a task; who tells how far it is says no more who he is."""
        new = [
            one.task for one in there
            if one.task in seen and one.state is State.SENT and seen[one.task].progress
        ]  # fmt: skip
        names = self._carrier.beats(new) if new else {}
        return {**seen, **{task: replace(seen[task], worker=name) for task, name in names.items()}}

    def _take(
        self, session: jobs.Session, job: Job, seen: Seen, change: Change, now: datetime
    ) -> bool:
        """Take what is known of a task; return whether it is over."""
        assert job.task is not None  # noqa: S101 - it is under way
        if seen.result is not None:
            self._end(session, job, seen.result, now)
            change.keys.add(job.key)
            return True
        if seen.lost:
            self._lost(session, job, f"its task was lost ({seen.lost})", now)
            change.keys.add(job.key)
            return True
        if job.state is State.SENT:
            jobs.began(session, job.task, seen.worker, self._lease(now), now)
            self._signs[job.task] = self._ticks()
        if seen.progress is not None:
            self._progress(session, job, seen, change, now)
        return False

    def _progress(
        self, session: jobs.Session, job: Job, seen: Seen, change: Change, now: datetime
    ) -> None:
        assert job.task is not None  # noqa: S101 - it is under way
        assert seen.progress is not None  # noqa: S101 - the caller looked
        what, request = seen.progress.step, seen.progress.stack
        if self._steps.get(job.task) == what and request is None:
            return
        if request is not None and self._steps.get(job.task) != what:
            change.early[job.key] = request
        self._steps[job.task] = what
        jobs.step(session, job.task, what, now)

    def _end(self, session: jobs.Session, job: Job, found: dict[str, Any], now: datetime) -> None:
        assert job.task is not None  # noqa: S101 - it is under way
        try:
            result = RESULTS[job.kind].model_validate(found)
        except ValidationError as error:
            self._failed(session, job, f"its answer cannot be read: {error.error_count()} errors", now)  # noqa: E501 # fmt: skip
            return
        parts.count(session, "jobs", f"{job.kind} {result.outcome}")
        if result.outcome is not Outcome.BROKEN:
            text = result.model_dump_json()
            jobs.finish(session, job.task, result.outcome, result.reason, text, now)
            _count(session, result)
        elif result.gone:
            jobs.give_up(session, job.task, result.reason, now, "gone")
        else:
            self._failed(session, job, result.reason, now)

    def _failed(self, session: jobs.Session, job: Job, reason: str, now: datetime) -> None:
        """Try a job that ended broken again, later; at last give it up."""
        assert job.task is not None  # noqa: S101 - it is under way
        if job.failures >= self._limits.failures:
            jobs.give_up(session, job.task, reason, now)
            _log(session, job, logging.ERROR, f"it is given up: {reason}")
            return
        due = now + self._limits.backoff(job.failures)
        jobs.put_back(session, job.task, reason, due, Toll(failures=1))
        parts.count(session, "retried", job.kind)
        _log(session, job, logging.WARNING, f"{reason} (again at {due:%H:%M:%S})")

    def _lost(
        self, session: jobs.Session, job: Job, reason: str, now: datetime, *, counts: bool = True
    ) -> None:
        """Send a job again whose worker is gone; not for ever, it may be what kills workers."""
        assert job.task is not None  # noqa: S101 - it is under way
        parts.count(session, "lost", job.kind)
        self._dead.append(job.task)
        if counts and job.losses >= self._limits.losses:
            jobs.give_up(session, job.task, f"{reason}, {job.losses + 1} times", now)
            _log(session, job, logging.ERROR, f"it is given up: {reason}")
            return
        jobs.put_back(session, job.task, reason, now, Toll(losses=int(counts)))
        _log(session, job, logging.WARNING, f"{reason}; it is sent again")

    def _lease(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self._limits.lost)

    def _listen(self, there: list[Job], change: Change, now: datetime) -> None:
        """Find what gives no sign any more; every few seconds."""
        ticks = self._ticks()
        if ticks - self._listened < min(wire.BEAT.total_seconds(), self._limits.lost / 3):
            return
        self._listened = ticks
        tasks = [one.task for one in there if one.task]
        beats = self._carrier.beats(tasks)
        self._signs.update(dict.fromkeys(beats, ticks))
        epoch = self._carrier.epoch() if tasks else ""
        with self._store.session() as session:
            jobs.renew(session, beats, self._lease(now))
            for job in there:
                if job.task in beats and job.state is State.SENT:
                    jobs.began(session, job.task, beats[job.task], self._lease(now), now)
        silent = [one for one in there if one.task not in beats]
        self._silent(silent, epoch, change, now)

    def _silent(self, silent: list[Job], epoch: str, change: Change, now: datetime) -> None:
        """Decide over what gives no sign."""
        ticks = self._ticks()
        running = [
            one for one in silent if one.state is State.RUNNING
            and ticks - self._signs.setdefault(one.task or "", ticks) > self._limits.lost
        ]  # fmt: skip
        sent = [
            one for one in silent if one.state is State.SENT and (
                one.epoch != epoch
                or ticks - self._signs.get(one.task or "", float("-inf")) > self._limits.queued
            )
        ]  # fmt: skip
        if not running and not sent:
            return
        held = self._carrier.held() if sent else frozenset()
        ended = self._carrier.look([one.task for one in (*running, *sent) if one.task])
        with self._store.session() as session:
            for job in (one for one in running if not _is_over(one, ended)):
                reason = f"no sign of it from {job.worker or 'its worker'}"
                self._lost(session, job, reason, now, counts=job.epoch == epoch)
                change.keys.add(job.key)
            for job in (one for one in sent if not _is_over(one, ended)):
                if job.task in held:
                    self._signs[job.task or ""] = ticks
                    continue
                jobs.put_back(session, job.task or "", "the broker has lost it", now, Toll())
                parts.count(session, "lost", job.kind)
                self._dead.append(job.task or "")
                change.keys.add(job.key)
                _log(session, job, logging.WARNING, "the broker has lost it")

    def listen(self, seconds: float) -> bool:
        """Wait for something to collect; False: there was nothing. Raises BrokerAwayError."""
        return self._carrier.listen(seconds)

    def sweep(self, now: datetime) -> int:
        """Cancel what no run wants any more; return how many tasks were under way."""
        with self._store.session() as session:
            tasks = jobs.cancel_unwanted(session, now)
        self._carrier.void(tasks)
        self._tidy()
        return len(tasks)

    def _tidy(self) -> None:
        """Forget what a worker was handed and is over: it could not say so, or is gone.

        The broker is asked first: what is handed out later than the store is read stays.
        """
        handed = self._carrier.handed()
        if not handed:
            return
        with self._store.reading() as session:
            there = {job.task for job in jobs.under_way(session)}
        over = [tag for tag, task in handed.items() if OURS.fullmatch(task) and task not in there]
        self._carrier.drop(over)

    def meet(self, now: datetime) -> tuple[Presence, ...]:
        """Take note of the workers that live."""
        found = self._carrier.workers()
        with self._store.session() as session:
            for one in found:
                parts.saw(session, one.name, "worker", one.model_dump(mode="json"), now)
        self._kvm = any(wire.KVM in one.queues and not one.draining for one in found)
        return found


def _log(session: jobs.Session, job: Job, level: int, said: str) -> None:
    """Write a line about a job, with the series that it is done for."""
    about = {"series": " ".join(wishes.series_of(session, job.key)), "task": job.task or ""}
    LOG.log(level, "job %s (%s): %s", job.key[:12], job.kind, said, extra=about)


def _is_over(job: Job, seen: dict[str, Seen]) -> bool:
    found = seen.get(job.task or "")
    return found is not None and (found.result is not None or bool(found.lost))


def _count(session: jobs.Session, result: BuildResult | StackResult | StressResult) -> None:
    """Count what a result tells of the caches, and what was refused."""
    if isinstance(result, BuildResult) and result.refusal:
        parts.count(session, "refusals", "patch")
    if isinstance(result, BuildResult) and result.baseline:
        parts.count(session, "baseline", result.baseline)
    if isinstance(result, StressResult):
        kept = sum(run.kept for run in result.runs)
        made = sum(len(run.base) for run in result.runs) - kept
        if kept:
            parts.count(session, "boots", "kept", kept)
        if made > 0:
            parts.count(session, "boots", "made", made)
