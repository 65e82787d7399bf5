"""Which mails were sent together: pure, and the same in every arrival order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import timedelta

from bot.mail.headers import Address
from bot.mail.message import Message

# mails of one sending lie closer together than this, two sendings further apart
WINDOW = timedelta(minutes=20)
_Key = tuple[Hashable, ...]


def clusters(known: Mapping[str, Message]) -> list[list[Message]]:
    """Sort patches and covers, by their ids, into sendings; each holds an index at most once."""
    anchors = _anchors(known)
    threads: defaultdict[_Key, list[Message]] = defaultdict(list)
    for one in known.values():
        threads[_thread_key(one, known, anchors)].append(one)
    pools: defaultdict[_Key, list[Message]] = defaultdict(list)
    found: list[list[Message]] = []
    for thread in threads.values():
        lone = thread[0] if len(thread) == 1 else None
        if lone and lone.label.counted and anchors[lone.message_id] == lone.message_id:
            # nothing ties it to others: sender, total and time have to do
            pools[_owner(lone), lone.label.total].append(lone)
        else:
            found += _sendings(thread)
    for pool in pools.values():
        found += [sending for burst in _bursts(pool) for sending in _sendings(burst)]
    return found


def same_person(one: Address, other: Address) -> bool:
    """Whether two addresses are one person's: people send from several under one full name."""
    if one.email.lower() == other.email.lower():
        return True
    return " " in one.name and one.name.casefold() == other.name.casefold()


def unique(messages: Iterable[Message]) -> list[Message]:
    """Return one copy of each Message-ID, sorted by date.

    Of cross posts the copy with a whole diff and the sender's own From is taken:
    lists rewrite ("Jane via list") and append.
    """
    best: dict[str, Message] = {}
    for one in messages:
        other = best.get(one.message_id)
        if other is None or _worth(one) < _worth(other):
            best[one.message_id] = one
    return sorted(best.values(), key=order)


def _worth(one: Message) -> tuple[bool, bool, int, str]:
    rewritten = " via " in one.sender.name
    return one.damage is not None or not one.diff, rewritten, len(one.below), repr(one)


def order(one: Message) -> tuple[object, ...]:
    """Return a mail's place among those of one person."""
    return one.date, one.label.index, one.message_id


def _owner(one: Message) -> str:
    """Return who sent it; a bare `git format-patch` mail names the commit's author instead."""
    return one.sender.email.lower() if one.identified else ""


def _anchors(known: Mapping[str, Message]) -> dict[str, str]:
    """Return for each mail the id its thread hangs from: a cover, or the topmost ancestor.

    A cover begins a thread, wherever it was threaded itself.
    """
    found: dict[str, str] = {}
    for one in known.values():
        path = [one]
        steps = {one.message_id}
        while path[-1].message_id not in found:
            above = None if path[-1].label.is_cover else parent(path[-1], known)
            if above is None or above.message_id in steps:
                found[path[-1].message_id] = _root(path[-1])
            else:
                path.append(above)
                steps.add(above.message_id)
        found.update((step.message_id, found[path[-1].message_id]) for step in path)
    return found


def parent(one: Message, known: Mapping[str, Message]) -> Message | None:
    """Return the nearest ancestor that is known."""
    return next((known[ref] for ref in reversed(one.references) if ref in known), None)


def _root(one: Message) -> str:
    if one.label.is_cover or not one.references:
        return one.message_id
    return one.references[-1]  # an ancestor that is not here, such as a cover sent elsewhere


def _thread_key(one: Message, known: Mapping[str, Message], anchors: Mapping[str, str]) -> _Key:
    if one.label.counted:
        return _owner(one), one.label.total, anchors[one.message_id]
    # a "[PATCH]" stands alone, unless it is the one patch of the cover right above it
    above = parent(one, known)
    if above and above.label.is_cover and above.label.total == 1:
        return _owner(one), 1, above.message_id
    return (one.message_id,)


def _sendings(group: Sequence[Message]) -> list[list[Message]]:
    """Take apart what shares a thread: by version, then by time, then by what collides."""
    found: list[list[Message]] = []
    for part in _by_version(group):
        bursts = _bursts(part) if _collides(part) else [part]
        found += [sending for burst in bursts for sending in _without_collisions(burst)]
    return found


def _by_version(group: Sequence[Message]) -> list[list[Message]]:
    parts: defaultdict[int, list[Message]] = defaultdict(list)
    for one in group:
        if not one.label.is_cover:
            parts[one.label.version or 0].append(one)
    if 0 in parts and 1 in parts:
        parts[1] = parts.pop(0) + parts[1]
    for cover in (one for one in group if one.label.is_cover):
        parts[_version_below(cover, parts)].append(cover)
    return [sorted(part, key=order) for _, part in sorted(parts.items())]


def _version_below(cover: Message, parts: Mapping[int, Sequence[Message]]) -> int:
    """Return the label of the patches that belong to a cover; the two often differ."""
    stated = cover.label.version
    for label in (stated or 0, stated or 1):
        if label in parts:
            return label
    if stated and 0 in parts:
        return 0  # "[PATCH v4 0/6]" over "[PATCH 1/6]"
    labels = list(parts)
    near = len(labels) == 1 and any(abs(cover.date - p.date) <= WINDOW for p in parts[labels[0]])
    return labels[0] if near else stated or 0  # "[PATCH 0/6]" over "[PATCH v4 1/6]"


def _collides(part: Sequence[Message]) -> bool:
    return len({one.label.index for one in part}) < len(part)


def _bursts(part: Sequence[Message]) -> list[list[Message]]:
    """Cut where nothing was sent for longer than WINDOW.

    A bare `git format-patch` mail carries the commit's date: these are not cut.
    """
    bursts: list[list[Message]] = []
    for one in sorted(part, key=order):
        if bursts and (one.date - bursts[-1][-1].date <= WINDOW or not one.identified):
            bursts[-1].append(one)
        else:
            bursts.append([one])
    return bursts


def _without_collisions(part: Sequence[Message]) -> list[list[Message]]:
    """Deal mails of the same index to different sendings, the earliest to the first."""
    hands: list[dict[int, Message]] = []
    for one in part:
        free = next((hand for hand in hands if one.label.index not in hand), None)
        if free is None:
            free = {}
            hands.append(free)
        free[one.label.index] = one
    return [list(hand.values()) for hand in hands]
