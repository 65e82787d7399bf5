"""The outbox as rows: every change of state is one UPDATE that names the state it leaves.

States and what leads from one to the next::

    held ──approve──▶ waiting ──reserve──▶ reserved ──hand_over──▶ handed ──settle──▶ sent
                         ▲                    │                       ├─────────────▶ failed
                         ├────────────────────┘ cut, 4xx, killed      ├─────────────▶ uncertain
                         └────────────────────────────────────────────┘ 4xx

An attempt has a *claim*, a word of its own: whoever lost it, because the row was taken back
and given to another sender, can neither hand the mail over nor settle it.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Session  # noqa: PLC0414 - callers name it, and no SQL
from sqlalchemy.orm import defer

from bot.store.tables import DeliveryRow, MailRow, OutboxRow, SentRow, SwitchRow

SWITCH = "sending"
RESTORED = "restored"  # no switch: when the store was restored from a backup, if it was
AHEAD = timedelta(minutes=1)  # by which clocks of several senders may differ
SAID = 500  # characters that are kept of what a server says


class State(StrEnum):
    """Where a mail is on its way out."""

    HELD = "held"  # waits for a person
    WAITING = "waiting"  # goes when it is due
    RESERVED = "reserved"  # an attempt has begun, nothing decisive was said
    HANDED = "handed"  # its end was about to be written: the server may have it
    SENT = "sent"
    FAILED = "failed"  # refused for good, or tried for too long
    UNCERTAIN = "uncertain"  # handed, and no answer came
    DROPPED = "dropped"


UNDER_WAY = (State.RESERVED, State.HANDED)
GONE = (State.RESERVED, State.HANDED, State.UNCERTAIN, State.SENT)  # or may have
RELEASED = (State.HELD, State.WAITING, State.FAILED)  # nobody got it: caps forget it
OPEN = tuple(state for state in State if state not in (State.SENT, State.DROPPED))


@dataclass(frozen=True)
class Letter:
    """A mail in the outbox, without its text; ``id`` is 0 before it is put."""

    message_id: str
    thread: str
    sender: str  # envelope
    recipients: tuple[str, ...]
    subject: str
    state: State
    reason: str
    due: datetime
    created: datetime
    changed: datetime
    kind: str = "reply"
    series: str | None = None
    attempts: int = 0
    approved: datetime | None = None
    tried: datetime | None = None
    id: int = 0

    def is_due(self, now: datetime) -> bool:
        """Whether it may go now; `due` says what a clock that was ahead has to do with it."""
        put = self.created > now and self.due <= self.created
        refused = self.attempts > 0 and self.changed > now + AHEAD
        return self.due <= now or put or refused


@dataclass(frozen=True)
class Step:
    """One line of a mail's trace; ``attempt`` 0 is none of an attempt to send."""

    attempt: int
    at: datetime
    stage: str
    said: str


@dataclass(frozen=True)
class Attempt:
    """Which attempt to send which mail; ``claim`` is its own."""

    letter: int
    claim: str
    number: int


def put(session: Session, letter: Letter, mail: bytes) -> tuple[Letter, bool]:
    """Store a mail unless its Message-ID is there; return what is there, and whether it is new."""
    there = by_message_id(session, letter.message_id)
    if there is not None:
        return there, False
    values = {**asdict(letter), "recipients": list(letter.recipients), "id": None}
    row = OutboxRow(mail=zlib.compress(mail), **values)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:  # another process put it between the two statements
        session.expire_all()
        there = by_message_id(session, letter.message_id)
        if there is None:
            raise
        return there, False
    note(session, row.id, letter.state, letter.reason, letter.created)
    return _letter(row), True


def get(session: Session, key: int) -> Letter | None:
    """Return the mail of that number."""
    row = session.get(OutboxRow, key, options=[defer(OutboxRow.mail)], populate_existing=True)
    return _letter(row) if row else None


def by_message_id(session: Session, message_id: str) -> Letter | None:
    """Return the mail of that Message-ID."""
    found = _select(session, OutboxRow.message_id == message_id)
    return found[0] if found else None


def raw(session: Session, key: int) -> bytes:
    """Return a mail as it is sent."""
    packed = session.scalars(select(OutboxRow.mail).where(OutboxRow.id == key)).one()
    return zlib.decompress(packed)


def listed(session: Session, states: Collection[State]) -> tuple[Letter, ...]:
    """Return all mails in these states, the oldest first."""
    return _select(session, OutboxRow.state.in_(sorted(states)))


def listed_of(session: Session, series: str, most: int) -> tuple[tuple[Letter, bytes], ...]:
    """Return the mails about a series and their text as it is sent, the latest first."""
    rows = select(OutboxRow).where(OutboxRow.series == series).order_by(OutboxRow.id.desc())
    found = session.scalars(rows.limit(most))
    return tuple((_letter(row), zlib.decompress(row.mail)) for row in found)


def due(session: Session, now: datetime) -> tuple[int, ...]:
    """Return the numbers of the mails that may go now, in the order of their turn.

    What was put there in the future, to go at once, was put there by a clock that was ahead; so
    was what was refused in the future until its pause was set.
    """
    put = (OutboxRow.created > now) & (OutboxRow.due <= OutboxRow.created)
    refused = (OutboxRow.attempts > 0) & (OutboxRow.changed > now + AHEAD)
    rows = select(OutboxRow.id).where(
        OutboxRow.state == State.WAITING, or_(OutboxRow.due <= now, put, refused)
    )
    return tuple(session.scalars(rows.order_by(OutboxRow.due, OutboxRow.id)))


def move(
    session: Session, key: int, old: Collection[State], new: State, reason: str, now: datetime,
    **changes: object,
) -> bool:  # fmt: skip
    """Change a mail's state, with a line in its trace; False when it is in none of ``old``."""
    done = _update(session, OutboxRow.id == key, old, state=new, reason=reason, changed=now,
                   **changes)  # fmt: skip
    if done:
        note(session, key, new, reason, now)
        if new in RELEASED:
            _uncount(session, key)
    return done


def readdress(session: Session, key: int, recipients: Iterable[str], mail: bytes) -> None:
    """Replace recipients and text of a mail that is not under way."""
    values = {"recipients": sorted(recipients), "mail": zlib.compress(mail)}
    _update(session, OutboxRow.id == key, [s for s in State if s not in GONE], **values)


def reserve(session: Session, letter: Letter, claim: str, now: datetime) -> Attempt | None:
    """Begin an attempt, counted by the caps from now on; None: somebody else has the mail."""
    taken = _update(
        session, OutboxRow.id == letter.id, [State.WAITING],
        state=State.RESERVED, reason="is being sent", claim=claim, changed=now,
        attempts=OutboxRow.attempts + 1, tried=func.coalesce(OutboxRow.tried, now),
    )  # fmt: skip
    if not taken:
        return None
    _uncount(session, letter.id)
    session.add_all(
        SentRow(outbox=letter.id, recipient=one.lower(), at=now) for one in letter.recipients
    )
    number = session.scalars(select(OutboxRow.attempts).where(OutboxRow.id == letter.id)).one()
    note(session, letter.id, State.RESERVED, "an attempt begins", now, number)
    return Attempt(letter.id, claim, number)


def proceed(session: Session, attempt: Attempt, stage: str, said: str, now: datetime) -> str:
    """Note a stage of the dialogue; return why it must not go on, or ``""``."""
    note(session, attempt.letter, stage, said, now, attempt.number)
    return halted(session, attempt, now)


def halted(session: Session, attempt: Attempt, now: datetime) -> str:
    """Say that the attempt is alive; return why it must not go on, or ``""``."""
    if not _update(session, _claimed(attempt), [State.RESERVED], changed=now):
        return "another sender has this mail"
    return stopped(session)


def hand_over(session: Session, attempt: Attempt, now: datetime) -> str:
    """Note that the server may have the mail from now on; return why it must not, or ``""``.

    ``stop`` either comes before this, and nothing is handed over, or waits until it is done.
    """
    reason = stopped(session)
    if reason:
        return reason
    done = _update(session, _claimed(attempt), [State.RESERVED], state=State.HANDED, changed=now,
                   reason="handed to the server, which has not answered yet")  # fmt: skip
    if not done:
        return "another sender has this mail"
    note(session, attempt.letter, State.HANDED, "the end is about to be written", now,
         attempt.number)  # fmt: skip
    return ""


def settle(
    session: Session, attempt: Attempt, new: State, reason: str, now: datetime, **changes: object
) -> bool:
    """End an attempt; False when the mail was taken from it meanwhile."""
    old = (*UNDER_WAY, State.UNCERTAIN)
    done = _update(session, _claimed(attempt), old, state=new, reason=reason, changed=now,
                   **changes)  # fmt: skip
    if done:
        note(session, attempt.letter, new, reason, now, attempt.number)
        if new in RELEASED:
            _uncount(session, attempt.letter)
    return done


def uncount(session: Session, key: int, recipients: Iterable[str]) -> None:
    """Forget recipients who did not get the mail after all."""
    for one in recipients:
        _uncount(session, key, one.lower())


def take_back(
    session: Session, before: datetime, now: datetime, claim: str | None = None
) -> tuple[int, ...]:
    """Take back what no living sender has touched since ``before``; return the numbers.

    With ``claim`` what that attempt left, whenever it was touched.
    """
    found: list[int] = []
    for old, new, reason in (
        (State.RESERVED, State.WAITING, "the attempt before was broken off"),
        (State.HANDED, State.UNCERTAIN, "the sender died before the server's answer came"),
    ):
        # what was touched in the future was touched by a clock that was ahead
        quiet = or_(OutboxRow.changed <= before, OutboxRow.changed > now + AHEAD)
        which = quiet if claim is None else OutboxRow.claim == claim
        stuck = (OutboxRow.state == old) & which
        # a sender that is alive after all may still settle what is uncertain
        changes = {"claim": None} if new is State.WAITING else {}
        keys = session.scalars(select(OutboxRow.id).where(stuck).order_by(OutboxRow.id)).all()
        found += [key for key in keys if move(session, key, [old], new, reason, now, **changes)]
    return tuple(found)


def counted(session: Session, recipient: str, since: datetime, but: int) -> tuple[datetime, ...]:
    """Return when mails other than ``but`` went to a recipient after ``since``, in order."""
    rows = select(SentRow.at).where(
        SentRow.recipient == recipient.lower(), SentRow.at > since, SentRow.outbox != but
    )
    return tuple(session.scalars(rows.order_by(SentRow.at)))


def in_thread(session: Session, thread: str, states: Collection[State], but: int = 0) -> int:
    """Count the mails of a thread in these states, without ``but``."""
    rows = select(func.count()).where(
        OutboxRow.thread == thread, OutboxRow.state.in_(sorted(states)), OutboxRow.id != but
    )
    return session.scalars(rows).one()


def replied(session: Session, series: str) -> bool:
    """Whether a reply about a series left, or may have."""
    there = select(OutboxRow.id).where(
        OutboxRow.series == series, OutboxRow.kind == "reply", OutboxRow.state.in_(GONE)
    )
    return session.scalar(there.limit(1)) is not None


def trace(session: Session, key: int) -> tuple[Step, ...]:
    """Return what became of a mail, in order."""
    rows = select(DeliveryRow).where(DeliveryRow.outbox == key).order_by(DeliveryRow.id)
    return tuple(Step(r.attempt, r.at, r.stage, r.said) for r in session.scalars(rows))


def note(
    session: Session, key: int, stage: str, said: str, now: datetime, attempt: int = 0
) -> None:
    """Add a line to a mail's trace."""
    session.add(
        DeliveryRow(outbox=key, attempt=attempt, at=now, stage=str(stage), said=said[:SAID])
    )


def doubt(session: Session, message_id: str, parent: str) -> tuple[State, str] | None:
    """Return what a new mail is instead of waiting, and why; None: it can be sent.

    After a restore, what was taken in, run and answered since the backup is taken in once more.
    An answer to a mail from before the restore may have been sent, and was if it came back.
    """
    restored = session.get(SwitchRow, RESTORED)
    if restored is None or restored.stopped is None:
        return None
    rows = select(MailRow.message_id, MailRow.written)
    found = session.execute(rows.where(MailRow.message_id.in_((message_id, parent))))
    there = dict(found.all())
    if there.get(message_id, restored.stopped) < restored.stopped:
        return State.SENT, f"seen in an archive ({restored.reason})"
    if there.get(parent, restored.stopped) > restored.stopped:
        return None
    return State.HELD, f"{restored.reason}: it may have been sent before"


def stopped(session: Session) -> str:
    """Return why nothing is sent, or ``""``; on PostgreSQL the switch stays locked until commit.

    Since each reservation and each handing over reads the switch first, they come one after
    another, and caps hold for several senders. SQLite has one writer at a time anyway.
    """
    row = session.scalars(
        select(SwitchRow).where(SwitchRow.name == SWITCH).with_for_update(),
        execution_options={"populate_existing": True},
    ).one()
    return f"sending is stopped: {row.reason}" if row.stopped else ""


def turn(session: Session, stop_at: datetime | None, reason: str) -> None:
    """Turn the stop switch; None lets mail go again."""
    session.execute(
        update(SwitchRow).where(SwitchRow.name == SWITCH).values(stopped=stop_at, reason=reason)
    )


def _claimed(attempt: Attempt) -> ColumnElement[bool]:
    return (OutboxRow.id == attempt.letter) & (OutboxRow.claim == attempt.claim)


def _update(
    session: Session, which: ColumnElement[bool], old: Collection[State], **values: object
) -> bool:
    """Change the rows that are meant and in one of these states; return whether there are any."""
    changed = session.execute(
        update(OutboxRow)
        .where(which, OutboxRow.state.in_(sorted(old)))
        .values(**values)
        .returning(OutboxRow.id),
        execution_options={"synchronize_session": False},
    )
    return bool(changed.all())


def _uncount(session: Session, key: int, recipient: str | None = None) -> None:
    rows = delete(SentRow).where(SentRow.outbox == key)
    session.execute(rows if recipient is None else rows.where(SentRow.recipient == recipient))


def _select(session: Session, which: ColumnElement[bool]) -> tuple[Letter, ...]:
    rows = select(OutboxRow).options(defer(OutboxRow.mail)).where(which).order_by(OutboxRow.id)
    found = session.scalars(rows, execution_options={"populate_existing": True})
    return tuple(_letter(row) for row in found)


def _letter(row: OutboxRow) -> Letter:
    values = {one.name: getattr(row, one.name) for one in fields(Letter)}
    values |= {"recipients": tuple(row.recipients), "state": State(row.state)}
    return Letter(**values)
