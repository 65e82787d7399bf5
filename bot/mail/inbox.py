"""public-inbox v2 repositories: git, one mail a commit (public-inbox-v2-format(5)).

Each commit's tree holds the mail in a file ``m``; a file ``d`` in its place takes the
mail with the same content back. What public-inbox-purge removed is an empty file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType, RepositoryOpenFlag, SortMode

from bot.mail.refusal import NotMailError, left_out

OFTEN = 1000  # commits after which libgit2 forgets those it has read; it keeps up to 256 MiB
OLDER = 100  # commits in a row that are too old: then all are; times are not quite in order
ID = 20  # bytes of an object's id


def epochs(path: Path) -> tuple[Path, ...]:
    """Return the git repositories at a path, newest first: itself, or NAME/git/N.git."""
    if _is_repository(path):
        return (path,)
    numbered = [one for one in (path / "git").glob("*.git") if one.stem.isdecimal()]
    found = sorted(numbered, key=lambda one: int(one.stem), reverse=True)
    return tuple(one for one in found if _is_repository(one))


def _is_repository(path: Path) -> bool:
    # looked at by name, so that a directory deep within some other work tree is not one
    return any((path / name / "HEAD").is_file() for name in ("", ".git"))


def mails(path: Path, repositories: Sequence[Path], limit: int) -> Iterator[bytes]:
    """Yield the raw mails of all epochs, newest first; those above limit bytes are left out.

    Raises NotMailError when git cannot read a repository or it holds no mail.
    """
    taken_back: set[pygit2.Oid] = set()
    empty = True
    for repository in repositories:
        try:
            for mail in _epoch(repository, taken_back, limit):
                empty = False
                yield mail
        except (pygit2.GitError, KeyError) as error:
            raise NotMailError(
                repository, f"cannot be read by git ({error})", "run `git fsck` in it"
            ) from error
    if empty:
        raise NotMailError(
            path, "is a git repository without mail in it", "give a public-inbox v2 repository"
        )


def _epoch(path: Path, taken_back: set[pygit2.Oid], limit: int) -> Iterator[bytes]:
    repository = pygit2.Repository(str(path))
    if repository.is_empty or repository.head_is_unborn:
        return
    walk = repository.walk(repository.head.target, SortMode.TOPOLOGICAL)
    for number, commit in enumerate(walk):
        if number % OFTEN == 0:
            repository.free()
        for entry in commit.tree:
            if entry.type != ObjectType.BLOB:
                continue
            if entry.name == "d":
                taken_back.add(entry.id)
            elif entry.name == "m" and entry.id not in taken_back:
                size = repository.odb.read_header(entry.id)[1]
                if size > limit:
                    left_out(f"{path}: mail of commit {commit.id}", limit)
                elif size:
                    yield repository.odb.read(entry.id)[1]


def opened(path: Path) -> pygit2.Repository:
    """Open the repository at a path, not one above it. Raises GitError."""
    return pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH)


def head(repository: pygit2.Repository) -> pygit2.Oid | None:
    """Return the newest commit; None in an empty repository."""
    if repository.is_empty or repository.head_is_unborn:
        return None
    return pygit2.Oid(hex=str(repository.head.target))


class Unread:
    """The mails of one epoch that were not handed out yet: two ids of each, nothing else."""

    def __init__(self, path: Path, found: bytes) -> None:
        self._path, self._found = path, found

    def mails(self, limit: int) -> Iterator[tuple[bytes, str]]:
        """Yield each raw mail with its commit, oldest first; those above limit are left out.

        Raises GitError, KeyError, ValueError where the repository is damaged.
        """
        repository = opened(self._path)
        for place in range(len(self._found) - 2 * ID, -1, -2 * ID):
            commit = pygit2.Oid(raw=self._found[place : place + ID])
            mail = pygit2.Oid(raw=self._found[place + ID : place + 2 * ID])
            size = repository.odb.read_header(mail)[1]
            if size > limit:
                left_out(f"{self._path}: mail of commit {commit}", limit)
            elif size:
                yield repository.odb.read(mail)[1], str(commit)


def unread(
    path: Path, last: str | None, since: datetime | None, taken_back: set[pygit2.Oid]
) -> Unread:
    """Return what an epoch has above the last commit that was read; None: since a time.

    ``taken_back`` are the mails that newer epochs take back; those of this one are added. Where
    history was rewritten, by public-inbox-purge or -edit, the mails above the newest commit that
    is still there are new as far as the old history did not have them. Raises GitError,
    KeyError, ValueError.
    """
    repository = opened(path)
    newest = head(repository)
    found = bytearray()
    if newest is None or str(newest) == last:
        return Unread(path, b"")
    base = _still_there(repository, last, newest) if last else None
    known: AbstractSet[pygit2.Oid] = frozenset()
    if last and base and str(base) != last:
        old = _commits(repository, pygit2.Oid(hex=last), base, None)
        known = {entry.id for one in old for entry in one.tree if entry.name == "m"}
    for commit in _commits(repository, newest, base, None if last else since):
        for entry in commit.tree:
            if entry.type != ObjectType.BLOB:
                continue
            if entry.name == "d":
                taken_back.add(entry.id)
            elif entry.name == "m" and entry.id not in taken_back and entry.id not in known:
                found += commit.id.raw + entry.id.raw
    return Unread(path, bytes(found))


def _commits(
    repository: pygit2.Repository,
    newest: pygit2.Oid,
    above: pygit2.Oid | None,
    since: datetime | None,
) -> Iterator[pygit2.Commit]:
    """Yield the commits above another one, newest first, or those since a time."""
    walk = repository.walk(newest, SortMode.TOPOLOGICAL)
    if above is not None:
        walk.hide(above)
    oldest = since.timestamp() if since else None
    older = 0
    for number, commit in enumerate(walk):
        if number % OFTEN == 0:
            repository.free()
        if oldest is None or commit.commit_time >= oldest:
            older = 0
            yield commit
        elif older >= OLDER:
            return
        else:
            older += 1


def reaches(path: Path, since: datetime) -> bool:
    """Tell whether an epoch goes back beyond a time, so that no older one is needed.

    Raises GitError, KeyError, ValueError.
    """
    repository = opened(path)
    newest = head(repository)
    if newest is None:
        return False
    walk = repository.walk(newest, SortMode.TOPOLOGICAL)
    return sum(1 for one in walk if one.commit_time < since.timestamp()) > OLDER


def _still_there(repository: pygit2.Repository, last: str, newest: pygit2.Oid) -> pygit2.Oid | None:
    """Return the newest commit below the last one that was read that upstream still has."""
    try:
        known = pygit2.Oid(hex=last)
        return repository.merge_base(known, newest) if known in repository else None
    except ValueError:
        return None
