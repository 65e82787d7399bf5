"""Puts the patches of a series on a base, as real commits in a scratch repository.

Four ways are tried in turn, and the one that worked is recorded:

1. libgit2, exactly, on an index of only the touched files (libgit2's apply.c does not
   search for offsets);
2. libgit2's three-way merge, when the blobs that the diff's ``index`` lines name are there;
3. ``git apply --cached`` on a temporary index, which searches for offsets;
4. ``git am -3`` on the whole tree, which also follows renames.

The scratch repository borrows the tree's objects (objects/info/alternates), so that
nothing of a patch ever gets into the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import format_datetime, formataddr
from pathlib import Path

import pygit2
from pygit2 import Diff, IndexEntry, Oid, Repository
from pygit2.enums import ApplyLocation, FileMode

from bot.contract import Apply, Misfit, PatchText, TheirsError
from workers import git, trees
from workers.config import WorkerConfig

Files = dict[str, tuple[int, Oid] | None]  # path → (mode, blob); None: there is no such file
CONTEXT = 12  # lines shown of a hunk that does not fit
AM_SECONDS = 300
SHORTEST_ID = 7  # hex digits that git abbreviates an id to


class PatchMisfitError(TheirsError):
    """A patch does not apply; carries which, where, and what stands there instead."""

    def __init__(self, misfit: Misfit) -> None:
        self.misfit = misfit
        super().__init__(f"patch {misfit.index} does not apply: {misfit.reason}")


class ForeignSeriesError(TheirsError):
    """A series for another project: none of its files exists here."""


@dataclass(frozen=True)
class Applied:
    """A patch that is a commit now."""

    index: int
    commit: str
    how: Apply


@dataclass(frozen=True)
class AppliedSeries:
    """All patches of a series as commits in a scratch repository."""

    scratch: Path
    base: str
    patches: tuple[Applied, ...]

    def touched(self) -> tuple[str, ...]:
        """Return the paths that exist after the last patch and differ from the base, sorted."""
        return tuple(sorted(path for path, file in self._changes(self.base, -1).items() if file))

    def write(self, number: int, into: Path, *, whole: bool = False) -> tuple[str, ...]:
        """Write what patch ``number`` (from 0) changes below ``into``, an overlay's upper layer.

        With ``whole``, what all patches up to it change. Returns the paths of the base that
        no longer exist after this patch.
        """
        repository = Repository(str(self.scratch))
        before = self.patches[number - 1].commit if number and not whole else self.base
        for path, file in sorted(self._changes(before, number).items()):
            target = into / path
            if target.is_symlink() or target.exists() or target.parent.exists():
                target.unlink(missing_ok=True)  # an older content, or an overlay's whiteout
            if file is not None:
                mode, blob = file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(_blob(repository, blob))
                target.chmod(0o755 if mode == FileMode.BLOB_EXECUTABLE else 0o644)
        gone = self._changes(self.base, number)
        return tuple(sorted(path for path, file in gone.items() if file is None))

    def _changes(self, before: str, number: int) -> Files:
        repository = Repository(str(self.scratch))
        old, new = (
            repository[commit].peel(pygit2.Tree) for commit in (before, self.patches[number].commit)
        )
        found: Files = {}
        for delta in old.diff_to_tree(new).deltas:
            found.setdefault(delta.old_file.path, None)
            if delta.status_char() != "D":
                found[delta.new_file.path] = (delta.new_file.mode, delta.new_file.id)
        return found


def _blob(repository: Repository, oid: Oid) -> bytes:
    found = repository[oid]
    assert isinstance(found, pygit2.Blob)  # noqa: S101 - entries that are no trees are blobs
    return found.data


def apply_series(
    config: WorkerConfig, tree: str, base: str, patches: Sequence[PatchText], scratch: Path
) -> AppliedSeries:
    """Apply checked patches one on the other; ``scratch`` is where the repository is made.

    Raises PatchMisfitError for the first that does not apply, ForeignSeriesError.
    """
    repository = _scratch_repository(trees.repository(config, tree), scratch)
    parent = repository[base].peel(pygit2.Commit)
    _check_project(parent, tree, patches)
    applied = []
    for patch in patches:
        new_tree, how = _apply(repository, parent, patch)
        commit = _commit(repository, parent, patch, new_tree)
        applied.append(Applied(patch.index, str(commit), how))
        parent = repository[commit].peel(pygit2.Commit)
    return AppliedSeries(scratch, base, tuple(applied))


def _scratch_repository(tree: Path, scratch: Path) -> Repository:
    repository = pygit2.init_repository(str(scratch), bare=False)
    alternates = scratch / ".git" / "objects" / "info" / "alternates"
    alternates.parent.mkdir(parents=True, exist_ok=True)
    alternates.write_text(f"{tree / 'objects'}\n")
    repository.free()
    return Repository(str(scratch))


def _check_project(base: pygit2.Commit, tree: str, patches: Sequence[PatchText]) -> None:
    old, seen = set[str](), False
    for patch in patches:
        for delta in Diff.parse_diff(patch.diff).deltas:
            if delta.status_char() != "A" and delta.old_file.path not in old:
                seen = seen or _entry(base.tree, delta.old_file.path) is not None
            old.add(delta.new_file.path)
            old.add(delta.old_file.path)
    changed = any(d.status_char() != "A" for p in patches for d in Diff.parse_diff(p.diff).deltas)
    if changed and not seen:
        raise ForeignSeriesError(
            f"the series is for another project: none of its {len(old)} files exists in tree "
            f"{tree}; add the right one with `stackhog tree add` and name it with --tree"
        )


def _entry(tree: pygit2.Tree, path: str) -> tuple[int, Oid] | None:
    try:
        found = tree[path]
    except KeyError:
        return None
    return (int(found.filemode), found.id) if isinstance(found, pygit2.Blob) else None


def _apply(repository: Repository, parent: pygit2.Commit, patch: PatchText) -> tuple[Oid, Apply]:
    diff = Diff.parse_diff(patch.diff)
    paths = sorted({side.path for d in diff.deltas for side in (d.old_file, d.new_file)})
    before: Files = {path: _entry(parent.tree, path) for path in paths}
    for way, attempt in (
        (Apply.EXACT, _exact),
        (Apply.THREE_WAY, _three_way),
        (Apply.OFFSET, _offset),
    ):
        after = attempt(repository, before, patch, diff)
        if after is not None:
            return _with_files(repository, parent.tree, after), way
    merged = _am(repository, parent, patch)
    if merged is not None:
        return merged, Apply.AM
    raise PatchMisfitError(_misfit(repository, before, patch, diff))


def _mini_tree(repository: Repository, files: Files) -> Oid:
    """Return a tree of only these files."""
    index = pygit2.Index()
    for path, file in sorted(files.items()):
        if file is not None:
            index.add(IndexEntry(path, file[1], FileMode(file[0])))
    return index.write_tree(repository)


def _files(repository: Repository, tree: Oid, paths: Sequence[str]) -> Files:
    found = repository[tree].peel(pygit2.Tree)
    return {path: _entry(found, path) for path in paths}


# the three ways by libgit2 or an index have one signature; each takes what it needs
def _exact(repository: Repository, before: Files, _: PatchText, diff: Diff) -> Files | None:
    if any(d.status_char() == "A" and before[d.new_file.path] for d in diff.deltas):
        return None  # libgit2 would write over the file
    index = repository.index
    index.clear()
    for path, file in sorted(before.items()):
        if file is not None:
            index.add(IndexEntry(path, file[1], FileMode(file[0])))
    index.write()
    try:
        repository.apply(diff, ApplyLocation.INDEX)
    except (pygit2.GitError, KeyError, ValueError):
        return None
    index.read(force=True)
    return _files(repository, index.write_tree(), sorted(before))


def _pre_image(repository: Repository, oid: str) -> pygit2.Blob | None:
    """Return the blob an ``index`` line names; libgit2 pads an abbreviated id with zeros."""
    short = oid.rstrip("0").ljust(SHORTEST_ID, "0")
    try:
        found = repository.get(short)
    except ValueError:  # ambiguous
        return None
    return found if isinstance(found, pygit2.Blob) else None


def _three_way(repository: Repository, before: Files, patch: PatchText, diff: Diff) -> Files | None:
    ancestor: Files = dict.fromkeys(before)
    for delta in diff.deltas:
        if delta.status_char() == "A":
            continue
        blob = _pre_image(repository, str(delta.old_file.id))
        if blob is None:
            return None
        known = before[delta.old_file.path]
        mode = known[0] if known else int(FileMode.BLOB)
        ancestor[delta.old_file.path] = (mode, blob.id)
    theirs = _exact(repository, ancestor, patch, diff)
    if theirs is None:
        return None
    old, ours, new = (_mini_tree(repository, files) for files in (ancestor, before, theirs))
    merged = repository.merge_trees(old, ours, new)
    if merged.conflicts is not None:
        return None
    after = _files(repository, merged.write_tree(repository), sorted(before))
    return None if after == before else after  # equal: the base has the change already


def _offset(repository: Repository, before: Files, patch: PatchText, _: Diff) -> Files | None:
    top = Path(repository.workdir)
    env = {"GIT_INDEX_FILE": str(top / ".git" / "offset-index")}
    git.check("read-tree", str(_mini_tree(repository, before)), cwd=top, env=env)
    words = ("apply", "--cached", "--whitespace=nowarn", "-")
    done = git.run(*words, cwd=top, env=env, stdin=patch.diff)
    if done.status != 0:
        return None
    tree = git.check("write-tree", cwd=top, env=env).decode().strip()
    return _files(repository, Oid(hex=tree), sorted(before))


def _am(repository: Repository, parent: pygit2.Commit, patch: PatchText) -> Oid | None:
    top = Path(repository.workdir)
    author = formataddr((patch.author_name, patch.author_email))
    head = f"From: {author}\nDate: {format_datetime(patch.date)}\nSubject: [PATCH] x\n\n---\n\n"
    git.check("update-ref", "--no-deref", "HEAD", str(parent.id), cwd=top)
    git.check("read-tree", str(parent.id), cwd=top)
    mail = head.encode(errors="replace") + patch.diff
    done = git.run("am", "-3", "--quiet", "--keep-cr", cwd=top, stdin=mail, timeout=AM_SECONDS)
    if done.status != 0:
        git.run("am", "--quit", cwd=top)
        return None
    tree = git.check("rev-parse", "HEAD^{tree}", cwd=top).decode().strip()
    return None if tree == str(parent.tree_id) else Oid(hex=tree)


def _with_files(repository: Repository, tree: pygit2.Tree | None, files: Files) -> Oid:
    """Return the tree with these files put in or taken out; only their directories are written."""
    builder = repository.TreeBuilder(tree) if tree else repository.TreeBuilder()
    below: dict[str, Files] = {}
    for path, file in sorted(files.items()):
        name, slash, rest = path.partition("/")
        if slash:
            below.setdefault(name, {})[rest] = file
        elif file is not None:
            builder.insert(name, file[1], FileMode(file[0]))
        elif builder.get(name) is not None:
            builder.remove(name)
    for name, inner in sorted(below.items()):
        known = builder.get(name)
        made = _with_files(repository, known if isinstance(known, pygit2.Tree) else None, inner)
        if len(repository[made].peel(pygit2.Tree)):
            builder.insert(name, made, FileMode.TREE)
        elif known is not None:
            builder.remove(name)
    return builder.write()


def _commit(repository: Repository, parent: pygit2.Commit, patch: PatchText, tree: Oid) -> Oid:
    """Commit with the author's name and date, which is the committer's date too: ids repeat."""
    when = int(patch.date.timestamp())
    zone = patch.date.utcoffset()
    minutes = int(zone.total_seconds() // 60) if zone else 0
    name = "".join(c for c in patch.author_name if c.isprintable() and c not in "<>") or "unknown"
    email = (
        "".join(c for c in patch.author_email if c.isprintable() and c not in "<> ") or "unknown"
    )
    author = pygit2.Signature(name, email, when, minutes, "utf-8")
    committer = pygit2.Signature(git.NAME, git.EMAIL, when, minutes, "utf-8")
    message = f"{patch.subject}\n\n{patch.message.strip()}\n".replace("\0", "")
    return repository.create_commit(None, author, committer, message, tree, [parent.id])


def _misfit(repository: Repository, before: Files, patch: PatchText, diff: Diff) -> Misfit:
    """Find the first file and hunk that does not fit, and what stands in its place."""
    for one in diff:
        if one is None:
            continue
        delta = one.delta
        old = before[delta.old_file.path]
        if delta.status_char() == "A":
            if before[delta.new_file.path] is not None:
                reason = f"{delta.new_file.path} exists already"
                return _no_place(patch, delta.new_file.path, reason)
            continue
        if old is None:
            return _no_place(patch, delta.old_file.path, f"{delta.old_file.path} does not exist")
        lines = _blob(repository, old[1]).splitlines()
        found = _misfit_hunk(one, lines)
        if found is not None:
            number, line, expected, there = found
            return Misfit(
                index=patch.index, file=delta.old_file.path, hunk=number, line=line,
                expected=_text(expected), found=_text(there),
                reason=f"hunk {number} of {delta.old_file.path} does not match at line {line}",
            )  # fmt: skip
    return _no_place(patch, None, "its hunks fit one by one, but not together")


def _no_place(patch: PatchText, file: str | None, reason: str) -> Misfit:
    return Misfit(
        index=patch.index, file=file, hunk=None, line=None, expected=(), found=(), reason=reason
    )


def _misfit_hunk(
    patch: pygit2.Patch, lines: Sequence[bytes]
) -> tuple[int, int, list[bytes], Sequence[bytes]] | None:
    shift = 0
    for number, hunk in enumerate(patch.hunks, 1):
        wanted = [line.raw_content.rstrip(b"\r\n") for line in hunk.lines if line.origin in " -"]
        place = _nearest(lines, wanted, hunk.old_start - 1 + shift)
        if place is None:
            start = max(0, hunk.old_start - 1 + shift)
            return number, start + 1, wanted, lines[start : start + len(wanted)]
        shift = place - (hunk.old_start - 1)
    return None


def _nearest(lines: Sequence[bytes], wanted: Sequence[bytes], near: int) -> int | None:
    """Return where ``wanted`` stands in ``lines``, as near to ``near`` as there is."""
    size = len(wanted)
    places = [n for n in range(len(lines) - size + 1) if list(lines[n : n + size]) == list(wanted)]
    return min(places, key=lambda n: (abs(n - near), n), default=None)


def _text(lines: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(line.decode(errors="replace") for line in lines[:CONTEXT])
