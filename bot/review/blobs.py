"""Which blobs a series starts from, by the ``index`` lines of its diffs, and who has them.

Reads git only, through libgit2. What the search of a whole history costs stands in
bot/review/history.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pygit2

SHORTEST = 7  # hex digits that git abbreviates an id to
MOST = 100  # files that are looked for; more would not make it surer
# what libgit2 raises for a diff that it cannot read, and for a name that cannot be one
ODD = (pygit2.GitError, OSError, ValueError, KeyError)


@dataclass(frozen=True)
class PreImage:
    """A file as it is before the series."""

    path: str
    prefix: str  # the first hex digits of its blob's id, 7 at least


def pre_images(diffs: Iterable[bytes]) -> tuple[PreImage, ...]:
    """Return what the series found of each file that it changes, at most MOST.

    A later patch of the same file starts from what an earlier one left, so that only the
    first counts; a renamed file is looked for under its old name; new files are none.
    """
    found: dict[str, str] = {}
    made: set[str] = set()  # paths whose content is the series' own
    for diff in diffs:
        for path, prefix, left in _changes(diff):
            if prefix and path not in made:
                found.setdefault(path, prefix)
            made |= {path, left}
    return tuple(PreImage(path, prefix) for path, prefix in list(found.items())[:MOST])


def _changes(diff: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield old path, its blob's id as far as it is told, and new path of each file."""
    try:
        deltas = list(pygit2.Diff.parse_diff(diff).deltas)
        for delta in deltas:
            # libgit2 pads what is abbreviated; of a new file all are zeros
            digits = str(delta.old_file.id).rstrip("0")
            prefix = digits.ljust(SHORTEST, "0") if digits else ""
            yield delta.old_file.path or "", prefix, delta.new_file.path or ""
    except ODD:
        return  # it does not apply either, and that is said elsewhere


def absent(repository: pygit2.Repository, wanted: Iterable[PreImage]) -> tuple[PreImage, ...]:
    """Return those of which no object is there, whatever commit it would be in."""
    return tuple(one for one in wanted if not _holds(repository, one.prefix))


def _holds(repository: pygit2.Repository, prefix: str) -> bool:
    try:
        return prefix in repository
    except ValueError:  # ambiguous: there are several, and the path will tell
        return True
    except ODD:
        return False


# of each wanted path the blob that is there, and whether it is the wanted one
State = tuple[tuple[pygit2.Oid | None, bool], ...]
NOTHING: tuple[pygit2.Oid | None, bool] = (None, False)


@dataclass
class _Directory:
    """The wanted paths below one directory."""

    files: dict[str, str] = field(default_factory=dict)  # name → prefix of the wanted blob
    inner: dict[str, _Directory] = field(default_factory=dict)
    count: int = 0  # of everything below


class Looker:
    """Says which blobs commits have at the wanted paths.

    A directory that was seen before costs one look, so that most commits cost one for each
    directory above a wanted file that they changed.
    """

    def __init__(self, wanted: Sequence[PreImage]) -> None:
        self.count = len(wanted)
        self._root = _Directory()
        for one in wanted:
            self._put(one.path.split("/"), one.prefix)
        self._known: dict[tuple[int, pygit2.Oid], State] = {}

    def _put(self, parts: Sequence[str], prefix: str) -> None:
        at = self._root
        at.count += 1
        for part in parts[:-1]:
            at = at.inner.setdefault(part, _Directory())
            at.count += 1
        at.files[parts[-1]] = prefix

    def state(self, commit: pygit2.Commit) -> State:
        """Return what a commit has at the wanted paths, in an order of our own."""
        try:
            return self._below(self._root, commit.tree)
        except ODD:  # an object is missing or damaged
            return (NOTHING,) * self.count

    def _below(self, at: _Directory, tree: pygit2.Object | None) -> State:
        if not isinstance(tree, pygit2.Tree):
            return (NOTHING,) * at.count
        key = (id(at), tree.id)
        known = self._known.get(key)
        if known is None:
            found = [_blob(tree, name, prefix) for name, prefix in at.files.items()]
            for name, inner in at.inner.items():
                found += self._below(inner, _entry(tree, name))
            known = self._known[key] = tuple(found)
        return known

    def has_all(self, state: State) -> bool:
        """Tell whether all blobs are the wanted ones."""
        return right(state) == self.count


def right(state: State) -> int:
    """Return how many blobs are the wanted ones."""
    return sum(fits for _, fits in state)


def _entry(tree: pygit2.Tree, name: str) -> pygit2.Object | None:
    try:
        return tree[name]
    except ODD:
        return None


def _blob(tree: pygit2.Tree, name: str, prefix: str) -> tuple[pygit2.Oid | None, bool]:
    found = _entry(tree, name)
    if not isinstance(found, pygit2.Blob):
        return NOTHING
    return found.id, str(found.id).startswith(prefix)
