"""The port through which mail comes in: a source that goes on from where it stopped.

A source hands out each raw mail with the cursor that is to be kept once that mail is stored.
It may hand out a mail twice (one Message-ID is one mail, the store sees to it), never leaves
one out, and holds no more than one mail at a time. What cannot be reached raises OursError and
is asked again; the cursor stays where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Fetched:
    """A raw mail, and where its source goes on once this mail is stored."""

    raw: bytes
    cursor: str  # the source's own words, JSON; nobody else reads it


class Source(Protocol):
    """Where mail comes from."""

    @property
    def name(self) -> str:
        """What its cursor is kept under, the same after a restart; without secrets."""

    def follow(self, cursor: str) -> Iterator[Fetched]:
        """Yield what came since the cursor, oldest first; "" is the beginning.

        Ends when there is no more for now. Raises OursError, TheirsError.
        """

    def wait(self, seconds: float) -> None:
        """Return when there may be new mail, at the latest after so many seconds."""
