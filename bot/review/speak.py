"""Whether a series is answered, and who gets the answer: pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from bot.mail.headers import Address
from bot.mail.series import Series
from policies.lists import Lists, Speak
from policies.schema import ReplyGate

STRICTER = {"none": 0, "maintainers": 1, "lists": 2, "all": 3}


@dataclass(frozen=True)
class Audience:
    """Whether something is said, why in one line, to whom, and when at the earliest."""

    speaks: bool
    reason: str
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    embargo: timedelta = timedelta()


@dataclass(frozen=True)
class Occasion:
    """What there would be to say, and who wanted to hear it."""

    found: bool  # there are findings that are not muted
    asker: Address | None  # who asked with /test
    maintainers: tuple[Address, ...]  # of the touched files
    own: tuple[str, ...]  # addresses of the bot


def audience(series: Series, occasion: Occasion, policy: Lists, gate: ReplyGate) -> Audience:
    """Decide who hears of a series, the strictest rule of its lists first.

    Whoever asked is always answered, in the thread; a list that must never hear of it is left
    out of that. ``gate`` knows a list by its host.
    """
    everybody = _sent_to(series)
    lists = [one for one in everybody if gate.is_list(one.email)]
    rules = [policy.rule(one.email) for one in lists] or [policy.default]
    strictest = min(rules, key=lambda rule: rule.speak)
    wanted, reason = _wanted(series, occasion, strictest.speak, policy)
    if not wanted:
        return Audience(speaks=False, reason=reason)
    to = _kept([occasion.asker or series.submitter], occasion, policy)
    cc = _carbon(series, occasion, policy, gate)
    if not to:
        to, cc = cc[:1], cc[1:]
    if not to:
        return Audience(speaks=False, reason="nobody is left whom it may be sent to")
    hours = 0 if occasion.asker else max(rule.embargo_hours for rule in rules)
    return Audience(speaks=True, reason=reason, to=to, cc=cc, embargo=timedelta(hours=hours))


def _wanted(series: Series, occasion: Occasion, speak: Speak, policy: Lists) -> tuple[bool, str]:
    if occasion.asker:
        return True, f"{occasion.asker.email} asked for it"
    if speak is Speak.NEVER:
        return False, "a list of the series must not hear of it"
    opted_in = policy.people.is_in(series.submitter.email)
    if opted_in or speak is Speak.ALWAYS:
        return (
            True,
            f"{'its author wants' if opted_in else 'its lists want'} to hear of each series",
        )
    if speak is Speak.FINDINGS:
        said = "there are findings, of which its lists want to hear"
        return occasion.found, said if occasion.found else "there are no findings"
    return False, "nobody asked for it"


def _sent_to(series: Series) -> list[Address]:
    """Return everybody a series was sent to, each once, in order."""
    mails = [series.lead, *(patch.message for patch in series.patches)]
    found = {one.email.lower(): one for mail in reversed(mails) for one in (*mail.cc, *mail.to)}
    order = dict.fromkeys(one.email.lower() for mail in mails for one in (*mail.to, *mail.cc))
    return [found[email] for email in order]


def _carbon(
    series: Series, occasion: Occasion, policy: Lists, gate: ReplyGate
) -> tuple[Address, ...]:
    """Return who gets a copy: the author, and of the others those whom the policy names."""
    sent_to = _sent_to(series)
    lists = [one for one in sent_to if gate.is_list(one.email)]
    rules = [policy.rule(one.email) for one in lists] or [policy.default]
    cc = min((rule.cc for rule in rules), key=STRICTER.__getitem__)
    open_to = [
        one for one in lists
        if (rule := policy.rule(one.email)).cc != "none" and rule.speak is not Speak.NEVER
    ]  # fmt: skip
    found: list[Address] = [series.submitter]
    if occasion.asker or STRICTER[cc] >= STRICTER["lists"]:
        found += open_to
    if STRICTER[cc] >= STRICTER["all"]:
        found += [one for one in sent_to if one not in lists]
    if cc in {"maintainers", "all"}:
        found += occasion.maintainers
    to = (occasion.asker or series.submitter).email.lower()
    return tuple(one for one in _kept(found, occasion, policy) if one.email.lower() != to)


def _kept(
    found: Iterable[Address | None], occasion: Occasion, policy: Lists
) -> tuple[Address, ...]:
    """Leave out ourselves, robots, and who asked not to get mail; each address once."""
    own = {one.lower() for one in occasion.own}
    kept: dict[str, Address] = {}
    for one in found:
        if one and one.email.lower() not in own and not policy.people.is_silent(one.email):
            kept.setdefault(one.email.lower(), one)
    return tuple(kept.values())
