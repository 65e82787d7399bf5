"""Kernel trees that may serve as a base: bare git repositories with a record beside each.

Nothing of a patch is ever written into them: series are applied in scratch
repositories that borrow a tree's objects (workers/apply.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pygit2
from pydantic import BaseModel, ConfigDict

from bot.contract import TheirsError
from workers import git, process
from workers.config import WorkerConfig
from workers.layers import discard, locked

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SCHEMES = ("https://", "git://", "ssh://", "file://")
CLONE_SECONDS = 6 * 3600
Say = Callable[[str], None]


class TreeError(TheirsError):
    """A tree that is not there, cannot be had, or has a name that cannot be used."""


class Tree(BaseModel):
    """The record of a tree, in NAME.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str  # path, URL, or "debian:PACKAGE VERSION"
    head: str  # commit id


def check_name(name: str) -> None:
    """Raise TreeError unless ``name`` can be a file name everywhere."""
    if not NAME.fullmatch(name) or name.endswith(".git"):
        raise TreeError(f"{name!r} cannot name a tree: use letters, digits, '.', '_' and '-'")


def repository(config: WorkerConfig, name: str) -> Path:
    """Return the path of a tree's repository, present or not."""
    return config.trees / f"{name}.git"


def lock(config: WorkerConfig, name: str) -> Path:
    """Return the lock that whoever changes a tree holds."""
    return config.trees / f"{name}.lock"


def add(config: WorkerConfig, name: str, where: str, say: Say) -> Tree:
    """Clone a repository as tree ``name``, or bring it up to date when it is there.

    Raises TreeError.
    """
    check_name(name)
    is_url = where.startswith(SCHEMES)
    source = where if is_url else str(Path(where).absolute())
    if not is_url and not Path(source).is_dir():
        raise TreeError(f"there is no repository at {where}: give a path or an https:// URL")
    with locked(lock(config, name)):
        path = repository(config, name)
        known = find(config, name)
        if known is not None and known.source != source:
            raise TreeError(f"tree {name} comes from {known.source}: choose another name")
        say(f"{'updating' if known else 'cloning'} {source}")
        if known is not None:
            done = git.run("-C", str(path), "fetch", "--prune", "origin", timeout=CLONE_SECONDS)
        else:
            done = _clone(config, path, source)
        if done.status != 0:
            raise TreeError(f"git cannot read {where}: {done.tail(1)[0] if done.tail(1) else ''}")
        return record(config, name, source)


def _clone(config: WorkerConfig, path: Path, source: str) -> process.Finished:
    fresh = config.trees / f".{uuid4().hex}.git"
    try:
        done = git.run("clone", "--mirror", "--quiet", source, str(fresh), timeout=CLONE_SECONDS)
        if done.status == 0:
            fresh.rename(path)
        return done
    finally:
        discard(fresh)


def record(config: WorkerConfig, name: str, source: str) -> Tree:
    """Write down where a tree comes from and what its head is.

    Raises TreeError when it has no commit.
    """
    try:
        head = str(pygit2.Repository(str(repository(config, name))).head.target)
    except pygit2.GitError as error:
        discard(repository(config, name))
        raise TreeError(f"{source} has no commit to start from") from error
    tree = Tree(name=name, source=source, head=head)
    fresh = config.trees / f".{uuid4().hex}.json"
    fresh.write_text(tree.model_dump_json(indent=1) + "\n")
    fresh.rename(config.trees / f"{name}.json")
    return tree


def list_trees(config: WorkerConfig) -> tuple[Tree, ...]:
    """Return all trees, by name."""
    paths = sorted(config.trees.glob("[A-Za-z0-9]*.json")) if config.trees.is_dir() else []
    return tuple(Tree.model_validate_json(path.read_text()) for path in paths)


def find(config: WorkerConfig, name: str) -> Tree | None:
    """Return a tree's record; None: there is no such tree."""
    path = config.trees / f"{name}.json"
    return Tree.model_validate_json(path.read_text()) if path.exists() else None


def get(config: WorkerConfig, name: str) -> Tree:
    """Return a tree's record.

    Raises TreeError naming the trees there are and how to add one.
    """
    check_name(name)
    found = find(config, name)
    if found is None:
        names = ", ".join(tree.name for tree in list_trees(config)) or "none"
        raise TreeError(
            f"there is no tree {name} (there are: {names}): add it with "
            f"`stackhog tree add {name} PATH-OR-URL`"
        )
    return found


def tree_id(config: WorkerConfig, name: str, commit: str) -> str:
    """Return the id of the git tree of a commit; equal files have equal ids.

    Raises TreeError when the commit is not in the tree.
    """
    get(config, name)
    found = pygit2.Repository(str(repository(config, name))).get(commit)
    if not isinstance(found, pygit2.Commit):
        raise TreeError(
            f"commit {commit} is not in tree {name}: update it with `stackhog tree add`"
        )
    return str(found.tree_id)


def export(config: WorkerConfig, name: str, commit: str, into: Path) -> None:
    """Write all files of a commit below ``into``, readable by everybody, without .git."""
    into.mkdir(parents=True)
    index = into.with_name(f"{into.name}.index")
    git.check(
        "-c", "checkout.workers=0", "--git-dir", str(repository(config, name)),
        "--work-tree", str(into), "read-tree", "--reset", "-u", commit,
        env={"GIT_INDEX_FILE": str(index)}, timeout=1800,
    )  # fmt: skip
    index.unlink()
    process.check(["chmod", "-R", "u+rwX,go+rX,go-w", str(into)], timeout=300)
