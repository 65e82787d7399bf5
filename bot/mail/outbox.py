"""The outbox: what may be sent, when, and what became of it. At most once, never without a trace.

An attempt is reserved and committed before the server is called; "handed" is committed before
the end of the mail is written. Whatever breaks, the row says how far it was: what was not handed
is tried again, what was handed and not answered never is, by itself.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Protocol

from bot.errors import OursError, TheirsError
from bot.mail import outrules, wire
from bot.mail.headers import printable
from bot.mail.outrules import DAY, Mode, Removed, Rules
from bot.mail.smtp import Answer, Envelope, Result, Watch
from bot.store import outbox as rows
from bot.store.database import Store
from bot.store.outbox import Attempt, Letter, Session, State, Step

LEASE = timedelta(minutes=15)  # longer than any stage of a dialogue: smtp.Timeouts


class OutboxError(TheirsError):
    """A mail that is not there, or not in a state for what is asked."""


@dataclass(frozen=True)
class Place:
    """What a mail belongs to; ``not_before`` replaces the embargo, and may be now."""

    thread: str  # Message-ID of its first mail
    series: str | None = None  # lead of the series
    kind: str = "reply"  # or "private"
    not_before: datetime | None = None


class Talk(Protocol):
    """A connection for one mail; smtp.Dialogue is one."""

    def deliver(self, envelope: Envelope, watch: Watch) -> Result:
        """Hand one mail over; raises only what ``watch`` raises."""


Dial = Callable[[], AbstractContextManager[Talk]]


class HaltedError(Exception):
    """An attempt must not go on; nothing was handed over."""


class Outbox:
    """Mail on its way out; ``dial`` is needed to send, not to look."""

    def __init__(self, store: Store, rules: Rules, dial: Dial | None = None) -> None:
        self._store, self._rules, self._dial = store, rules, dial
        # what the store did not hear of: attempts by their claim, with how they ended if they did
        self._open: dict[str, tuple[Attempt, Envelope, Result] | None] = {}

    @property
    def is_dry(self) -> bool:
        """Whether nothing is ever sent."""
        return self._rules.mode is Mode.DRY_RUN

    def put(self, mail: EmailMessage, place: Place, now: datetime) -> Letter:
        """Take a mail; the same Message-ID a second time changes nothing.

        Raises wire.BadMailError when it cannot be sent as it is.
        """
        raw, sender = wire.wire(mail), _sender(mail)
        kept, removed = outrules.audience(self._rules, wire.recipients(mail), sender)
        if removed:
            raw = wire.readdressed(raw, frozenset(one.lower() for one in kept))
        due = place.not_before or now + self._rules.embargo
        with self._store.session() as session:
            state, reason = self._begin(session, place, kept, removed)
            if state is State.WAITING:
                state, reason = rows.doubt(session, _message_id(mail), _parent(mail)) or (state, "")
            letter = Letter(
                message_id=_message_id(mail), thread=place.thread, sender=sender,
                recipients=kept, subject=printable(str(mail["Subject"] or "")), state=state,
                reason=reason, due=max(due, now), created=now, changed=now, kind=place.kind,
                series=place.series,
            )  # fmt: skip
            letter, new = rows.put(session, letter, raw)
            if new:
                _note_removed(session, letter.id, removed, now)
        return letter

    def deliver_due(self, now: datetime) -> tuple[Letter, ...]:
        """Send what is due, each mail once; return what was tried or decided, as it is now.

        Ends early when sending is stopped, or the server takes nothing. Raises OursError
        without a server.
        """
        self._catch_up(now)
        self.recover(now)
        if self.is_dry:
            return ()
        if self._dial is None:
            raise OursError("there is no server to send mail with: set smtp_host")
        with self._store.session() as session:
            keys = () if rows.stopped(session) else rows.due(session, now)
        found, clock = [], _clock(now)
        for key in keys:
            if self.stopped():
                break
            go_on = self._deliver(self._dial, key, clock)
            found.append(self.get(key))
            if not go_on:
                break
        return tuple(found)

    def _catch_up(self, now: datetime) -> None:
        """Note what came of attempts while the store was away."""
        for claim, ended in list(self._open.items()):
            if ended is not None:
                self._settle(*ended, now)
            else:
                with self._store.session() as session:
                    rows.take_back(session, now, now, claim)
            del self._open[claim]

    def recover(self, now: datetime, untouched: timedelta = LEASE) -> tuple[int, ...]:
        """Take back what a dead sender left; return the numbers.

        What was not handed over waits again, what was is uncertain. Where nobody else sends,
        ``untouched`` may be 0; a living sender that loses a mail so gives up before the end.
        """
        with self._store.session() as session:
            return rows.take_back(session, now - untouched, now)

    def confirm(self, message_id: str, now: datetime) -> bool:
        """Learn that a mail of ours was seen in an archive: it was sent, whatever we thought.

        Only a mail that was tried before: Message-IDs can be guessed, and whoever writes
        ours first must not silence us.
        """
        with self._store.session() as session:
            letter = rows.by_message_id(session, message_id.strip().strip("<>"))
            if letter is None or letter.state is State.SENT:
                return letter is not None
            under_way = letter.state is State.RESERVED  # its attempt cannot be what was seen
            if letter.attempts <= int(under_way):
                return False
            reason = "seen in an archive"
            return rows.move(session, letter.id, [letter.state], State.SENT, reason, now)

    def approve(self, key: int, by: str, now: datetime, *, again: bool = False) -> Letter:
        """Let a mail go; ``again``: also one that failed, or that may have arrived.

        Raises OutboxError.
        """
        letter = self.get(key)
        allowed = (State.HELD, State.WAITING, *(_AGAIN if again else ()))
        if letter.state not in allowed:
            hint = ": see its trace, then say --again" if letter.state in _AGAIN else ""
            raise OutboxError(f"mail {key} cannot be approved, it is {letter.state}{hint}")
        due = now if letter.state in _AGAIN else letter.due
        changes = {"approved": now, "tried": None, "claim": None, "due": due}
        return self._moved(letter, State.WAITING, f"approved by {by}", now, **changes)

    def drop(self, key: int, by: str, now: datetime) -> Letter:
        """Never send a mail, nor try again; raises OutboxError."""
        letter = self.get(key)
        if letter.state not in {State.HELD, State.WAITING, *_AGAIN}:
            raise OutboxError(f"mail {key} cannot be dropped, it is {letter.state}")
        late = ", it may have been sent" if letter.state is State.UNCERTAIN else ""
        return self._moved(letter, State.DROPPED, f"dropped by {by}{late}", now)

    def stop(self, by: str, now: datetime) -> None:
        """Stop all senders of this store: once this returns, no mail is handed over any more."""
        with self._store.session() as session:
            rows.turn(session, now, f"by {by} at {now:%Y-%m-%d %H:%M} UTC")

    def go(self) -> None:
        """Let mail go again."""
        with self._store.session() as session:
            rows.turn(session, None, "")

    def stopped(self) -> str:
        """Return why nothing is sent, or ``""``."""
        with self._store.session() as session:
            return rows.stopped(session)

    def listed(self, states: Collection[State] = rows.OPEN) -> tuple[Letter, ...]:
        """Return the mails in these states, by default all that are not over."""
        with self._store.session() as session:
            return rows.listed(session, states)

    def get(self, key: int) -> Letter:
        """Return one mail; raises OutboxError when there is none of that number."""
        with self._store.session() as session:
            letter = rows.get(session, key)
        if letter is None:
            raise OutboxError(f"there is no mail {key}: see `stackhog outbox list --all`")
        return letter

    def show(self, key: int) -> tuple[Letter, bytes, tuple[Step, ...]]:
        """Return one mail, its text as it is sent, and its trace; raises OutboxError."""
        letter = self.get(key)
        with self._store.session() as session:
            return letter, rows.raw(session, key), rows.trace(session, key)

    def _moved(
        self, letter: Letter, new: State, reason: str, now: datetime, **changes: object
    ) -> Letter:
        with self._store.session() as session:
            done = rows.move(session, letter.id, [letter.state], new, reason, now, **changes)
        if not done:
            raise OutboxError(f"mail {letter.id} has changed meanwhile: look again")
        return self.get(letter.id)

    def _begin(
        self, session: Session, place: Place, kept: Iterable[str], removed: Removed
    ) -> tuple[State, str]:
        """Return in which state a new mail begins, and why."""
        there = rows.in_thread(session, place.thread, (*rows.OPEN, State.SENT))
        why = outrules.unwanted(self._rules, kept, removed, there)
        if why:
            return State.DROPPED, why
        match self._rules.mode:
            case Mode.SEND:
                return State.WAITING, ""
            case Mode.MODERATE:
                return State.HELD, "waits for approval"
            case Mode.DRY_RUN:
                return State.HELD, "dry-run: nothing is sent"

    def _deliver(self, dial: Dial, key: int, clock: Callable[[], datetime]) -> bool:
        """Send one mail that is due; return whether others may follow."""
        claim = secrets.token_hex(16)
        try:
            return self._attempt(dial, key, claim, clock)
        except BaseException:
            self._open.setdefault(claim, None)  # the store may have it as begun
            raise

    def _attempt(self, dial: Dial, key: int, claim: str, clock: Callable[[], datetime]) -> bool:
        with self._store.session() as session:
            if rows.stopped(session):
                return False
            letter = rows.get(session, key)
            attempt = self._reserve(session, letter, claim, clock()) if letter else None
            letter = rows.get(session, key)
            mail = rows.raw(session, key)
        return not (attempt and letter) or self._try(dial, attempt, letter, mail, clock)

    def _try(
        self,
        dial: Dial,
        attempt: Attempt,
        letter: Letter,
        mail: bytes,
        clock: Callable[[], datetime],
    ) -> bool:
        """Make an attempt; return whether others may follow."""
        last = (
            clock() + outrules.pause(attempt.number)
            > (letter.tried or clock()) + self._rules.patience
        )
        envelope = Envelope(letter.sender, letter.recipients, mail, last)
        try:
            with dial() as talk:
                result = talk.deliver(envelope, _Committing(self._store, attempt, clock))
                try:
                    self._settle(attempt, envelope, result, clock())
                except BaseException:
                    self._open[attempt.claim] = attempt, envelope, result
                    raise
        except HaltedError as why:
            self._halt(attempt, letter, str(why), clock())
            return not self.stopped()
        return not result.session

    def _reserve(
        self, session: Session, letter: Letter, claim: str, now: datetime
    ) -> Attempt | None:
        """Begin an attempt, unless the mail must be held, dropped or put off."""
        if letter.state is not State.WAITING or not letter.is_due(now):
            return None
        if self._rules.mode is Mode.MODERATE and letter.approved is None:
            self._shift(session, letter, State.HELD, "waits for approval", now)
            return None
        kept, removed = outrules.audience(self._rules, letter.recipients, letter.sender)
        _note_removed(session, letter.id, removed, now)
        there = rows.in_thread(session, letter.thread, rows.GONE, but=letter.id)
        why = outrules.unwanted(self._rules, kept, removed, there)
        if why:
            self._shift(session, letter, State.DROPPED, why, now)
            return None
        if removed:
            mail = wire.readdressed(rows.raw(session, letter.id), frozenset(map(str.lower, kept)))
            rows.readdress(session, letter.id, kept, mail)
        got = [(one, rows.counted(session, one, now - DAY, letter.id)) for one in kept]
        full = outrules.capped(self._rules, got)
        if full:
            self._shift(session, letter, State.WAITING, full[1], now, due=full[0])
            return None
        return rows.reserve(session, replace(letter, recipients=kept), claim, now)

    def _shift(
        self, session: Session, letter: Letter, new: State, reason: str, now: datetime,
        **changes: object,
    ) -> None:  # fmt: skip
        rows.move(session, letter.id, [State.WAITING], new, reason, now, **changes)

    def _settle(self, attempt: Attempt, envelope: Envelope, result: Result, now: datetime) -> None:
        changes: dict[str, object] = {}
        reason = f"{result.stage}: {result.said}"
        match result.answer:
            case Answer.ACCEPTED:
                missed = f"; not to {', '.join(result.refused)}" if result.refused else ""
                state, reason = State.SENT, result.said + missed
            case Answer.PERMANENT:
                state = State.FAILED
            case Answer.UNCERTAIN:
                state = State.UNCERTAIN
            case Answer.TEMPORARY if envelope.last:
                state, reason = State.FAILED, f"given up, attempt {attempt.number}: {reason}"
            case Answer.TEMPORARY:
                state, changes = State.WAITING, {"due": now + outrules.pause(attempt.number)}
        with self._store.session() as session:
            done = rows.settle(session, attempt, state, reason, now, **changes)
            if done and state is State.SENT:
                rows.uncount(session, attempt.letter, result.refused)

    def _halt(self, attempt: Attempt, letter: Letter, why: str, now: datetime) -> None:
        """Let go of a mail as if it had not been tried."""
        tried = letter.tried if attempt.number > 1 else None
        with self._store.session() as session:
            rows.settle(session, attempt, State.WAITING, why, now, claim=None, tried=tried)


class _Committing:
    """Commits each stage of a dialogue, and says when it must not go on."""

    def __init__(self, store: Store, attempt: Attempt, clock: Callable[[], datetime]) -> None:
        self._store, self._attempt, self._clock = store, attempt, clock

    def stage(self, stage: str, said: str) -> None:
        with self._store.session() as session:
            why = rows.proceed(session, self._attempt, stage, said, self._clock())
        _halt_if(why)

    def look(self) -> None:
        with self._store.session() as session:
            why = rows.halted(session, self._attempt, self._clock())
        _halt_if(why)

    def hand_over(self) -> None:
        with self._store.session() as session:
            why = rows.hand_over(session, self._attempt, self._clock())
        _halt_if(why)


_AGAIN = (State.FAILED, State.UNCERTAIN)


def _halt_if(why: str) -> None:
    """Raise outside of the session: what it noted stays."""
    if why:
        raise HaltedError(why)


def _clock(now: datetime) -> Callable[[], datetime]:
    """Return what tells the time from ``now`` on."""
    start = time.monotonic()
    return lambda: now + timedelta(seconds=time.monotonic() - start)


def _note_removed(session: Session, key: int, removed: Removed, now: datetime) -> None:
    for one, why in removed:
        rows.note(session, key, "recipient", f"{one} gets nothing: {why}", now)


def _message_id(mail: EmailMessage) -> str:
    found = str(mail["Message-ID"] or "").strip().strip("<>")
    if not found or not found.isascii() or not found.isprintable() or "@" not in found:
        raise wire.BadMailError("a mail of ours has no Message-ID that would make it the same mail")
    return found


def _parent(mail: EmailMessage) -> str:
    """Return the Message-ID that a mail answers."""
    return str(mail["In-Reply-To"] or "").strip().strip("<>")


def _sender(mail: EmailMessage) -> str:
    found = [one.addr_spec for value in mail.get_all("From", []) for one in value.addresses]
    if len(found) != 1 or not wire.valid(found[0]):
        raise wire.BadMailError(
            f"From is {', '.join(found) or 'empty'}: set address to one address"
        )
    return str(found[0])
