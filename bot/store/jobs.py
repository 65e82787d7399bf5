"""Jobs: each once for its key, whoever wants it, and how far it has come.

States and what leads from one to the next; every change names the state and the task it leaves,
so that what comes twice, or too late, changes nothing::

    ready ──send──▶ sent ──began──▶ running ──finish──▶ done
      ▲               │                │
      ├───────────────┴── put_back ────┤   lost, or broken and tried again
      │                                └── give_up ──▶ broken
      └── want ── broken, cancelled         (and every state but done ── cancel ──▶ cancelled)
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Session  # noqa: PLC0414 - callers name it, and no SQL
from sqlalchemy.orm import defer

from bot.store.tables import JobRow, NeedRow, RequestRow

LOG = 20_000  # characters of a log that are kept, the last
_NUMBERS = re.compile(r"[\d,.]+")


class State(StrEnum):
    """How far a job has come."""

    READY = "ready"
    SENT = "sent"
    RUNNING = "running"
    DONE = "done"
    BROKEN = "broken"  # ours, and given up: the operator looks into it
    CANCELLED = "cancelled"  # nobody wants it any more


UNDER_WAY = (State.SENT, State.RUNNING)
OPEN = (State.READY, *UNDER_WAY)
LIVE = ("waiting", "running")  # runs that still want their jobs: bot/store/wishes.py


@dataclass(frozen=True)
class New:
    """A job as it is wanted; ``request`` is JSON."""

    key: str
    kind: str
    request: str
    seconds: float


@dataclass(frozen=True)
class Job:
    """A job without its request and result."""

    key: str
    kind: str
    state: State
    outcome: str
    reason: str
    priority: int
    seconds: float
    due: datetime
    task: str | None
    epoch: str
    attempts: int
    losses: int
    failures: int
    worker: str
    started: datetime | None
    ended: datetime | None


def want(
    session: Session, new: New, request: int, priority: int, now: datetime, *, fresh: bool = False
) -> bool:
    """Note that a run needs a job, which is made unless it is there; return whether it was.

    A job that was given up or cancelled is tried anew. ``fresh``: one that is done as well,
    once for each run.
    """
    there = _put(session, new, priority, now)
    linked = session.get(NeedRow, (request, new.key)) is not None
    if not linked:
        session.merge(NeedRow(request=request, job=new.key, shared=there))
    again = [State.BROKEN, State.CANCELLED]
    if fresh and not linked:
        again.append(State.DONE)
    _update(session, JobRow.key == new.key, again, **_anew(now))
    higher = (JobRow.key == new.key) & (JobRow.priority > priority)
    _update(session, higher, list(State), priority=priority)
    session.flush()
    return there and not linked


def _put(session: Session, new: New, priority: int, now: datetime) -> bool:
    there = select(JobRow.key).where(JobRow.key == new.key)
    if session.scalar(there) is not None:
        return True
    row = JobRow(
        key=new.key, kind=new.kind, state=State.READY, seconds=new.seconds, priority=priority,
        request=zlib.compress(new.request.encode()), created=now, due=now,
    )  # fmt: skip
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:  # another process put it between the two statements
        return True
    return False


def _anew(now: datetime) -> dict[str, object]:
    return {
        "state": State.READY, "due": now, "created": now, "task": None, "lease": None,
        "losses": 0, "failures": 0, "result": None, "outcome": "", "reason": "", "step": "",
        "log": "", "sent": None, "started": None, "ended": None,
    }  # fmt: skip


def again(session: Session, key: str, reason: str, now: datetime) -> bool:
    """Do a job once more that is done, or was given up; False when it is in neither state."""
    values = {**_anew(now), "reason": reason}
    return _update(session, JobRow.key == key, [State.DONE, State.BROKEN], **values)


def ready(session: Session, now: datetime, limit: int) -> tuple[Job, ...]:
    """Return the jobs that may be sent, in the order of their turn."""
    wanted = (
        _rows().where(
            JobRow.state == State.READY, or_(JobRow.due <= now, JobRow.created > now)
        )
        .order_by(JobRow.priority, JobRow.due, JobRow.created, JobRow.key)
    )  # fmt: skip
    return _jobs(session, wanted.limit(limit))


def hasten(session: Session, now: datetime) -> None:
    """Let all that is put off be tried now."""
    _update(session, JobRow.due > now, [State.READY], due=now)


def under_way(session: Session) -> tuple[Job, ...]:
    """Return the jobs that the broker or a worker has."""
    return _jobs(session, _rows().where(JobRow.state.in_(UNDER_WAY)).order_by(JobRow.key))


def get(session: Session, key: str) -> Job | None:
    """Return a job."""
    found = _jobs(session, _rows().where(JobRow.key == key))
    return found[0] if found else None


def request(session: Session, key: str) -> str:
    """Return a job's request, JSON."""
    packed = session.scalars(select(JobRow.request).where(JobRow.key == key)).one()
    return zlib.decompress(packed).decode()


def result(session: Session, key: str) -> str | None:
    """Return a job's result, JSON; None: there is none yet."""
    packed = session.scalar(select(JobRow.result).where(JobRow.key == key))
    return zlib.decompress(packed).decode() if packed is not None else None


def send(
    session: Session, key: str, task: str, epoch: str, lease: datetime, now: datetime
) -> bool:  # fmt: skip
    """Note that an attempt goes to the broker; False: somebody else sends the job."""
    return _update(
        session, JobRow.key == key, [State.READY], state=State.SENT, task=task, epoch=epoch,
        lease=lease, sent=now, started=None, step="", attempts=JobRow.attempts + 1,
    )  # fmt: skip


def began(session: Session, task: str, worker: str, lease: datetime, now: datetime) -> bool:
    """Note that a worker has begun."""
    return _update(
        session, JobRow.task == task, [State.SENT], state=State.RUNNING, worker=worker[:200],
        lease=lease, started=now,
    )  # fmt: skip


def step(session: Session, task: str, what: str, now: datetime) -> bool:
    """Note what a job is doing; in its log steps that differ in numbers alone are one line."""
    rows = select(JobRow.step, JobRow.log, JobRow.started).where(JobRow.task == task)
    before = session.execute(rows).first()
    if before is None:
        return False
    log = before.log
    if _bare(before.step) != _bare(what):
        began = before.started or now
        log += f"{(now - began).total_seconds():.0f} s: {' '.join(what.split())}\n"
    return _update(
        session, JobRow.task == task, [State.RUNNING], step=what, log=log[-LOG:]
    )  # fmt: skip


def _bare(what: str) -> str:
    return _NUMBERS.sub("", what)


def renew(session: Session, tasks: Collection[str], lease: datetime) -> None:
    """Prolong the leases of attempts that live."""
    _update(session, JobRow.task.in_(sorted(tasks)), UNDER_WAY, lease=lease)


def finish(
    session: Session, task: str, outcome: str, reason: str, found: str, now: datetime
) -> bool:  # fmt: skip
    """Keep a result; False: it came twice, or too late."""
    return _update(
        session, JobRow.task == task, UNDER_WAY, state=State.DONE, outcome=outcome, reason=reason,
        result=zlib.compress(found.encode()), ended=now, lease=None,
        started=func.coalesce(JobRow.started, JobRow.sent),
    )  # fmt: skip


@dataclass(frozen=True)
class Toll:
    """What an attempt that came to nothing counts as."""

    losses: int = 0
    failures: int = 0


def put_back(session: Session, task: str, reason: str, due: datetime, toll: Toll) -> bool:
    """Let a job be sent again, not before ``due``; False: the attempt is over already."""
    return _update(
        session, JobRow.task == task, UNDER_WAY, state=State.READY, reason=reason, due=due,
        task=None, lease=None, step="", losses=JobRow.losses + toll.losses,
        failures=JobRow.failures + toll.failures,
    )  # fmt: skip


def give_up(
    session: Session, task: str, reason: str, now: datetime, outcome: str = "broken"
) -> bool:
    """Note that a job is not tried any more."""
    return _update(
        session, JobRow.task == task, UNDER_WAY, state=State.BROKEN, reason=reason, ended=now,
        outcome=outcome, task=None, lease=None,
    )  # fmt: skip


def cancel_unwanted(session: Session, now: datetime) -> tuple[str, ...]:
    """Cancel the jobs that no run wants any more; return the tasks that were under way."""
    wanted = exists().where(
        NeedRow.job == JobRow.key, NeedRow.request == RequestRow.id, RequestRow.state.in_(LIVE)
    )
    rows = _jobs(session, _rows().where(JobRow.state.in_(OPEN), ~wanted).order_by(JobRow.key))
    tasks = []
    for one in rows:
        which = (JobRow.key == one.key) & ~wanted
        values = {"state": State.CANCELLED, "ended": now, "lease": None, "task": None}
        reason = "no run wants it any more"
        if _update(session, which, OPEN, reason=reason, **values) and one.task:
            tasks.append(one.task)
    return tuple(tasks)


def needing(session: Session, keys: Collection[str]) -> tuple[int, ...]:
    """Return the runs that need some jobs, by number."""
    rows = select(NeedRow.request).where(NeedRow.job.in_(sorted(keys))).distinct()
    return tuple(session.scalars(rows.order_by(NeedRow.request)))


def needed(session: Session, run: int) -> tuple[Job, ...]:
    """Return the jobs of a run."""
    rows = _rows().join(NeedRow, NeedRow.job == JobRow.key).where(NeedRow.request == run)
    return _jobs(session, rows.order_by(JobRow.created, JobRow.key))


def _rows() -> Select[JobRow]:
    return select(JobRow).options(defer(JobRow.request), defer(JobRow.result))


def _jobs(session: Session, rows: Select[JobRow]) -> tuple[Job, ...]:
    found = session.scalars(rows, execution_options={"populate_existing": True})
    return tuple(
        Job(
            r.key, r.kind, State(r.state), r.outcome, r.reason, r.priority, r.seconds, r.due,
            r.task, r.epoch, r.attempts, r.losses, r.failures, r.worker, r.started,
            r.ended,
        )
        for r in found
    )  # fmt: skip


def _update(
    session: Session, which: ColumnElement[bool], old: Collection[State], **values: object
) -> bool:
    """Change the rows that are meant and in one of these states; return whether there are any."""
    changed = session.execute(
        update(JobRow)
        .where(which, JobRow.state.in_(sorted(old)))
        .values(**values)
        .returning(JobRow.key),
        execution_options={"synchronize_session": False},
    )
    return bool(changed.all())
