"""From paths to series: what every verb that takes mail begins with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.errors import TheirsError
from bot.mail import kinds, message, sources
from bot.mail.message import Message
from bot.mail.series import NO_PART, Series, sort_out


class NoPatchError(TheirsError):
    """There is mail, but no patch in it; carries the paths and how many mails were read."""

    def __init__(self, paths: Sequence[Path], mails: int) -> None:
        self.paths, self.mails = tuple(paths), mails
        where = ", ".join(str(path) for path in paths)
        count = f"{mails} mail" + ("" if mails == 1 else "s")
        super().__init__(
            f"{where}: no patch in {count}: give mail with [PATCH] in its subject and a diff in it"
        )


@dataclass(frozen=True)
class Loaded:
    """The series in some paths, oldest first, and how many mails are in none, by reason."""

    mails: int  # that were read
    series: tuple[Series, ...]
    others: tuple[tuple[str, int], ...]  # the most frequent reason first


def load(paths: Sequence[Path]) -> tuple[Series, ...]:
    """Read all paths together and return the series in them, oldest first.

    Raises NotMailError for a path without mail, NoPatchError when no path holds a patch.
    """
    found = load_all(paths)
    if not found.series:
        raise NoPatchError(paths, found.mails)
    return found.series


def load_all(paths: Sequence[Path]) -> Loaded:
    """Read all paths together; say of each mail in no series why.

    Raises NotMailError for a path without mail.
    """
    others: Counter[str] = Counter()
    told: dict[str, str] = {}  # by message-id, what the headers of a candidate said

    def candidates() -> Iterator[Message]:
        for path in paths:
            for raw in sources.messages(path):
                kind = kinds.sort(raw)
                if not kind.may_belong:
                    others[kind.reason] += 1
                    continue
                parsed = message.parse(raw)
                others["a copy of a mail that was there before"] += parsed.message_id in told
                told.setdefault(parsed.message_id, kind.reason)
                yield parsed

    found = sort_out(candidates())
    read = others.total() + len(told)
    others.update(told[key] if reason == NO_PART else reason for key, reason in found.left)
    counted = sorted((+others).items(), key=lambda one: (-one[1], one[0]))
    return Loaded(read, found.series, tuple(counted))
