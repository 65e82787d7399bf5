"""public-inbox v2 repositories: git, one mail a commit (public-inbox-v2-format(5)).

Each commit's tree holds the mail in a file ``m``; a file ``d`` in its place takes the
mail with the same content back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType, SortMode

from bot.mail.refusal import NotMailError, left_out

OFTEN = 1000  # commits after which libgit2 forgets those it has read; it keeps up to 256 MiB


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
                if repository.odb.read_header(entry.id)[1] > limit:
                    left_out(f"{path}: mail of commit {commit.id}", limit)
                    continue
                yield repository.odb.read(entry.id)[1]
