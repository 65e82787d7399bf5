"""command → wish: what people ask for by mail, judged, written down, and done."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.mail import commands, message, robots, signed
from bot.mail.commands import Command
from bot.mail.message import Message
from bot.mail.outbox import Outbox, Place
from bot.mail.series import Series
from bot.mail.signed import Resolve, Seen, Signed, Unsigned
from bot.review import allow
from bot.review.allow import Answer, Facts, Judged, Names
from bot.review.maintainers import Maintainers
from bot.service import acting, intake, letters
from bot.store import mails, wishes
from bot.store import series as kept
from bot.store.database import Store
from bot.store.wishes import Asked

ANCESTORS = 50  # mails of a thread that are asked for their series, the nearest first


@dataclass(frozen=True)
class Ears:
    """What a command is judged by."""

    own: tuple[str, ...]  # our addresses
    sender: str  # From of our mail
    resolve: Resolve
    maintainers: Callable[[], tuple[Maintainers | None, str]]  # of the tree, or why there is none
    names: Names
    operators: Collection[str] = ()
    robots: Collection[str] = robots.KNOWN
    max_age: timedelta = signed.MAX_AGE


@dataclass(frozen=True)
class Heard:
    """A command, the series that it means, and how it was judged."""

    command: Command
    series: Series | None
    judged: Judged


def hear_all(store: Store, ears: Ears, outbox: Outbox, now: datetime) -> tuple[Heard, ...]:
    """Judge the commands of all mails that came in, and do what is allowed.

    What is refused is answered at most once, in private. Where it cannot be told yet whether
    the sender's domain vouches for a mail, the mail is judged again the next time.
    """
    with store.session() as session:
        raws = mails.unheard(session)
    return tuple(one for raw in raws for one in _hear(store, raw, ears, outbox, now))


def _hear(store: Store, raw: bytes, ears: Ears, outbox: Outbox, now: datetime) -> tuple[Heard, ...]:
    mail = message.parse(raw)
    robot = robots.robot(raw, ears.robots, ears.own)
    signature: Signed | Unsigned = Unsigned("it was not looked at")
    if robot is None:
        signature = signed.check(raw, ears.resolve, now, ears.max_age)
    found = commands.find(raw, ears.own)
    heard = tuple(_judged(store, one, mail, ears, signature, robot) for one in found)
    if any(one.judged.again for one in heard):
        return heard
    refused = []
    for one in heard:
        outcome = _do(store, one, signature, now)
        if one.judged.answer is Answer.PRIVATE or outcome.startswith("not done"):
            refused.append((one.command, outcome if one.judged.allowed else one.judged.reason))
    if refused:
        letter = letters.refusal(mail, refused, ears.sender, now)
        thread = next(iter(mail.references), mail.message_id)
        outbox.put(letter, Place(thread=thread, kind="private", not_before=now), now)
    with store.session() as session:
        mails.heard(session, mail.message_id)
    return heard


def _judged(
    store: Store,
    command: Command,
    mail: Message,
    ears: Ears,
    signature: Signed | Unsigned,
    robot: str | None,
) -> Heard:
    series = _meant(store, command, mail)
    owners, why_none = ears.maintainers()
    facts = Facts(
        signature, series, robot, _replayed(store, mail, signature), owners, why_none,
        ears.operators,
    )  # fmt: skip
    return Heard(command, series, allow.judge(allow.checked(command, ears.names), facts))


def _replayed(store: Store, mail: Message, signature: Signed | Unsigned) -> str | None:
    if isinstance(signature, Unsigned):
        return None
    with store.session() as session:
        before = wishes.signed_before(session, signature.fingerprint)
    seen = {signature.fingerprint: Seen(*before)} if before else {}
    return signed.replayed(signature, mail.message_id, seen)


def _meant(store: Store, command: Command, mail: Message) -> Series | None:
    """Return the series of the nearest mail above that belongs to one, or of the mail named."""
    named = command.get("message_id")
    steps = [named] if named else [mail.message_id, *reversed(mail.references[-ANCESTORS:])]
    for step in steps:
        with store.session() as session:
            leads = kept.having(session, step)
        if leads:
            return intake.load(store, leads[0])
    return None


def _do(store: Store, heard: Heard, signature: Signed | Unsigned, now: datetime) -> str:
    """Write a command down and do it; return what was done, in one line."""
    command, series, judged = heard.command, heard.series, heard.judged
    proven = signature if isinstance(signature, Signed) else None
    args = commands.arguments_json(command)
    asked = Asked(
        message_id=command.message_id, line=command.line, sender=command.sender.email.lower(),
        verb=command.verb, args=args, series=series.id if series else None,
        allowed=judged.allowed, reason=judged.reason,
        signature=proven.fingerprint if proven else None, form=proven.form if proven else "",
    )  # fmt: skip
    act = judged.allowed and series is not None and command.verb != "help"
    with store.session() as session:
        number = wishes.audit(session, asked, "", now)
        if number is None or not act or series is None:
            return ""
        return acting.act(session, asked, str(command.sender), number, now)
