"""Finds the commit a series is to be applied to; reads git only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pygit2

from bot.errors import TheirsError


class NoBaseError(TheirsError):
    """The base that was asked for is not in the tree."""


@dataclass(frozen=True)
class Base:
    """A commit and why it was taken."""

    commit: str
    reason: str


def find(repository: Path, asked: str | None, hinted: str | None) -> Base:
    """Return the base: what the user asked for, else the series' base-commit, else the head.

    Raises NoBaseError when the commit asked for is not there.
    """
    found = pygit2.Repository(str(repository))
    if asked:
        commit = _commit(found, asked)
        if commit is None:
            raise NoBaseError(
                f"{asked} is no commit in {repository.stem}: leave --base out to use its head, "
                "or update the tree with `stackhog tree add`"
            )
        return Base(commit, "asked for")
    if hinted:
        commit = _commit(found, hinted)
        if commit is not None:
            return Base(commit, "base-commit of the series")
    head = str(found.head.target)
    if hinted:
        return Base(head, f"head of the tree; the series' base-commit {hinted[:12]} is not in it")
    return Base(head, "head of the tree; the series names no base-commit")


def _commit(repository: pygit2.Repository, name: str) -> str | None:
    try:
        return str(repository.revparse_single(name).peel(pygit2.Commit).id)
    except (KeyError, ValueError, pygit2.GitError):
        return None
