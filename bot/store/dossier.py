"""All that is kept of one series: runs that were wanted, commands, mails of ours."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from bot.store.outbox import Letter, listed_of
from bot.store.tables import CommandRow, JobRow, MuteRow, NeedRow, RequestRow, RunRow

MOST = 100  # of each kind that are shown, the latest


@dataclass(frozen=True)
class Request:
    """A run that was wanted."""

    number: int
    state: str
    reason: str
    at: datetime
    started: datetime | None
    ended: datetime | None
    tries: int
    run: str | None
    by_command: bool


@dataclass(frozen=True)
class Job:
    """A job that a run needs."""

    key: str
    kind: str
    state: str
    outcome: str
    reason: str
    step: str
    log: str  # its steps, a line each
    worker: str
    attempts: int
    started: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class Command:
    """What somebody asked for by mail, and what became of it."""

    message_id: str
    at: datetime
    sender: str
    verb: str
    args: dict[str, Any]
    allowed: bool
    reason: str
    outcome: str


@dataclass(frozen=True)
class Mute:
    """A finding that somebody asked not to hear of again."""

    fingerprint: str
    reason: str
    by: str
    at: datetime
    lifted: datetime | None


@dataclass(frozen=True)
class Mail:
    """A mail of ours about a series."""

    letter: Letter
    text: bytes


@dataclass(frozen=True)
class Dossier:
    """What is kept of a series; mutes and commands are those of all its versions."""

    requests: tuple[Request, ...]  # the latest first
    plan: str | None  # JSON, of the latest that has one
    jobs: tuple[Job, ...]  # of the latest run
    commands: tuple[Command, ...]
    mutes: tuple[Mute, ...]
    mails: tuple[Mail, ...]


def read(session: Session, lead: str, lineage: Collection[str]) -> Dossier:
    """Return what is kept of a series."""
    rows = (
        select(RequestRow).options(defer(RequestRow.plan)).where(RequestRow.series == lead)
        .order_by(RequestRow.id.desc()).limit(MOST)
    )  # fmt: skip
    requests = tuple(
        Request(
            one.id, one.state, one.reason, one.at, one.started, one.ended, one.tries, one.run,
            one.command is not None,
        )
        for one in session.scalars(rows)
    )  # fmt: skip
    return Dossier(
        requests, _plan(session, lead), _jobs(session, requests[0].number) if requests else (),
        _commands(session, lineage), _mutes(session, lineage),
        tuple(Mail(letter, text) for letter, text in listed_of(session, lead, MOST)),
    )  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """A run that came to its end; ``report`` and ``plan`` are JSON, "" where they were known."""

    run: str
    report: str
    plan: str


def latest(session: Session, most: int, known: frozenset[str]) -> tuple[Ended, ...]:
    """Return the latest runs, the latest first; those that are known without their texts."""
    rows = (
        select(RequestRow.id, RequestRow.run)
        .where(RequestRow.ended.is_not(None), RequestRow.run.is_not(None))
        .order_by(RequestRow.ended.desc(), RequestRow.id.desc()).limit(most)
    )  # fmt: skip
    found: dict[str, Ended] = {}
    for number, run in session.execute(rows):
        if run is None or run in found:
            continue
        plan = None
        if run not in known:
            plan = session.scalar(select(RequestRow.plan).where(RequestRow.id == number))
        text = zlib.decompress(plan).decode() if plan is not None else ""
        found[run] = Ended(run, "" if run in known else report(session, run) or "", text)
    return tuple(found.values())


def report(session: Session, key: str) -> str | None:
    """Return what a run came to, JSON."""
    packed = session.scalar(select(RunRow.report).where(RunRow.key == key))
    return zlib.decompress(packed).decode() if packed is not None else None


def reports(session: Session, leads: Collection[str]) -> dict[str, str]:
    """Return the last report of each series that has one, JSON."""
    found = {}
    for lead in sorted(leads):
        rows = select(RunRow.report).where(RunRow.series == lead)
        packed = session.scalar(rows.order_by(RunRow.at.desc(), RunRow.key).limit(1))
        if packed is not None:
            found[lead] = zlib.decompress(packed).decode()
    return found


def _plan(session: Session, lead: str) -> str | None:
    rows = select(RequestRow.plan).where(RequestRow.series == lead, RequestRow.plan.is_not(None))
    packed = session.scalar(rows.order_by(RequestRow.id.desc()).limit(1))
    return zlib.decompress(packed).decode() if packed is not None else None


def _jobs(session: Session, number: int) -> tuple[Job, ...]:
    rows = (
        select(JobRow).options(defer(JobRow.request), defer(JobRow.result))
        .join(NeedRow, NeedRow.job == JobRow.key).where(NeedRow.request == number)
        .order_by(JobRow.kind, JobRow.created, JobRow.key)
    )  # fmt: skip
    return tuple(
        Job(
            one.key, one.kind, one.state, one.outcome, one.reason, one.step, one.log, one.worker,
            one.attempts, one.started, one.ended,
        )
        for one in session.scalars(rows)
    )  # fmt: skip


def _commands(session: Session, leads: Collection[str]) -> tuple[Command, ...]:
    rows = select(CommandRow).where(CommandRow.series.in_(sorted(leads)))
    return tuple(
        Command(
            one.message_id, one.at, one.sender, one.verb, one.args, one.allowed, one.reason,
            one.outcome,
        )
        for one in session.scalars(rows.order_by(CommandRow.at, CommandRow.id).limit(MOST))
    )  # fmt: skip


def _mutes(session: Session, leads: Collection[str]) -> tuple[Mute, ...]:
    rows = select(MuteRow).where(MuteRow.series.in_(sorted(leads)))
    return tuple(
        Mute(one.fingerprint, one.reason, one.by, one.at, one.lifted)
        for one in session.scalars(rows.order_by(MuteRow.at, MuteRow.id).limit(MOST))
    )
