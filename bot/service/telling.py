"""results → findings → verdict → reply: a run whose jobs are done is told to whom policy says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from bot.contract import Chain
from bot.mail.headers import Address, parse_addresses
from bot.mail.message import Message
from bot.mail.outbox import Outbox, Place
from bot.mail.reply import Asker, Sender, compose
from bot.mail.series import Series
from bot.review import speak
from bot.review.fingerprint import fingerprint
from bot.review.jobs import Results
from bot.review.speak import Audience, Occasion
from bot.review.told import Before, Folded, Planned, fold
from bot.service import asking, reports
from bot.service.reports import Report
from bot.store import depths, mutes, parts, wishes
from bot.store import outbox as posted
from bot.store import series as kept
from bot.store.database import Store
from bot.store.depths import Point
from bot.store.wishes import Ended, Wanted, Wish
from policies.lists import Lists


@dataclass(frozen=True)
class Voice:
    """Who we are, and whom we speak to."""

    address: str  # From
    own: tuple[str, ...]  # our addresses
    lists: Lists
    maintainers: Callable[[Series], tuple[Address, ...]]  # M: and R: of the touched files
    is_list: Callable[[str], bool]


@dataclass(frozen=True)
class Mouth:
    """What telling takes."""

    store: Store
    outbox: Outbox
    voice: Voice


def tell(mouth: Mouth, wanted: Wanted, planned: Planned, results: Results, now: datetime) -> str:
    """Say what a run came to, and end it; return why it was said, or not, in one line.

    Called again after a crash it goes on: a reply that is in the outbox is not put there twice,
    and a run that was cancelled meanwhile is not told.
    """
    store, voice, series = mouth.store, mouth.voice, planned.series
    folded = fold(planned, results, *_history(store, series))
    asked = asking.asked(store, wanted)
    with store.session() as session:
        if not wishes.some(session, [wanted.id]):
            return "it was cancelled meanwhile"
        _keep(session, planned, folded, results, now)
    occasion = _occasion(folded, asked, voice, series)
    said = speak.audience(series, occasion, voice.lists, planned.gates.reply)
    if said.speaks:
        _put(mouth, planned, folded, said, asked, now)
    with store.session() as session:
        if wishes.end(session, wanted.id, Wish.DONE, said.reason, now, planned.key):
            parts.count(session, "runs", folded.decided.outcome)
    return said.reason


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


def _keep(
    session: wishes.Session, planned: Planned, folded: Folded, results: Results, now: datetime
) -> None:
    """Keep what a run came to."""
    report = Report(
        tree=planned.base.tree, commit=planned.base.commit, base_reason=planned.base.reason,
        findings=folded.found, build=results.build, stack=results.stack, stress=results.stress,
    )  # fmt: skip
    lead, decided = planned.series.id, folded.decided
    text, found = reports.write(report), len(decided.findings)
    wishes.keep(session, Ended(planned.key, lead, decided.outcome, text, found), now)
    about = (planned.key, lead, now, planned.base.tree, results.build.kernel_release)
    chains = results.stack.chains if results.stack else ()
    depths.put(session, planned.key, [_point(one, about) for one in chains])


def _point(chain: Chain, about: tuple[str, str, datetime, str, str]) -> Point:
    sides = [one.upper_bytes if one else None for one in (chain.before, chain.after)]
    return Point(*about, chain.profile, chain.name, sides[0], sides[1], chain.budget_bytes)


def _occasion(
    folded: Folded, asked: tuple[Message, Address] | None, voice: Voice, series: Series
) -> Occasion:
    found = bool(folded.decided.findings)
    asker = asked[1] if asked else None
    return Occasion(found, asker, voice.maintainers(series), voice.own, folded.tested)


def _put(
    mouth: Mouth,
    planned: Planned,
    folded: Folded,
    said: Audience,
    asked: tuple[Message, Address] | None,
    now: datetime,
) -> None:
    asker = None
    if asked:
        mail, address = asked
        asker = Asker(address, mail.message_id, mail.references, mail.subject)
    series, voice = planned.series, mouth.voice
    sender = Sender(voice.address, planned.gates.reply, said.to, said.cc, asker)
    letter = compose(series, folded.run, sender, now)
    first = next(iter(series.lead.references), series.id)
    wait = now + said.embargo if said.embargo else None
    mouth.outbox.put(letter, Place(thread=first, series=series.id, not_before=wait), now)


def own_addresses(address: str) -> tuple[str, ...]:
    """Return the bare addresses in a From."""
    return tuple(one.email for one in parse_addresses(address))
