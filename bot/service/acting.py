"""What a person may have done about a series, by mail or on the page: written down, then done."""

from __future__ import annotations

from datetime import datetime

from bot.contract import Finding
from bot.mail.outbox import Outbox
from bot.mail.outrules import Rules
from bot.review import fingerprint
from bot.service import reports
from bot.store import mutes, wishes
from bot.store import series as kept
from bot.store.database import Store
from bot.store.mutes import Muted
from bot.store.wishes import Asked

PAGE = "page.invalid"  # of the ids of what was asked for on the page: RFC 2606, 2


def act(session: wishes.Session, asked: Asked, by: str, number: int, now: datetime) -> str:
    """Do what was asked for, written down as ``number``; return what was done, in one line."""
    lead, args = asked.series or "", asked.args
    match asked.verb:
        case "test":
            wanted = {key: value for key, value in args.items() if key != "message_id"}
            wishes.want(session, lead, wanted, number, now)
            outcome = "a run is wanted"
        case "cancel":
            count = wishes.cancel(session, lead, f"cancelled by {asked.sender}", now)
            outcome = f"{count} runs were cancelled"
        case "mute":
            outcome = _mute(session, asked, by, now)
        case _:
            outcome = _unmute(session, lead, str(args.get("finding") or ""), now)
    wishes.note(session, number, outcome)
    return outcome


def ask(store: Store, asked: Asked, now: datetime) -> str:
    """Write down what somebody who signed in asks for, and do it; return what was done."""
    with store.session() as session:
        number = wishes.audit(session, asked, "", now)
        if number is None or kept.get(session, asked.series or "") is None:
            return "not done: there is no such series"
        return act(session, asked, asked.sender, number, now)


def post(store: Store, letter: int, verb: str, by: str, now: datetime) -> str:
    """Approve or drop a mail; return what was done. Raises OutboxError."""
    box = Outbox(store, Rules())
    done = box.approve(letter, by, now) if verb == "approve" else box.drop(letter, by, now)
    return f"mail {letter}: {done.reason}"


def _findings(session: wishes.Session, lead: str) -> tuple[Finding, ...]:
    """Return the findings of a series and of its other versions, of which people read."""
    texts = (wishes.latest(session, one) for one in kept.lineage(session, lead))
    return tuple(one for text in texts if text for one in reports.read(text).findings)


def _mute(session: wishes.Session, asked: Asked, by: str, now: datetime) -> str:
    lead, name = asked.series or "", str(asked.args.get("finding") or "")
    found = _findings(session, lead)
    mark = fingerprint.find(name, found)
    if mark is None:
        return f"not done: {fingerprint.problem(name, found)}"
    reason = str(asked.args.get("reason") or "")
    mutes.add(session, lead, Muted(mark, reason, by, asked.message_id), now)
    return f"finding {name} is muted"


def _unmute(session: wishes.Session, lead: str, given: str, now: datetime) -> str:
    name, lineage = given.lower(), kept.lineage(session, lead)
    marks = {
        one.fingerprint for one in mutes.of(session, lineage)
        if len(name) >= fingerprint.SHORT and one.fingerprint.startswith(name)
    }  # fmt: skip
    if len(marks) != 1:
        return f"not done: no finding {name} is muted for this series"
    mutes.lift(session, lineage, marks.pop(), now)
    return f"finding {name} is no longer muted"
