"""Sendings that stand for more than their own mails: partial rerolls and resends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bot.mail.message import Message
from bot.mail.sending import Sending, essence
from bot.mail.threads import parent, same_person


def rerolled(found: Sequence[Sending], known: Mapping[str, Message]) -> list[Sending]:
    """Turn patches sent anew, in reply to a series, into the series that was meant.

    "[PATCH v3 4/7]" below the seven of v2 is v3: that one, and six of v2. A later part of the
    same version joins the first; one of a version above is laid over it. A part that only
    fills a gap completes the series itself.
    """
    table = _Table(known)
    parts = []
    for one in sorted(found, key=_order):
        if one.cover is None and one.missing and one.counted:
            parts.append(one)
        else:
            table.add(one)
    for part in parts:
        table.lay(part)
    return sorted(table.all(), key=_order)


def _order(one: Sending) -> tuple[object, ...]:
    return one.date, one.lead.message_id


class _Table:
    """Sendings, and which stack of rerolls each of their mails belongs to."""

    def __init__(self, known: Mapping[str, Message]) -> None:
        self._known = known
        self._stacks: list[list[Sending]] = []  # the original first, then its rerolls
        self._stack_of: dict[str, int] = {}

    def add(self, one: Sending) -> None:
        """Take a sending that stands for itself."""
        self._stacks.append([one])
        self._claim(one, len(self._stacks) - 1)

    def lay(self, part: Sending) -> None:
        """Lay a part over what it answers, or take it as it is when it answers nothing."""
        number = self._answered(part)
        below = self._fitting(self._stacks[number], part) if number is not None else None
        if number is None or below is None:
            self.add(part)
            return
        stack = self._stacks[number]
        if not part.indices & below.indices and part.version <= below.version:
            stack[stack.index(below)] = _filled(below, part)
        elif below.fresh and part.version == below.version:
            stack[stack.index(below)] = _overlaid(below, part, (*below.fresh,))
        else:
            stack.append(_overlaid(below, part, ()))
        self._claim(part, number)

    def all(self) -> list[Sending]:
        """Return everything, composed."""
        return [one for stack in self._stacks for one in stack]

    def _claim(self, one: Sending, number: int) -> None:
        self._stack_of.update((mail.message_id, number) for mail in one.mails)

    def _answered(self, part: Sending) -> int | None:
        """Return the one stack that all mails of a part answer."""
        above = [parent(mail, self._known) for mail in part.mails]
        stacks = {self._stack_of.get(one.message_id) if one else None for one in above}
        return stacks.pop() if len(stacks) == 1 else None

    @staticmethod
    def _fitting(stack: Sequence[Sending], part: Sending) -> Sending | None:
        """Return the latest of a stack that a part can be laid over."""
        root = stack[0]
        if root.total != part.total or not same_person(root.sender, part.sender):
            return None
        lower = [one for one in stack if part.stated is None or one.version <= part.version]
        return max(lower, key=lambda one: (one.version, len(one.fresh) > 0, one.date), default=None)


def _filled(below: Sending, part: Sending) -> Sending:
    patches = sorted((*below.patches, *part.patches), key=lambda one: one.label.index)
    return replace(below, patches=tuple(patches))


def _overlaid(below: Sending, part: Sending, fresh: tuple[str, ...]) -> Sending:
    there = {one.label.index: one for one in below.patches}
    there.update((one.label.index, one) for one in part.patches)
    patches = tuple(there[index] for index in sorted(there))
    left = {one.message_id for one in patches}
    own = (*fresh, *(one.message_id for one in sorted(part.patches, key=_by_date)))
    return Sending(below.cover, patches, fresh=tuple(one for one in own if one in left))


def _by_date(one: Message) -> tuple[object, ...]:
    return one.date, one.message_id


def without_resends(found: Sequence[Sending]) -> list[Sending]:
    """Let one sending stand for all that say the same: the whole one, else the latest.

    The ids of the others are kept in ``copies``, since people may answer those mails.
    """
    groups: defaultdict[tuple[object, ...], list[Sending]] = defaultdict(list)
    out = []
    for one in found:
        if one.fresh:
            out.append(one)
        else:
            title = one.title if one.total == 1 else ""
            groups[one.sender.email.lower(), one.total, one.version, title].append(one)
    for group in groups.values():
        out += _distinct(group) if len(group) > 1 else group
    return sorted(out, key=_order)


def _distinct(group: Sequence[Sending]) -> list[Sending]:
    best_first = sorted(group, key=lambda o: (o.sound, o.cover is not None, o.date, o.lead.message_id), reverse=True)  # noqa: E501 # fmt: skip
    kept: list[Sending] = []
    for one in best_first:
        same = next((n for n, other in enumerate(kept) if _repeats(one, other)), None)
        if same is None:
            kept.append(one)
        else:
            ids = (*kept[same].copies, *(mail.message_id for mail in one.mails))
            kept[same] = replace(kept[same], copies=tuple(sorted(ids)))
    return kept


def _repeats(one: Sending, other: Sending) -> bool:
    """Whether all of ``one`` is in ``other``; a damaged patch counts by its title."""
    theirs = {mail.label.index: mail for mail in other.patches}
    if one.cover and other.cover and one.title != other.title:
        return False
    if not one.patches:  # a cover alone: the same letter
        return one.cover is not None and other.cover is not None and one.date <= other.date
    return all(
        (twin := theirs.get(mail.label.index)) is not None and _same(mail, twin)
        for mail in one.patches
    )


def _same(mail: Message, twin: Message) -> bool:
    if mail.label.title != twin.label.title:
        return False
    return mail.damage is not None or not mail.diff or essence(mail.diff) == essence(twin.diff)
