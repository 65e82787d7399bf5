"""mail → series: what comes in is stored, put together, and waited for.

Each function may be called again after a crash at any point: it goes on from what the store
says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.mail import commands, kinds, message
from bot.mail.following import Fetched
from bot.mail.message import Message
from bot.mail.series import Series, numbered, rebuilt, sort_out
from bot.mail.threads import WINDOW
from bot.mail.versions import plain
from bot.store import cursors, mails
from bot.store import series as kept
from bot.store.database import Store
from bot.store.series import REPEATED, Found, State

Fetch = Callable[[str], Iterable[bytes]]


@dataclass(frozen=True)
class Taken:
    """A mail that came in."""

    message: Message
    raw: bytes
    new: bool  # False: its Message-ID was there before


@dataclass(frozen=True)
class Patience:
    """How long is waited for the rest of a series after its last mail."""

    whole: timedelta = timedelta()
    partial: timedelta = WINDOW  # a patch sent anew: others may follow
    incomplete: timedelta = timedelta(hours=1)

    def of(self, one: Series) -> timedelta:
        """Return how long to wait for this one."""
        if not one.complete:
            return self.incomplete
        return self.partial if one.is_partial else self.whole


def take(
    store: Store, source: str, fetched: Fetched, now: datetime, own: Collection[str] = ()
) -> Taken:
    """Store a mail and the cursor behind it, both or neither; ``own`` are our addresses."""
    asks = any(one.addressed for one in commands.find(fetched.raw, own))
    told = kinds.sort(fetched.raw)
    parsed = message.parse(fetched.raw)
    full = parsed.sender.name if " " in parsed.sender.name else ""
    mail = mails.Mail(
        message_id=parsed.message_id, source=source, written=parsed.date,
        sender=parsed.sender.email.lower(), name=full, subject=parsed.subject,
        kind=told.kind, reason=told.reason, references=parsed.references,
        raw=fetched.raw if told.may_belong or asks else None, settled=not told.may_belong,
        heard=not asks,
    )  # fmt: skip
    with store.session() as session:
        new = mails.add(session, mail, now)
        cursors.put(session, source, fetched.cursor, now)
    return Taken(parsed, fetched.raw, new)


def settle(store: Store, now: datetime, patience: Patience) -> tuple[str, ...]:
    """Put the mails that came in together; return the leads of the series that changed."""
    changed: list[str] = []
    while True:
        with store.session() as session:
            fresh = mails.unsettled(session)
            if not fresh:
                return tuple(dict.fromkeys(changed))
            raws = mails.neighbours(session, fresh)
            series = sort_out(message.parse(raw) for raw in raws).series
            found = [_found(one) for one in series]
            linked = [
                one if one.supersedes else _linked(one, kept.former(session, one)) for one in found
            ]
            due = [now + patience.of(one) for one in series]
            changed += kept.put(session, linked, now, due)
            mails.settle(session, fresh)


def _found(one: Series) -> Found:
    places = {mail.message_id: mail.label.index for mail in one.sending.patches}
    if one.cover:
        places[one.cover.message_id] = 0
    return Found(
        lead=one.id, title=one.title, plain=plain(one.title), version=one.version,
        total=one.total, missing=one.missing, problem=one.problem,
        submitter=one.submitter.email.lower(), date=one.date, change_id=one.change_id,
        supersedes=one.supersedes, partial=one.is_partial,
        members=tuple((name, places.get(name, REPEATED)) for name in one.mail_ids),
    )  # fmt: skip


def _linked(one: Found, before: str | None) -> Found:
    return Found(**{**vars(one), "supersedes": before})


def load(store: Store, lead: str) -> Series | None:
    """Return a series with all its mails; None where there is none with this lead."""
    with store.session() as session:
        row = kept.get(session, lead)
        placed = kept.placed(session, lead) if row else ()
    if row is None or not placed:
        return None
    return rebuilt(
        ((message.parse(raw), place) for raw, place in placed), lead, partial=row.partial
    )


def unfinished(store: Store, now: datetime) -> tuple[str, ...]:
    """Return the incomplete series whose time of waiting is over."""
    with store.session() as session:
        return tuple(
            one.lead for one in kept.due(session, now, [State.WAITING])
            if one.missing or one.problem
        )  # fmt: skip


def complete(store: Store, leads: Sequence[str], fetch: Fetch, now: datetime) -> int:
    """Look for what is missing of some series in an archive; return how many mails were new.

    ``fetch`` returns the mails of the thread that a Message-ID is in.
    """
    count = 0
    for lead in leads:
        with store.session() as session:
            there = cursors.get(session, "threads")
        count += sum(take(store, "threads", Fetched(raw, there), now).new for raw in fetch(lead))
    return count


def give_up(store: Store, now: datetime) -> None:
    """Mark the series that are still not whole with what is missing."""
    with store.session() as session:
        for one in kept.due(session, now, [State.WAITING]):
            if one.missing:
                reason = f"patch {numbered(one.missing, f'/{one.total}')} did not come"
                kept.mark(session, one.lead, State.INCOMPLETE, reason)
            elif one.problem:
                kept.mark(session, one.lead, State.INCOMPLETE, one.problem)
            else:
                kept.mark(session, one.lead, State.READY, "")
