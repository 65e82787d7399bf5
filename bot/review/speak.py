"""Whether a series is answered, and who gets the answer: pure.

docs/decisions/0020-when-to-speak.md says why it is so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from bot.mail.commit import commit
from bot.mail.headers import Address
from bot.mail.series import Series
from policies.lists import STRICTEST_CC, Lists, Speak, strictest
from policies.schema import ReplyGate


@dataclass(frozen=True)
class Audience:
    """Whether something is said, why in one line, to whom, and when at the earliest."""

    speaks: bool
    reason: str
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    embargo: timedelta = timedelta()
    cap: int | None = None  # mails in 24 hours that the lists among these take; None: no rule says


@dataclass(frozen=True)
class Occasion:
    """What there would be to say, and who wanted to hear it."""

    found: bool  # there are findings that are not muted
    asker: Address | None  # who asked with /test
    maintainers: tuple[Address, ...]  # of the touched files
    own: tuple[str, ...]  # addresses of the bot
    tested: bool = True  # at least one patch was built; else no list hears of it


def audience(series: Series, occasion: Occasion, policy: Lists, gate: ReplyGate) -> Audience:
    """Decide who hears of a series, the strictest rule of its lists first.

    Whoever asked is always answered, in the thread; a list that must never hear of it is left
    out of that. ``gate`` knows a list by its host.
    """
    return _Case(series, occasion, policy, gate).decided()


class _Case:
    """One series, with what the policy says of the lists that it went to."""

    def __init__(self, series: Series, occasion: Occasion, policy: Lists, gate: ReplyGate) -> None:
        self._occasion, self._policy, self._gate = occasion, policy, gate
        self._sent_to = _sent_to(series)
        self._lists = [one for one in self._sent_to if self._is_list(one.email)]
        names = dict.fromkeys([*(one.email.lower() for one in self._lists), *_list_ids(series)])
        self._strictest = strictest([policy.rule(name) for name in names] or [policy.default])
        self._author = self._writer(series, names)

    def decided(self) -> Audience:
        """Return who hears of it."""
        occasion, rule = self._occasion, self._strictest
        if asker := occasion.asker:
            return self._audience(f"{asker.email} asked for it", [asker], self._answered())
        if rule.speak is Speak.NEVER:
            return Audience(speaks=False, reason="a list of the series must not hear of it")
        if occasion.tested:
            wanted = rule.speak is Speak.ALWAYS or (rule.speak is Speak.FINDINGS and occasion.found)
            if wanted:
                return self._audience(_wished(rule.speak), self._authors(), self._told())
        elif rule.speak >= Speak.FINDINGS and occasion.found:
            return self._audience(
                "its author alone is told that it was not tested", self._authors()
            )
        people = [one for one in (*self._authors(), *occasion.maintainers) if self._opted_in(one)]
        if people:
            return self._audience(f"{people[0].email} wants to hear of each series", people)
        return Audience(speaks=False, reason=_silence(rule.speak, occasion))

    def _audience(self, reason: str, to: Iterable[Address], cc: Iterable[Address] = ()) -> Audience:
        first = self._kept(to)
        taken = {one.email.lower() for one in first}
        others = tuple(one for one in self._kept(cc) if one.email.lower() not in taken)
        if not first:
            first, others = others[:1], others[1:]
        if not first:
            return Audience(speaks=False, reason="nobody is left whom it may be sent to")
        hours = 0 if self._occasion.asker else self._strictest.embargo_hours
        rules = [self._policy.rule(one.email) for one in (*first, *others) if one in self._lists]
        caps = [rule.daily_cap for rule in rules if rule.daily_cap is not None]
        return Audience(
            speaks=True, reason=reason, to=first, cc=others, embargo=timedelta(hours=hours),
            cap=min(caps, default=None),
        )  # fmt: skip

    def _answered(self) -> list[Address]:
        """Return who gets a copy of what was asked for: each list as its own rule has it."""
        if not self._occasion.tested:
            return self._authors()
        open_to = [
            one for one in self._lists
            if (rule := self._policy.rule(one.email)).cc != "none" and rule.speak > Speak.NEVER
        ]  # fmt: skip
        return [*self._authors(), *open_to, *self._people()]

    def _told(self) -> list[Address]:
        """Return who gets a copy of what nobody asked for."""
        allowed = STRICTEST_CC.index(self._strictest.cc) >= STRICTEST_CC.index("lists")
        opted_in = [one for one in self._occasion.maintainers if self._opted_in(one)]
        return [*(self._lists if allowed else []), *self._people(), *opted_in]

    def _people(self) -> list[Address]:
        cc = self._strictest.cc
        copied = [one for one in self._sent_to if one not in self._lists] if cc == "all" else []
        return [*copied, *(self._occasion.maintainers if cc in {"maintainers", "all"} else ())]

    def _authors(self) -> list[Address]:
        return [self._author] if self._author else []

    @staticmethod
    def _writer(series: Series, lists: Collection[str]) -> Address | None:
        """Return the author; a list that put itself into From is none, the patch names one.

        Nobody asks Reply-To: no signature need cover it, and it could name a stranger.
        """
        named = [commit(patch.message).author for patch in series.patches[:1]]
        found = (one for one in (series.submitter, *named) if one.email.lower() not in lists)
        return next(found, None)

    def _is_list(self, email: str) -> bool:
        return self._gate.is_list(email) or self._policy.names(email)

    def _opted_in(self, one: Address) -> bool:
        return self._policy.people.is_in(one.email)

    def _kept(self, found: Iterable[Address]) -> tuple[Address, ...]:
        """Leave out ourselves, robots, and who asked not to get mail; each address once."""
        own = {one.lower() for one in self._occasion.own}
        kept: dict[str, Address] = {}
        for one in found:
            if one.email.lower() not in own and not self._policy.people.is_silent(one.email):
                kept.setdefault(one.email.lower(), one)
        return tuple(kept.values())


def _wished(speak: Speak) -> str:
    if speak is Speak.ALWAYS:
        return "its lists want to hear of each series"
    return "there are findings, of which its lists want to hear"


def _silence(speak: Speak, occasion: Occasion) -> str:
    if speak is Speak.ASKED:
        return "nobody asked for it"
    return "there are no findings" if occasion.tested else "nothing was tested"


def _sent_to(series: Series) -> list[Address]:
    """Return everybody a series was sent to, each once, in order."""
    mails = [series.lead, *(patch.message for patch in series.patches)]
    found: dict[str, Address] = {}
    for mail in mails:
        for one in (*mail.to, *mail.cc):
            found.setdefault(one.email.lower(), one)
    return list(found.values())


def _list_ids(series: Series) -> list[str]:
    """Return the lists that the mails came through, as addresses: RFC 2919 has a dot for the @."""
    mails = [series.lead, *(patch.message for patch in series.patches)]
    bare = (mail.list_id.rpartition("<")[2].strip("<> ").lower() for mail in mails)
    return [one.replace(".", "@", 1) for one in dict.fromkeys(bare) if "." in one]
