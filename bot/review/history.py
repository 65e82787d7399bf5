"""Searches history for the newest commit that has all wanted blobs, in bounded time.

Looking into a commit's directories costs more than stepping to its parent. So a line of
first parents is looked at every STRIDE commits, and in between only where the blobs at both
ends differ. A merge's other parents are followed when the merge changed a wanted file; when
it did not, what they had of these files was on the line already, further back. What a
stretch of history changes and changes back again may be passed over.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

import pygit2

from bot.review.blobs import ODD, Looker, State, right

STRIDE = 64  # commits between two looks
# sorts commits, the newest first; of the same second, as rebased ones are, the one met first
_Place = tuple[int, int, pygit2.Oid]


class StoppedError(Exception):
    """The time is over; never leaves this package."""


@dataclass(frozen=True)
class Clock:
    """The time that a search may take."""

    until: float
    now: Callable[[], float] = time.monotonic

    def check(self) -> None:
        """Raise StoppedError when the time is over."""
        if self.now() >= self.until:
            raise StoppedError


@dataclass
class Search:
    """One search, which may go through several repositories that share commits."""

    looker: Looker
    clock: Clock
    seen: set[pygit2.Oid] = field(default_factory=set)  # commits that lie on a line
    best: int = 0  # how many of the wanted blobs the best commit has that was looked at
    _states: dict[pygit2.Oid, State] = field(default_factory=dict)
    _lines: list[_Place] = field(default_factory=list)
    _met: Iterator[int] = field(default_factory=count)

    def newest(
        self, repository: pygit2.Repository, starts: Iterable[pygit2.Oid]
    ) -> pygit2.Oid | None:
        """Return the newest commit that has all blobs, among ``starts`` and their ancestors.

        Raises StoppedError.
        """
        self._lines = []
        self.more(repository, starts)
        found: _Place | None = None
        while self._lines and (found is None or self._lines[0] < found):
            oid = heapq.heappop(self._lines)[2]
            try:
                hit = None if oid in self.seen else _Stretch(self, repository, oid).newest()
            except StoppedError:
                if found is None:
                    raise
                break  # there may be a newer one, but this one has all as well
            found = min(filter(None, (found, hit)), default=None)
        return found[2] if found else None

    def looks(self, commit: pygit2.Commit) -> State:
        """Return the blobs of a commit, and take note how many are right."""
        self.clock.check()
        known = self._states.get(commit.id)
        if known is None:
            known = self._states[commit.id] = self.looker.state(commit)
            self.best = max(self.best, right(known))
        return known

    def place(self, commit: pygit2.Commit) -> _Place:
        """Return the place of a commit among those that are met later."""
        return (-commit.commit_time, next(self._met), commit.id)

    def more(self, repository: pygit2.Repository, oids: Iterable[pygit2.Oid]) -> None:
        """Go on from these commits when their time comes."""
        for oid in oids:
            commit = _commit(repository, oid)
            if commit is not None and oid not in self.seen:
                heapq.heappush(self._lines, self.place(commit))


def _commit(repository: pygit2.Repository, oid: pygit2.Oid) -> pygit2.Commit | None:
    """Return a commit; None where history was cut, as in a shallow clone."""
    try:
        return repository[oid].peel(pygit2.Commit)
    except ODD:
        return None


class _Stretch:
    """At most STRIDE commits of a line of first parents, and the one below them."""

    def __init__(self, search: Search, repository: pygit2.Repository, start: pygit2.Oid) -> None:
        self._search, self._repository = search, repository
        search.clock.check()
        self._line: list[pygit2.Commit] = []
        self._merges: list[bool] = []
        oid: pygit2.Oid | None = start
        while oid is not None and len(self._line) <= STRIDE:
            commit = _commit(repository, oid)
            if commit is None:
                break
            parents = commit.parent_ids
            self._line.append(commit)
            self._merges.append(len(parents) > 1)
            if oid in search.seen:
                break
            oid = parents[0] if parents else None
        whole = len(self._line) > STRIDE
        search.seen.update(one.id for one in (self._line[:-1] if whole else self._line))
        if whole:
            search.more(repository, [self._line[-1].id])

    def newest(self) -> _Place | None:
        """Return the place of the newest commit here that has all blobs."""
        last = len(self._line) - 1
        if last < 0:
            return None
        if self._fits(0):
            return self._search.place(self._line[0])
        found = self._between(0, last)
        if found is None and self._fits(last):
            found = last
        return None if found is None else self._search.place(self._line[found])

    def _fits(self, number: int) -> bool:
        return self._search.looker.has_all(self._search.looks(self._line[number]))

    def _between(self, first: int, last: int) -> int | None:
        """Search between two commits of which the newer has not all."""
        new, old = (self._search.looks(self._line[n]) for n in (first, last))
        if new == old or (not any(self._merges[first:last]) and not _may_hold(new, old)):
            return None
        if last - first == 1:
            self._search.more(self._repository, self._line[first].parent_ids[1:])
            return None
        middle = (first + last) // 2
        if (newer := self._between(first, middle)) is not None:
            return newer
        return middle if self._fits(middle) else self._between(middle, last)


def _may_hold(new: State, old: State) -> bool:
    """Tell whether all blobs can have been there at once, in a stretch without merges.

    A file that is the same at both ends, and not as wanted, was not.
    """
    return all(a != b or a[1] for a, b in zip(new, old, strict=True))
