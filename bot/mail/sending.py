"""A sending: the mails of one series as they were sent together, or meant together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bot.mail.headers import Address
from bot.mail.message import Message


@dataclass(frozen=True)
class Sending:
    """A cover and patches, each index once, ascending."""

    cover: Message | None
    patches: tuple[Message, ...]
    fresh: tuple[str, ...] = ()  # a partial reroll: ids of its own mails, by date; () means all
    copies: tuple[str, ...] = ()  # ids of the mails of sendings that this one repeats

    @property
    def mails(self) -> tuple[Message, ...]:
        """All mails, the cover first."""
        return (self.cover, *self.patches) if self.cover else self.patches

    @property
    def lead(self) -> Message:
        """The mail that stands for it: the cover, else the lowest patch, else the reroll."""
        if self.fresh:
            return next(one for one in self.patches if one.message_id == self.fresh[0])
        return self.mails[0]

    @property
    def title(self) -> str:
        """What it is called."""
        return self.mails[0].label.title

    @property
    def sender(self) -> Address:
        """Who sent it."""
        return self.lead.sender

    @property
    def date(self) -> datetime:
        """When it was sent."""
        return self.lead.date

    @property
    def span(self) -> tuple[datetime, datetime]:
        """When its first and its last mail was sent."""
        dates = [one.date for one in self.mails]
        return min(dates), max(dates)

    @property
    def total(self) -> int:
        """How many patches were announced."""
        return self.patches[0].label.total if self.patches else self.mails[0].label.total

    @property
    def stated(self) -> int | None:
        """The version in its subjects, the highest one, or None."""
        return max((one.label.version or 0 for one in self.mails), default=0) or None

    @property
    def version(self) -> int:
        """The version; 1 where none is stated."""
        return self.stated or 1

    @property
    def indices(self) -> frozenset[int]:
        """The places that are taken; a cover's is 0."""
        return frozenset(one.label.index for one in self.patches) | ({0} if self.cover else set())

    @property
    def missing(self) -> tuple[int, ...]:
        """The patches that are not there."""
        there = {one.label.index for one in self.patches}
        return tuple(index for index in range(1, self.total + 1) if index not in there)

    @property
    def counted(self) -> bool:
        """Whether the subjects have "n/m"."""
        return any(one.label.counted for one in self.mails)

    @property
    def sound(self) -> bool:
        """Whether every patch is there and whole."""
        return not self.missing and all(one.diff and not one.damage for one in self.patches)


def of(mails: Sequence[Message]) -> Sending:
    """Return a sending of mails that have an index each."""
    numbered = sorted(mails, key=lambda one: one.label.index)
    if not numbered[0].label.is_cover:
        return Sending(None, tuple(numbered))
    cover, *patches = numbered
    if cover.diff and not cover.damage and cover.label.total == 1 and not patches:
        # "0/1" above a diff: the one patch, misnumbered
        return Sending(None, (replace(cover, label=replace(cover.label, index=1)),))
    return Sending(cover, tuple(patches))


def essence(diff: bytes) -> bytes:
    """Return a digest of what a diff changes, blind to line numbers, context and white space.

    Two versions of a patch that only moved have the same, as with `git patch-id`.
    """
    changed = (line for line in diff.split(b"\n") if line[:1] in {b"+", b"-"})
    return hashlib.sha256(b"\n".join(b"".join(line.split()) for line in changed)).digest()
