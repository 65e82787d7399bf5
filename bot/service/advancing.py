"""jobs → results: what a run needs next is looked up in the store, and asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from bot.contract import (
    BuildResult,
    OursError,
    Queue,
    Record,
    StackRequest,
    StackResult,
    StressRequest,
    StressResult,
    TheirsError,
)
from bot.review import frozen, jobs
from bot.review.frozen import Frozen
from bot.review.jobs import Results
from bot.service import asking, planning, telling
from bot.service.planning import Office
from bot.service.telling import Mouth
from bot.store import jobs as rows
from bot.store import parts, wishes
from bot.store.jobs import Job, New, State
from bot.store.wishes import Wanted, Wish

REBUILDS = 3  # times a build is done again because an artifact was gone


@dataclass(frozen=True)
class _Run:
    """A run that is planned, and what was asked for with it."""

    wanted: Wanted
    plan: Frozen
    build: Job
    fresh: bool


def advance(
    office: Office, mouth: Mouth, wanted: Wanted, early: Mapping[str, StackRequest], now: datetime
) -> str:
    """See that what a run needs next is in the store; when all is done, tell it.

    ``early`` are comparisons that may begin while the build still links, by its key. Returns
    what came of it in one line, or "" while it waits. May be called again at any time.
    """
    results = _step(office, wanted, early, now)
    if not isinstance(results, Results):
        return results
    try:
        jobs.check(results)
        series = planning.whole(office.store, wanted.series)
    except TheirsError as error:
        return asking.refuse(office.store, office.outbox, office.address, wanted, error, now)
    with office.store.session() as session:
        text = wishes.plan(session, wanted.id)
    if text is None:
        raise OursError(f"run {wanted.id} has no plan")
    planned = office.planner.thaw(Frozen.model_validate_json(text), series)
    return telling.tell(mouth, wanted, planned, results, now)


def _step(
    office: Office, wanted: Wanted, early: Mapping[str, StackRequest], now: datetime
) -> Results | str:
    """Ask for what is needed next; the results when there is nothing."""
    with office.store.session() as session:
        text = wishes.plan(session, wanted.id)
        if text is None:
            return _give_up(session, wanted, "its plan is gone", now)
        plan = Frozen.model_validate_json(text)
        new = planning.build_job(plan.request)
        build = rows.get(session, new.key)
        if build is None or build.state is State.CANCELLED:
            rows.want(session, new, wanted.id, wanted.priority, now)
            return ""
        if build.state is State.BROKEN:
            return _give_up(session, wanted, f"the build job is broken: {build.reason}", now)
        run = _Run(wanted, plan, build, bool(wanted.args.get("fresh")))
        if build.state is not State.DONE:
            if plan.stack and build.key in early:
                _want(session, run, Queue.STACK, early[build.key], now)
            return ""
        return _after_build(session, run, now)


def _after_build(session: rows.Session, run: _Run, now: datetime) -> Results | str:
    text = rows.result(session, run.build.key)
    if text is None:
        return _give_up(session, run.wanted, "the result of its build is gone", now)
    built = BuildResult.model_validate_json(text)
    arch = run.plan.request.config.arch
    wanted: list[tuple[Queue, Record | None]] = [
        (Queue.STACK, jobs.comparison(built, arch) if run.plan.stack else None),
        (Queue.STRESS, jobs.boots(built, run.plan.wanted)),
    ]
    found: dict[Queue, str] = {}
    waits = False
    for kind, request in wanted:
        if request is None:
            continue
        job = _want(session, run, kind, request, now)
        if job.state is State.BROKEN:
            return _broken(session, run, job, now)
        text = rows.result(session, job.key) if job.state is State.DONE else None
        if text is None:
            waits = True
        else:
            found[kind] = text
    if waits:
        return ""
    stack, stress = found.get(Queue.STACK), found.get(Queue.STRESS)
    return Results(
        built,
        StackResult.model_validate_json(stack) if stack else None,
        StressResult.model_validate_json(stress) if stress else None,
    )


def _want(session: rows.Session, run: _Run, kind: Queue, request: Record, now: datetime) -> Job:
    """Return the job, made or taken up again where that is needed."""
    key = frozen.key(kind, request)
    job = rows.get(session, key)
    linked = job is not None and any(one.key == key for one in rows.needed(session, run.wanted.id))
    gone = job is not None and job.state is State.BROKEN and job.outcome == "gone"
    mended = gone and job is not None and _later(run.build, job)
    if job is None or not linked or mended or job.state is State.CANCELLED:
        seconds = (
            jobs.stress_seconds(request)
            if isinstance(request, StressRequest) else jobs.STACK_SECONDS
        )  # fmt: skip
        new = New(key, kind, request.model_dump_json(), seconds)
        if rows.want(session, new, run.wanted.id, run.wanted.priority, now, fresh=run.fresh):
            parts.count(session, "reused", kind)
        job = rows.get(session, key)
    assert job is not None  # noqa: S101 - it was just put there
    return job


def _later(build: Job, job: Job) -> bool:
    return build.ended is not None and job.ended is not None and build.ended > job.ended


def _broken(session: rows.Session, run: _Run, job: Job, now: datetime) -> str:
    """Do the build once more where what it left is gone; else give the run up."""
    if job.outcome == "gone" and run.build.attempts <= REBUILDS:
        rows.again(session, run.build.key, f"to be done again: {job.reason}", now)
        return ""
    return _give_up(session, run.wanted, f"the {job.kind} job is broken: {job.reason}", now)


def _give_up(session: rows.Session, wanted: Wanted, reason: str, now: datetime) -> str:
    """End a run that cannot be made for a reason of ours; `stackhog status` shows it."""
    if wishes.end(session, wanted.id, Wish.FAILED, reason, now):
        parts.count(session, "runs", "broken")
    return f"{reason} (given up)"
