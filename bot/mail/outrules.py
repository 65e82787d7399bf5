"""What holds for every mail that leaves, as pure functions: who gets it, how many, how often."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bot.mail import wire
from bot.mail.headers import printable

DAY = timedelta(days=1)  # that caps look back, rolling
FIRST, LONGEST = timedelta(minutes=5), timedelta(hours=8)  # between two attempts, doubled

Removed = tuple[tuple[str, str], ...]  # address and why it gets nothing


class Mode(StrEnum):
    """What happens to mail by itself."""

    DRY_RUN = "dry-run"  # nothing is ever sent
    MODERATE = "moderate"  # what a person approved
    SEND = "send"


def _nobody(_: str) -> None:
    return None


@dataclass(frozen=True)
class Rules:
    """What holds for every mail; caps are mails in 24 hours, at least 1."""

    mode: Mode = Mode.DRY_RUN
    own: tuple[str, ...] = ()  # our addresses
    list_cap: int = 20
    person_cap: int = 10
    thread_limit: int = 5
    embargo: timedelta = timedelta(0)
    patience: timedelta = timedelta(days=4)  # from the first attempt: RFC 5321, 4.5.4.1
    is_list: Callable[[str], object] = _nobody
    ignored: Callable[[str], str | None] = _nobody  # why an address hears nothing from us
    own_cap: Callable[[str], int | None] = _nobody  # of a list that has one of its own

    def cap(self, recipient: str) -> int:
        """Return how many mails a recipient may get in 24 hours."""
        cap = self.list_cap if self.is_list(recipient) else self.person_cap
        return min(cap, self.own_cap(recipient) or cap)


def audience(
    rules: Rules, recipients: Iterable[str], sender: str
) -> tuple[tuple[str, ...], Removed]:
    """Return who gets a mail, sorted, and who does not, each with the reason."""
    own = {one.lower() for one in (*rules.own, sender)}
    kept: dict[str, str] = {}
    removed = []
    for one in recipients:
        if not wire.valid(one):
            removed.append((printable(one), "no address that mail can be sent to"))
        elif one.lower() in own:
            removed.append((one, "our own address"))
        elif why := rules.ignored(one):
            removed.append((one, why))
        else:
            kept.setdefault(one.lower(), one)
    return tuple(kept[key] for key in sorted(kept)), tuple(removed)


def unwanted(rules: Rules, kept: Iterable[str], removed: Removed, in_thread: int) -> str:
    """Return why a mail is not to be sent at all, or ``""``."""
    if not kept:
        why = "; ".join(f"{one}: {reason}" for one, reason in removed)
        return f"nobody is left to send it to: {why or 'it names no recipient'}"
    if in_thread >= rules.thread_limit:
        return (
            f"{in_thread} mails of ours are in this thread already, "
            f"the limit is {rules.thread_limit}"
        )
    return ""


def capped(
    rules: Rules, got: Iterable[tuple[str, tuple[datetime, ...]]]
) -> tuple[datetime, str] | None:
    """Return until when a cap keeps a mail back and why, from when its recipients got others."""
    found = []
    for recipient, times in got:
        cap = rules.cap(recipient)
        if len(times) >= cap:
            reason = f"{recipient} got {len(times)} mails in 24 hours, the cap is {cap}"
            found.append((sorted(times)[len(times) - cap] + DAY, reason))
    return max(found, default=None)


def pause(attempt: int) -> timedelta:
    """Return how long to wait after an attempt: 5 min, 10 min, … 8 h."""
    longest: timedelta = min(FIRST * 2 ** min(attempt - 1, 20), LONGEST)
    return longest
