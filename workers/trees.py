"""Kernel trees that may serve as a base: bare git repositories with a record beside each.

Nothing of a patch is ever written into them: series are applied in scratch
repositories that borrow a tree's objects (workers/apply.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pygit2
from pydantic import BaseModel, ConfigDict, ValidationError

from bot.contract import TheirsError
from workers import git, process
from workers.config import WorkerConfig
from workers.layers import discard
from workers.locks import locked

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SCHEMES = ("https://", "git://", "ssh://", "file://")
CLONE_SECONDS = 6 * 3600
Say = Callable[[str], None]


def ignore(_: str) -> None:
    """Say nothing."""


class TreeError(TheirsError):
    """A tree that is not there, cannot be had, or has a name that cannot be used."""


class Tree(BaseModel):
    """The record of a tree, in NAME.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str  # path, URL, or "debian:PACKAGE VERSION"
    head: str  # commit id
    when: datetime | None = None  # when it was added or brought up to date last


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


def add(config: WorkerConfig, name: str, where: str, say: Say, tell: Say = ignore) -> Tree:
    """Clone a repository as tree ``name``, or bring it up to date when it is there.

    ``say`` gets each step, ``tell`` how far it is, a few times a second.
    Raises TreeError.
    """
    check_name(name)
    is_url = where.startswith(SCHEMES)
    source = where if is_url else str(Path(where).absolute())
    if not is_url and not Path(source).is_dir():
        raise TreeError(f"there is no repository at {where}: give a path or an https:// URL")
    with locked(lock(config, name)):
        known = find(config, name)
        if known is not None and known.source != source:
            raise TreeError(f"tree {name} comes from {known.source}: choose another name")
        say(f"{'updating' if known else 'cloning'} {source}")
        if known is not None:
            _update(repository(config, name), source, tell)
        else:
            _clone(config, name, source, tell)
        return record(config, name, source)


def unfinished(config: WorkerConfig, name: str) -> Path:
    """Return where a tree is made before it gets its name; whoever asks holds the lock.

    What an earlier run that was killed left there is deleted.
    """
    fresh = config.trees / f".{name}.git"
    discard(fresh)
    return fresh


def finish(config: WorkerConfig, name: str, fresh: Path, source: str) -> None:
    """Give a tree that has a commit its name; without one, raise TreeError."""
    _head(fresh, source)
    discard(repository(config, name))  # of a run that was killed before it wrote the record
    fresh.rename(repository(config, name))


def _clone(config: WorkerConfig, name: str, source: str, tell: Say) -> None:
    fresh = unfinished(config, name)
    try:
        _git_reads(source, "clone", "--mirror", "--progress", source, str(fresh), tell=tell)
        finish(config, name, fresh, source)
    finally:
        discard(fresh)


def _update(path: Path, source: str, tell: Say) -> None:
    """Fetch everything, and follow the source's HEAD: its branch may have a new name."""
    inside = ("-C", str(path))
    words = ("fetch", "--prune", "--progress", "origin", "+refs/*:refs/*", "HEAD")
    _git_reads(source, *inside, *words, tell=tell)
    says = _git_reads(source, *inside, "ls-remote", "--symref", "origin", "HEAD").split()
    if says[:1] == ["ref:"]:
        git.check(*inside, "symbolic-ref", "HEAD", says[1])
    elif says:  # detached
        git.check(*inside, "update-ref", "--no-deref", "HEAD", says[0])


def _git_reads(source: str, *words: str, tell: Say = ignore) -> str:
    """Run git on somebody's repository and return what it prints; raises TreeError."""
    done = git.fetch(*words, timeout=CLONE_SECONDS, tell=tell)
    if done.status == 0:
        return done.output.decode(errors="replace")
    said = done.errors.decode(errors="replace").splitlines()
    # the first such line is the cause; advice follows
    fatal = next((line for line in said if line.startswith("fatal:")), *said[-1:])
    if "dubious ownership" in fatal:
        fatal = "it belongs to another user; run stackhog as that user, or give a copy of your own"
    raise TreeError(f"git cannot read {source}: {fatal.removeprefix('fatal: ')}")


def _head(path: Path, source: str) -> str:
    try:
        repository = pygit2.Repository(str(path))
        if not repository.head_is_unborn:
            return str(repository.head.target)
    except pygit2.GitError as error:
        raise TreeError(f"{source} cannot be used: {error}") from error
    raise TreeError(f"{source} has no commit to start from")


def record(config: WorkerConfig, name: str, source: str) -> Tree:
    """Write down where a tree comes from and what its head is.

    Raises TreeError when it has no commit.
    """
    head = _head(repository(config, name), source)
    when = datetime.now(UTC).replace(microsecond=0)
    tree = Tree(name=name, source=source, head=head, when=when)
    fresh = config.trees / f".{name}.json"
    fresh.write_text(tree.model_dump_json(indent=1) + "\n")
    fresh.rename(config.trees / f"{name}.json")
    return tree


def list_trees(config: WorkerConfig) -> tuple[Tree, ...]:
    """Return all trees, by name."""
    paths = sorted(config.trees.glob("[A-Za-z0-9]*.json")) if config.trees.is_dir() else []
    found = (find(config, path.name.removesuffix(".json")) for path in paths)
    return tuple(tree for tree in found if tree is not None)


def find(config: WorkerConfig, name: str) -> Tree | None:
    """Return a tree's record; None: there is no such tree, or not a whole one."""
    path = config.trees / f"{name}.json"
    if not path.exists() or not repository(config, name).is_dir():
        return None
    try:
        return Tree.model_validate_json(path.read_text())
    except ValidationError:
        return None


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


def tree_id(config: WorkerConfig, name: str, commit: str, scratch: Path | None = None) -> str:
    """Return the id of the git tree of a commit; equal files have equal ids.

    ``scratch`` is the git directory that has the commit, where the tree's own has not.
    Raises TreeError when the commit is not in the tree.
    """
    get(config, name)
    found = pygit2.Repository(str(scratch or repository(config, name))).get(commit)
    if not isinstance(found, pygit2.Commit):
        raise TreeError(
            f"commit {commit} is not in tree {name}: update it with `stackhog tree add`"
        )
    return str(found.tree_id)


def export(
    config: WorkerConfig, name: str, commit: str, into: Path, scratch: Path | None = None
) -> None:
    """Write all files of a commit below ``into``, readable by everybody, without .git.

    ``scratch`` is as in `tree_id`.
    """
    into.mkdir(parents=True)
    index = into.with_name(f"{into.name}.index")
    try:
        git.check(
            "-c", "checkout.workers=0", "--git-dir", str(scratch or repository(config, name)),
            "--work-tree", str(into), "read-tree", "--reset", "-u", commit,
            env={"GIT_INDEX_FILE": str(index)}, timeout=1800,
        )  # fmt: skip
    finally:
        index.unlink(missing_ok=True)
    process.check(["chmod", "-R", "u+rwX,go+rX,go-w", str(into)], timeout=300)
