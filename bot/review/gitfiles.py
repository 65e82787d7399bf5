"""Reads single files out of a kernel tree's git repository."""

from __future__ import annotations

from pathlib import Path

import pygit2

from bot.errors import OursError

LIMIT = 8 * 1024 * 1024  # bytes; MAINTAINERS has some 700 KiB


class RepositoryError(OursError):
    """A tree's repository cannot be read; carries its path."""

    def __init__(self, repository: Path, problem: str) -> None:
        self.repository = repository
        super().__init__(f"{repository} cannot be read ({problem}): repeat `stackhog tree add`")


def read(repository: Path, commit: str, path: str) -> bytes | None:
    """Return a file of a commit; None where there is no such file, or it is larger than LIMIT.

    ``commit`` is an id or a name. Raises RepositoryError.
    """
    try:
        found = pygit2.Repository(str(repository))
        blob = found.revparse_single(commit).peel(pygit2.Tree)[path]
    except (KeyError, ValueError):
        return None
    except pygit2.GitError as error:
        raise RepositoryError(repository, str(error)) from error
    whole = isinstance(blob, pygit2.Blob) and blob.size <= LIMIT
    return blob.data if whole and isinstance(blob, pygit2.Blob) else None
