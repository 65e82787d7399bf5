"""wish → plan → jobs: what is wanted is planned once, and its jobs are there or made."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from bot.contract import BuildRequest, BuildResult, Queue, TheirsError
from bot.mail.outbox import Outbox
from bot.mail.series import Series
from bot.review import frozen, jobs, prerequisites
from bot.review.frozen import Frozen
from bot.review.prerequisites import Known
from bot.review.told import Planned
from bot.service import asking, intake
from bot.store import jobs as rows
from bot.store import parts, wishes
from bot.store import series as kept
from bot.store.database import Store
from bot.store.jobs import New
from bot.store.wishes import Wanted, Wish

LOG = logging.getLogger(__name__)
LATELY = timedelta(days=90)  # in which prerequisites are looked for
SIZES = (1, 3, 8, 20)  # patches: the small ones go before the large ones
UNASKED = 5  # priorities from here on are those of runs that nobody asked for
ALIVE = timedelta(minutes=1)  # how long ago a worker may have been seen


class Planner(Protocol):
    """Who plans; the one that knows settings, policies and trees is in the verbs."""

    def plan(self, series: Series, args: dict[str, Any], known: Known) -> Planned:
        """Plan a run as somebody asked for it. Raises TheirsError, OursError."""

    def thaw(self, kept: Frozen, series: Series) -> Planned:
        """Return a plan that was kept. Raises OursError."""


@dataclass(frozen=True)
class Office:
    """What planning a run takes."""

    store: Store
    planner: Planner
    outbox: Outbox
    address: str  # From of our mail
    backoff: Callable[[int], timedelta]


def plan(office: Office, wanted: Wanted, now: datetime) -> str:
    """Plan a run and see that its build is there; return what came of it, one line.

    What is wrong with the series, or with what was asked for, is told to who asked, and ends
    the run. Raises OursError: it waits, and is planned again.
    """
    try:
        series = whole(office.store, wanted.series)
        planned = office.planner.plan(series, wanted.args, _beside(office.store, series, now))
    except TheirsError as error:
        return asking.refuse(office.store, office.outbox, office.address, wanted, error, now)
    urgency = priority(wanted, len(series.patches))
    new = build_job(planned.request)
    with office.store.session() as session:
        text = frozen.freeze(planned).model_dump_json()
        if not wishes.planned(session, wanted.id, text, urgency, now):
            return "it waits no longer"
        fresh = bool(wanted.args.get("fresh")) or _outdated(session, new.key, now)
        shared = rows.want(session, new, wanted.id, urgency, now, fresh=fresh)
        if shared:
            parts.count(session, "reused", Queue.BUILD)
    return f"planned on {planned.base.tree} {planned.base.commit[:12]}"


def priority(wanted: Wanted, patches: int) -> int:
    """Return the priority of a run: 0 is the first. What was asked for, then what is small."""
    size = sum(patches > most for most in SIZES)
    return size if wanted.asked_in is not None else UNASKED + size


def build_job(request: BuildRequest) -> New:
    """Return the build job of a request."""
    seconds = jobs.build_seconds(request)
    return New(frozen.key(Queue.BUILD, request), Queue.BUILD, request.model_dump_json(), seconds)


def _outdated(session: rows.Session, key: str, now: datetime) -> bool:
    """Whether a build was made by another compiler than the workers have by now."""
    text = rows.result(session, key)
    if text is None:
        return False
    living = parts.alive(session, now - ALIVE)
    known = {str(one.facts.get("compiler", "")) for one in living if one.kind == "worker"} - {""}
    made_by = BuildResult.model_validate_json(text).compiler
    return bool(known) and bool(made_by) and made_by not in known


def whole(store: Store, lead: str) -> Series:
    """Return a series that can be tested. Raises TheirsError."""
    series = intake.load(store, lead)
    if series is None:
        raise TheirsError("the series is no longer known")
    if series.obstacle:
        raise TheirsError(series.obstacle)
    return series


def _beside(store: Store, series: Series, now: datetime) -> Known:
    """Return what a series may need below it, out of what came in lately."""
    if not prerequisites.names_any(series):
        return prerequisites.known(())
    with store.session() as session:
        leads = kept.since(session, now - LATELY)
    found = (intake.load(store, lead) for lead in leads if lead != series.id)
    return prerequisites.known([one for one in found if one is not None])


def put_off(office: Office, wanted: Wanted, reason: str, now: datetime, most: int) -> str:
    """Plan a run again later, or give it up after so many tries; return which, one line."""
    with office.store.session() as session:
        if wanted.tries >= most:
            wishes.end(session, wanted.id, Wish.FAILED, reason, now)
            parts.count(session, "runs", "broken")
            return f"{reason} (given up)"
        due = now + office.backoff(wanted.tries)
        wishes.put_off(session, wanted.id, reason, due)
    return f"{reason} (tried again at {due:%H:%M})"
