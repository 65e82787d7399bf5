"""Which version of a change takes the place of which: by change-id, title, thread, patches."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Protocol

from bot.mail.message import Message
from bot.mail.sending import Sending, essence
from bot.mail.threads import same_person

MOST = 50  # versions of one title that are looked at, before and after
SHARED = 0.5  # of the patches of the smaller one: then two sendings are one work
_Key = tuple[object, ...]


class Version(Protocol):
    """What is to be linked."""

    @property
    def sending(self) -> Sending: ...  # noqa: D102 - a field
    @property
    def change_id(self) -> str | None: ...  # noqa: D102 - a field


def former(found: Sequence[Version]) -> list[int | None]:
    """Return, for each, the place of the one that it replaces, or None."""
    table = _Table(found)
    return [table.former(number) for number in range(len(found))]


class _Table:
    """Sendings by all that can tie two of them together."""

    def __init__(self, found: Sequence[Version]) -> None:
        self._found = found
        self._by_key: defaultdict[_Key, list[int]] = defaultdict(list)
        self._by_mail: dict[str, int] = {}
        self._patches = [_patch_keys(one.sending) for one in found]
        for number, one in enumerate(found):
            for key in _keys(one):
                self._by_key[key].append(number)
            for patch in self._patches[number]:
                self._by_key[patch].append(number)
            for mail in one.sending.mails:
                if not one.sending.fresh or mail.message_id in one.sending.fresh:
                    self._by_mail[mail.message_id] = number

    def former(self, number: int) -> int | None:
        """Return the latest of those that come before and are the same work."""
        before = [other for other in self._related(number) if self._is_before(other, number)]
        return max(before, key=lambda other: self._nearness(other, number), default=None)

    def _related(self, number: int) -> set[int]:
        one = self._found[number]
        related = {other for key in _keys(one) for other in self._near(key, number)}
        shared = Counter(o for key in self._patches[number] for o in self._near(key, number))
        related |= {
            other for other, count in shared.items()
            if count >= SHARED * min(len(self._patches[number]), len(self._patches[other]))
        }  # fmt: skip
        related |= set(self._above(one.sending))
        return related - {number}

    def _near(self, key: _Key, number: int) -> list[int]:
        """Return what has a key, as far as it was sent next to ``number``."""
        having = self._by_key[key]
        at = bisect_left(having, number)
        return having[max(0, at - MOST) : at + MOST]

    def _above(self, one: Sending) -> Iterator[int]:
        """Yield the sendings that the first mail was threaded under: where somebody else
        goes on with the work, the title is the same."""
        for reference in one.lead.references:
            other = self._by_mail.get(reference)
            if other is None:
                continue
            there = self._found[other].sending
            same = same_person(there.sender, one.sender) or plain(there.title) == plain(one.title)
            if same and _is_new_version(there, one):
                yield other

    def _is_before(self, other: int, number: int) -> bool:
        one, two = self._found[other].sending, self._found[number].sending
        dated = all(mail.identified for mail in (one.lead, two.lead))
        if dated and one.date > two.date:
            return False
        if one.version != two.version:
            return one.version < two.version or (dated and _is_rfc(one) and not _is_rfc(two))
        return (one.date, one.lead.message_id) < (two.date, two.lead.message_id)

    def _nearness(self, other: int, number: int) -> _Key:
        one = self._found[other].sending
        version = min(one.version, self._found[number].sending.version)
        return version, one.date, one.lead.message_id


def _is_new_version(there: Sending, one: Sending) -> bool:
    """Whether the thread alone says so: a follow-up by the same person need not be one."""
    return one.version > there.version or bool(one.fresh)


def _is_rfc(one: Sending) -> bool:
    return any(tag.lower() == "rfc" for tag in one.mails[0].label.tags)


def _people(one: Sending) -> list[_Key]:
    name = one.sender.name.casefold()
    return [("mail", one.sender.email.lower()), *([("name", name)] if " " in name else [])]


def _keys(one: Version) -> Iterator[_Key]:
    if one.change_id:
        yield ("change", one.change_id)
    title = plain(one.sending.title)
    yield from (("title", *person, title) for person in _people(one.sending))


def _patch_keys(one: Sending) -> tuple[_Key, ...]:
    """Return what its patches can be known again by, one for each."""
    person = one.sender.email.lower()
    return tuple(sorted({_patch_key(person, mail) for mail in one.patches if mail.diff}))


def _patch_key(person: str, mail: Message) -> tuple[str, str, str]:
    return "patch", person, essence(mail.diff).hex()


def plain(title: str) -> str:
    """Return a title's letters and digits, by which it is known again."""
    return "".join(c for c in title.casefold() if c.isalnum())
