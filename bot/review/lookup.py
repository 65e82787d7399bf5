"""Looks the blobs that a series starts from up in all trees: objects, heads and tags, history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pygit2

from bot.review.blobs import ODD, Looker, PreImage, absent, pre_images
from bot.review.history import Clock, Search, StoppedError

TIPS = 64  # branches and tags of a tree that are looked at, the newest first
REFS = 10_000  # of which that many are found out to be the newest
BRANCHES = 16  # from which history is searched
NEEDED = ("refs/heads/", "refs/tags/")

# tree, commit or None, and why: half a sentence
Answer = tuple[str, str | None, str]


@dataclass(frozen=True)
class Place:
    """A tree whose repository is open."""

    name: str
    repository: pygit2.Repository
    head: str


@dataclass(frozen=True)
class _Tip:
    when: int
    name: str  # "head of the tree", "branch dev", "tag v6.1"
    commit: pygit2.Commit

    @property
    def is_branch(self) -> bool:
        return not self.name.startswith("tag ")


def find(
    diffs: Sequence[bytes], places: Sequence[Place], clock: Clock, seconds: float
) -> Iterator[Answer]:
    """Yield what each tree has of the blobs; the first with a commit has all, and ends it.

    ``seconds`` is the time that was given to the clock, for the sentence that says so.
    """
    wanted = pre_images(diffs)
    if not wanted:
        yield "", None, "the diffs name no blobs that they start from"
        return
    left = []
    for place in places:
        missing = absent(place.repository, wanted)
        if missing:
            yield place.name, None, _lacking(wanted, missing)
        else:
            left.append(place)
    search = Search(Looker(wanted), clock)
    told = set[str]()
    try:
        for answer in _searched(search, left, _having(wanted)):
            told.add(answer[0])
            yield answer
    except StoppedError:
        said = f"the search of its history was stopped after {seconds:g} s"
        for name in [place.name for place in left if place.name not in told]:
            yield name, None, f"{said}, with {search.best} of {len(wanted)} blobs at best"


def _searched(search: Search, places: Sequence[Place], having: str) -> Iterator[Answer]:
    tips = {place.name: _tips(place, search.clock) for place in places}
    for number, place in enumerate(places):
        for tip in tips[place.name]:
            if search.looker.has_all(search.looks(tip.commit)):
                for other in places[:number]:
                    yield other.name, None, f"no branch or tag of it has {having}"
                yield place.name, str(tip.commit.id), f"{tip.name}, which has {having}"
                return
    for place in places:
        starts = [tip.commit.id for tip in tips[place.name] if tip.is_branch][:BRANCHES]
        found = search.newest(place.repository, starts)
        if found is not None:
            yield place.name, str(found), f"newest commit that has {having}"
            return
        at_best = f"{search.best} of {search.looker.count} at best"
        yield place.name, None, f"no commit was found that has {having} ({at_best})"


def _lacking(wanted: Sequence[PreImage], missing: Sequence[PreImage]) -> str:
    there = len(wanted) - len(missing)
    first = missing[0]
    return (
        f"has {there} of the {len(wanted)} blobs that the diffs start from, "
        f"not {first.prefix[:12]} of {first.path}"
    )


def _having(wanted: Sequence[PreImage]) -> str:
    if len(wanted) == 1:
        return "the blob that the diff starts from"
    return f"all {len(wanted)} blobs that the diffs start from"


def _tips(place: Place, clock: Clock) -> tuple[_Tip, ...]:
    """Return the head, then branches and tags, the newest first."""
    repository, found = place.repository, []
    for name in _names(repository):
        clock.check()
        tip = _tip(repository, name, name.removeprefix("refs/"))
        found += [tip] if tip else []
    found.sort(key=lambda one: (-one.when, one.name))
    head = _tip(repository, place.head, "head of the tree")
    return tuple(([head] if head else []) + found[:TIPS])


def _names(repository: pygit2.Repository) -> list[str]:
    try:
        names = repository.listall_references()
    except ODD:
        return []
    return sorted(name for name in names if name.startswith(NEEDED))[:REFS]


def _tip(repository: pygit2.Repository, revision: str, said: str) -> _Tip | None:
    try:
        commit = repository.revparse_single(revision).peel(pygit2.Commit)
    except ODD:
        return None
    shown = said.replace("heads/", "branch ", 1).replace("tags/", "tag ", 1)
    return _Tip(commit.commit_time, shown, commit)
