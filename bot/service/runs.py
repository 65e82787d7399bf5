"""wish → reply: a run that is wanted is made, or found kept, and told to whom policy says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from bot.contract import OursError, TheirsError
from bot.mail import message
from bot.mail.headers import Address, parse_addresses
from bot.mail.message import Message
from bot.mail.outbox import Outbox, Place
from bot.mail.reply import Asker, Sender, compose
from bot.mail.series import Series
from bot.review import prerequisites, speak
from bot.review.fingerprint import fingerprint
from bot.review.jobs import Results
from bot.review.prerequisites import Known
from bot.review.speak import Audience, Occasion
from bot.review.told import Before, Folded, Planned, fold
from bot.service import intake, letters, reports
from bot.service.reports import Report
from bot.store import mails, mutes, wishes
from bot.store import outbox as posted
from bot.store import series as kept
from bot.store.database import Store
from bot.store.wishes import Wanted, Wish
from policies.lists import Lists

LATELY = timedelta(days=90)  # in which prerequisites are looked for
LOG = logging.getLogger(__name__)


class Tester(Protocol):
    """Who plans and runs; the one that is wired to real workers is in the verbs."""

    def plan(self, series: Series, args: dict[str, Any], known: Known) -> Planned:
        """Plan a run as somebody asked for it. Raises TheirsError, OursError."""

    def run(self, planned: Planned) -> Results:
        """Run what was planned. Raises TheirsError, OursError."""


@dataclass(frozen=True)
class Voice:
    """Who we are, and whom we speak to."""

    address: str  # From
    own: tuple[str, ...]  # our addresses
    lists: Lists
    maintainers: Callable[[Series], tuple[Address, ...]]  # M: and R: of the touched files


def answer(
    store: Store, wanted: Wanted, tester: Tester, voice: Voice, outbox: Outbox, now: datetime
) -> str:
    """Make a run that is wanted, or take the kept result; return what came of it, one line.

    Called again after a crash it goes on: a result that was kept is not made again, a reply
    that is in the outbox is not put there twice. Raises OursError: the wish still waits.
    """
    asked = _asked(store, wanted)
    try:
        series = _whole(store, wanted.series)
        planned = tester.plan(series, wanted.args, _beside(store, series, now))
        results = _results(store, planned, wanted, tester, now)
    except TheirsError as error:
        if asked:
            mail, address = asked
            letter = letters.failure(mail, address, str(error), voice.address, now)
            outbox.put(letter, _place(mail, wanted.series, now), now)
        return _end(store, wanted, Wish.FAILED, str(error), None)
    folded = fold(planned, results, *_history(store, series))
    _keep(store, planned, folded, results, now)
    with store.session() as session:
        if wishes.cancelled(session, wanted.id):
            return "it was cancelled meanwhile"
    said = speak.audience(series, _occasion(folded, asked, voice, series), voice.lists, planned.gates.reply)  # noqa: E501 # fmt: skip
    if said.speaks:
        _tell(series, folded, said, asked, voice, planned, outbox, now)
    return _end(store, wanted, Wish.DONE, said.reason, planned.key)


def _whole(store: Store, lead: str) -> Series:
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


def _asked(store: Store, wanted: Wanted) -> tuple[Message, Address] | None:
    """Return the mail that asked, as far as it is needed to answer it, and who wrote it."""
    if wanted.asked_in is None or wanted.asked_by is None:
        return None
    with store.session() as session:
        found = mails.head(session, wanted.asked_in)
    if found is None:
        return None
    name = found.name or wanted.asked_by
    lines = f"From: {wanted.asked_by}\nSubject: {found.subject}\nMessage-ID: <{wanted.asked_in}>\n"
    references = " ".join(f"<{one}>" for one in found.references)
    mail = message.parse(f"{lines}References: {references}\n\n".encode())
    return mail, Address(name, wanted.asked_by)


def _results(
    store: Store, planned: Planned, wanted: Wanted, tester: Tester, now: datetime
) -> Results:
    """Return the kept result of the same work, unless a fresh one was asked for."""
    with store.session() as session:
        text = None if wanted.args.get("fresh") else wishes.kept(session, planned.key)
    if text is not None:
        report = reports.read(text)
        return Results(report.build, report.stack, report.stress)
    LOG.info("running %s for %s, since %s", planned.key[:12], wanted.series, now.isoformat())
    return tester.run(planned)


def _history(store: Store, series: Series) -> tuple[tuple[mutes.Muted, ...], Before]:
    """Return the mutes of all versions, and what was told of the version before."""
    with store.session() as session:
        muted = mutes.of(session, kept.lineage(session, series.id))
        row = kept.get(session, series.id)
        former = kept.get(session, row.supersedes) if row and row.supersedes else None
        text = wishes.latest(session, former.lead) if former else None
        told = former is not None and posted.replied(session, former.lead)
    if former is None or text is None or not told:
        return muted, Before()
    marks = {one.fingerprint for one in muted}
    found = tuple(one for one in reports.read(text).findings if fingerprint(one) not in marks)
    return muted, Before(former.version, found)


def _keep(store: Store, planned: Planned, folded: Folded, results: Results, now: datetime) -> None:
    """Keep what a run came to; not where a job broke: that is to be done again."""
    if folded.broken:
        raise OursError(f"the stress job is broken: {folded.broken}")
    report = Report(
        tree=planned.base.tree, commit=planned.base.commit, base_reason=planned.base.reason,
        findings=folded.found, build=results.build, stack=results.stack, stress=results.stress,
    )  # fmt: skip
    with store.session() as session:
        outcome = folded.decided.outcome
        wishes.keep(session, planned.key, planned.series.id, outcome, reports.write(report), now)


def _occasion(
    folded: Folded, asked: tuple[Message, Address] | None, voice: Voice, series: Series
) -> Occasion:
    found = bool(folded.decided.findings)
    asker = asked[1] if asked else None
    return Occasion(found, asker, voice.maintainers(series), voice.own, folded.tested)


def _tell(  # noqa: PLR0913, PLR0917 - all of it makes the mail
    series: Series,
    folded: Folded,
    said: Audience,
    asked: tuple[Message, Address] | None,
    voice: Voice,
    planned: Planned,
    outbox: Outbox,
    now: datetime,
) -> None:
    asker = None
    if asked:
        mail, address = asked
        asker = Asker(address, mail.message_id, mail.references, mail.subject)
    sender = Sender(voice.address, planned.gates.reply, said.to, said.cc, asker)
    letter = compose(series, folded.run, sender, now)
    first = next(iter(series.lead.references), series.id)
    wait = now + said.embargo if said.embargo else None
    outbox.put(letter, Place(thread=first, series=series.id, not_before=wait), now)


def _place(mail: Message, series: str, now: datetime) -> Place:
    thread = next(iter(mail.references), mail.message_id)
    return Place(thread=thread, series=series, kind="private", not_before=now)


def _end(store: Store, wanted: Wanted, state: Wish, reason: str, key: str | None) -> str:
    with store.session() as session:
        wishes.end(session, wanted.id, state, reason, key)
    return reason


def own_addresses(address: str) -> tuple[str, ...]:
    """Return the bare addresses in a From."""
    return tuple(one.email for one in parse_addresses(address))
