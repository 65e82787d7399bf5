"""Who asked for a run by mail, and what they are told when it cannot be made."""

from __future__ import annotations

from datetime import datetime

from bot.contract import TheirsError
from bot.mail import message
from bot.mail.headers import Address
from bot.mail.message import Message
from bot.mail.outbox import Outbox, Place
from bot.service import letters
from bot.store import mails, parts, wishes
from bot.store.database import Store
from bot.store.wishes import Wanted, Wish


def asked(store: Store, wanted: Wanted) -> tuple[Message, Address] | None:
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


def refuse(
    store: Store, outbox: Outbox, address: str, wanted: Wanted, error: TheirsError, now: datetime
) -> str:  # fmt: skip
    """End a run that cannot be made for a reason that is theirs; return the reason."""
    there = asked(store, wanted)
    if there:
        mail, asker = there
        letter = letters.failure(mail, asker, str(error), address, now)
        thread = next(iter(mail.references), mail.message_id)
        place = Place(thread=thread, series=wanted.series, kind="private", not_before=now)
        outbox.put(letter, place, now)
    with store.session() as session:
        if wishes.end(session, wanted.id, Wish.REFUSED, str(error), now):
            parts.count(session, "runs", "refused")
    return str(error)
