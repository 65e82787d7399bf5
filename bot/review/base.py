"""Finds the commit a series is to be applied to, and tells all that was tried; reads git only.

The order: what the user asked for · the series' base-commit · the blobs that its diffs
name · the tree that subject, lists or MAINTAINERS name · linux-next · mainline · the
configured tree (docs/decisions/0018-base.md).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pygit2

from bot.contract import PatchText
from bot.errors import TheirsError
from bot.mail.series import Series
from bot.review import lookup
from bot.review.blobs import ODD
from bot.review.hints import Hint, How, hints, same_place
from bot.review.history import Clock
from bot.review.prerequisites import Prerequisites
from policies.trees import Trees

LOG = logging.getLogger(__name__)
SECONDS = 2.0  # that the search for blobs may take
SHOWN = 3  # missing prerequisites that are named
# what may come in a mail; git would search all of history for ":/text" or "x^{/text}"
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+~^-]{0,199}")


class NoBaseError(TheirsError):
    """The base that was asked for is not there, or nothing names one."""


@dataclass(frozen=True)
class Candidate:
    """A tree that may be the base's."""

    name: str
    repository: Path
    head: str  # commit id
    source: str = ""  # where it was cloned from


@dataclass(frozen=True)
class Attempt:
    """One place where a base was looked for."""

    tree: str  # "" where it is about no tree
    how: How
    commit: str | None  # None: it is not there
    reason: str  # why it was taken, or what is wrong with it; half a sentence


@dataclass(frozen=True)
class Base:
    """A commit, why it was taken, and what was tried before; the last attempt is this one."""

    tree: str
    commit: str
    reason: str
    attempts: tuple[Attempt, ...] = ()
    prerequisites: tuple[PatchText, ...] = ()  # to be applied first

    def attempts_json(self) -> list[dict[str, str | None]]:
        """Return the attempts in the shape of the report."""
        return [
            {"tree": one.tree, "how": one.how, "commit": one.commit, "reason": one.reason}
            for one in self.attempts
        ]


@dataclass(frozen=True)
class Wish:
    """What is known besides the series when its base is looked for."""

    configured: str  # the tree to fall back on
    policy: Trees
    asked: str | None = None  # commit, tag or name of a tree
    sources: tuple[str, ...] = ()  # T: entries of MAINTAINERS for the touched files
    prerequisites: Prerequisites = field(default_factory=Prerequisites)
    seconds: float = SECONDS  # that the search for blobs may take


def find(series: Series, candidates: Sequence[Candidate], wish: Wish) -> Base:
    """Return the base of a series among ``candidates``, in whichever of them it is.

    Raises NoBaseError when what was asked for is not there, or when there is none at all.
    """
    attempts = []
    for attempt in _Finder(series, candidates, wish).attempts():
        LOG.info("base: %s", _logged(attempt))
        attempts.append(attempt)
        if attempt.commit is not None:
            reason = attempt.reason + _with(wish.prerequisites)
            needed = wish.prerequisites.patches
            return Base(attempt.tree, attempt.commit, reason, tuple(attempts), needed)
    names = ", ".join(one.name for one in candidates) or "none"
    if wish.asked:
        raise NoBaseError(
            f"{wish.asked} is no commit in {names}: leave --base out to use its head, "
            "or update the tree with `stackhog tree add`"
        )
    raise NoBaseError(
        f"no tree here is the series' (there are: {names}), and there is no tree "
        f"{wish.configured}: add it with `stackhog tree add {wish.configured} PATH-OR-URL`, "
        "or name one with --tree"
    )


def _logged(attempt: Attempt) -> str:
    where = ", ".join(filter(None, (str(attempt.how), attempt.tree)))
    return f"{where}: {(attempt.commit or 'no')[:12]}, {attempt.reason}"


def _with(needed: Prerequisites) -> str:
    """Say what of the prerequisites goes below the series, and what does not."""
    count, said = len(needed.patches), ""
    if count:
        said = f", with {count} prerequisite patch{'es' if count > 1 else ''}"
    if needed.missing:
        shown = "; ".join(needed.missing[:SHOWN])
        more = len(needed.missing) - SHOWN
        said += f", without the prerequisite {shown}" + (f"; and {more} more" if more > 0 else "")
    return said


class _Finder:
    """Tries one way after the other."""

    def __init__(self, series: Series, candidates: Sequence[Candidate], wish: Wish) -> None:
        self._series, self._wish = series, wish
        self._opened: dict[str, pygit2.Repository] = {}
        here = tuple(one.name for one in candidates)
        self._hints = tuple(dict.fromkeys(hints(series, wish.policy, wish.sources, here)))
        self._unread: list[Attempt] = []
        self._candidates = self._in_order([one for one in candidates if self._open(one)])
        self._note = "the series names no base-commit"

    def _open(self, candidate: Candidate) -> bool:
        try:
            self._opened[candidate.name] = pygit2.Repository(str(candidate.repository))
        except ODD as error:
            said = f"its repository cannot be read ({error})"
            self._unread.append(Attempt(candidate.name, How.REPOSITORY, None, said))
            return False
        return True

    def _in_order(self, found: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """Return the trees that the series is likely meant for first, the configured one next."""
        liked = [one for hint in self._hints for one in found if self._head(one, hint)]
        configured = [one for one in found if one.name == self._wish.configured]
        rest = sorted(found, key=lambda one: one.name)
        return tuple(dict.fromkeys((*liked, *configured, *rest)))

    def attempts(self) -> Iterator[Attempt]:
        """Yield one attempt after the other; the first with a commit is the base."""
        yield from self._unread
        if self._wish.asked:
            yield from self._asked(self._wish.asked)
            return
        missing = self._wish.prerequisites.missing
        yield from (Attempt("", How.PREREQUISITES, None, said) for said in missing)
        named = tuple(self._base_commit())
        if missing:  # then the files as they are tell more than a base that lacks something
            yield from (_set_aside(one) for one in named)
        else:
            yield from named
        yield from self._blobs()
        if missing:
            yield from (one for one in named if one.commit)
        yield from self._hinted()
        yield from self._configured()

    def _asked(self, name: str) -> Iterator[Attempt]:
        for one in self._candidates:
            if one.name == name:
                yield Attempt(one.name, How.ASKED, one.head, "asked for by the tree's name")
                return
        for one in self._candidates:
            commit = self._commit(one, name) if REVISION.fullmatch(name) else None
            said = "asked for" if commit else f"{name} is no commit here"
            yield Attempt(one.name, How.ASKED, commit, said)

    def _commit(self, candidate: Candidate, name: str) -> str | None:
        try:
            found = self._opened[candidate.name].revparse_single(name)
            return str(found.peel(pygit2.Commit).id)
        except ODD:
            return None

    def _base_commit(self) -> Iterator[Attempt]:
        wanted = self._series.base_commit
        if wanted is None:
            return
        self._note = f"the series' base-commit {wanted[:12]} is not here"
        for one in self._candidates:
            commit = self._commit(one, wanted)
            if commit:
                self._note = ""
                yield Attempt(one.name, How.BASE_COMMIT, commit, "base-commit of the series")
                return
            yield Attempt(one.name, How.BASE_COMMIT, None, f"{wanted[:12]} is not in it")

    def _blobs(self) -> Iterator[Attempt]:
        """Look the blobs up, those of the prerequisites included, and then without them.

        A tree that took the prerequisites has the files as the series alone found them.
        """
        below = tuple(one.diff for one in self._wish.prerequisites.patches)
        own = tuple(one.message.diff for one in self._series.patches)
        places = [lookup.Place(one.name, self._opened[one.name], one.head)
                  for one in self._candidates]  # fmt: skip
        clock = Clock(time.monotonic() + self._wish.seconds)
        for diffs in ((*below, *own), own) if below else (own,):
            for tree, commit, said in lookup.find(diffs, places, clock, self._wish.seconds):
                yield Attempt(tree, How.BLOBS, commit, said)

    def _hinted(self) -> Iterator[Attempt]:
        """Take the head of the first tree that is here of those that the series may mean."""
        for hint in self._hints:
            found = next((one for one in self._candidates if self._head(one, hint)), None)
            name = hint.name or (hint.where.url if hint.where else "")
            if found is None:
                yield Attempt(name, hint.how, None, f"the tree that {hint.why} is not here")
                continue
            yield Attempt(
                found.name,
                hint.how,
                self._head(found, hint),
                self._noted(f"head of the tree that {hint.why}"),
            )

    def _head(self, candidate: Candidate, hint: Hint) -> str | None:
        """Return the commit that a hint means in a tree; None: it does not mean that tree."""
        where = hint.where
        branch = self._branch(candidate, where.branch) if where else None
        if candidate.name == hint.name:
            return branch or candidate.head
        if where is None or not same_place(candidate.source, where.url):
            return None
        return candidate.head if where.branch == "HEAD" else branch

    def _branch(self, candidate: Candidate, name: str) -> str | None:
        try:
            found = self._opened[candidate.name].branches.local[name]
            return str(found.peel(pygit2.Commit).id)
        except ODD:
            return None

    def _configured(self) -> Iterator[Attempt]:
        name = self._wish.configured
        for one in self._candidates:
            if one.name == name:
                yield Attempt(name, How.CONFIGURED, one.head, self._noted("head of the tree"))
                return
        yield Attempt(name, How.CONFIGURED, None, "the configured tree is not here")

    def _noted(self, reason: str) -> str:
        return f"{reason}; {self._note}" if self._note else reason


def _set_aside(attempt: Attempt) -> Attempt:
    if attempt.commit is None:
        return attempt
    said = f"{attempt.commit[:12]} is in it, but not what the series needs on top of it"
    return replace(attempt, commit=None, reason=said)
