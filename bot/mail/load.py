"""From paths to series: what every verb that takes mail begins with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bot.errors import TheirsError
from bot.mail import message, sources
from bot.mail.message import Message
from bot.mail.series import Series, assemble


class NoPatchError(TheirsError):
    """There is mail, but no patch in it; carries the paths and how many mails were read."""

    def __init__(self, paths: Sequence[Path], mails: int) -> None:
        self.paths, self.mails = tuple(paths), mails
        where = ", ".join(str(path) for path in paths)
        count = f"{mails} mail" + ("" if mails == 1 else "s")
        super().__init__(
            f"{where}: no patch in {count}: give mail with [PATCH] in its subject and a diff in it"
        )


def load(paths: Sequence[Path]) -> tuple[Series, ...]:
    """Read all paths together and return the series in them, oldest first.

    Raises NotMailError for a path without mail, NoPatchError when no path holds a patch.
    """
    read = 0

    def patches() -> Iterator[Message]:
        nonlocal read
        for path in paths:
            for raw in sources.messages(path):
                read += 1
                if message.may_be_patch(raw):
                    yield message.parse(raw)

    found = assemble(patches())
    if not found:
        raise NoPatchError(paths, read)
    return found
