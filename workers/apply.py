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
from pathlib import Path, PurePosixPath

import pygit2
from pygit2 import Diff, IndexEntry, Oid, Repository
from pygit2.enums import ApplyLocation, FileMode

from bot.contract import Apply, Misfit, PatchText, Refusal, TheirsError
from workers import git, misfit, trees, upper, vetting
from workers.config import WorkerConfig

Files = dict[str, tuple[int, Oid] | None]  # path → (mode, blob); None: there is no such file
AM_SECONDS = 300
SHORTEST_ID = 7  # hex digits that git abbreviates an id to
LATEST = (1 << 32) - 1  # seconds; pygit2 1.21 cuts a signature's time to 32 bits
PLAIN = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)
# git am wants a mail; only the tree it makes is used, so nothing of the author's is in it
AM_HEAD = f"From: {git.NAME} <{git.EMAIL}>\nSubject: [PATCH] x\n\n---\n\n".encode()


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
        files = {
            path: file and (file[0] == FileMode.BLOB_EXECUTABLE, _blob(repository, file[1]))
            for path, file in self._changes(before, number).items()
        }
        upper.write(into, files)
        return upper.removed(self._changes(self.base, number))

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

    Raises PatchMisfitError for the first that does not apply, PatchRefusedError for one
    that changes a symlink of the tree, ForeignSeriesError.
    """
    patches = tuple(vetting.taken(patch) for patch in patches)
    repository = _scratch_repository(trees.repository(config, tree), scratch)
    parent = repository[base].peel(pygit2.Commit)
    _check_project(parent.tree, tree, patches)
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


def _check_project(base: pygit2.Tree, tree: str, patches: Sequence[PatchText]) -> None:
    """Raise ForeignSeriesError when there are files to change and the base has none of them.

    Paths alone count: xfsprogs and e2fsprogs share whole files with the kernel.
    """
    made, missing = set[str](), set[str]()
    for patch in patches:
        for delta in Diff.parse_diff(patch.diff).deltas:
            old = delta.old_file
            if delta.status_char() != "A" and old.path not in made:
                if _entry(base, old.path):
                    return
                missing.add(old.path)
            made.add(delta.new_file.path)
    if missing:
        raise ForeignSeriesError(
            f"the series is for another project: none of its {len(missing)} files exists in tree "
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
    _refuse_links(patch, before)
    for way, attempt in (
        (Apply.EXACT, _exact),
        (Apply.THREE_WAY, _three_way),
        (Apply.OFFSET, _offset),
    ):
        after = attempt(repository, before, patch, diff)
        made = None if after is None else _with_files(repository, parent.tree, after)
        if made is not None:
            return made, way
    merged = _am(repository, parent, patch)
    if merged is not None:
        return merged, Apply.AM
    raise PatchMisfitError(_misfit(repository, parent.tree, before, patch, diff))


def _refuse_links(patch: PatchText, before: Files) -> None:
    """A diff without mode lines does not say that the file it changes is a symlink."""
    for path, file in sorted(before.items()):
        if file is not None and file[0] not in PLAIN:
            found = Refusal(index=patch.index, file=path, reason="it changes a symbolic link")
            raise vetting.PatchRefusedError(found)


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
    if _writes_over(before, diff) or _deletes_more(repository, before, diff):
        return None  # libgit2 would do it
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


def _writes_over(before: Files, diff: Diff) -> bool:
    """Tell whether a file would come where there is one that the patch does not take away."""
    gone = {d.old_file.path for d in diff.deltas if d.status_char() in "DR"}
    return any(
        d.status_char() in "ARC" and before[d.new_file.path] and d.new_file.path not in gone
        for d in diff.deltas
    )


def _deletes_more(repository: Repository, before: Files, diff: Diff) -> bool:
    """Tell whether a deleted file has lines that the patch does not delete."""
    return any(p and _left_over(repository, before, p) for p in diff)


def _left_over(repository: Repository, before: Files, patch: pygit2.Patch) -> bool:
    file = before[patch.delta.old_file.path]
    if file is None or patch.delta.status_char() != "D":
        return False
    lines = (line for hunk in patch.hunks for line in hunk.lines if line.origin == "-")
    return _blob(repository, file[1]) != b"".join(line.raw_content for line in lines)


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
    git.check("update-ref", "--no-deref", "HEAD", str(parent.id), cwd=top)
    git.check("read-tree", str(parent.id), cwd=top)
    done = git.run(
        "am", "-3", "--quiet", "--keep-cr", cwd=top, stdin=AM_HEAD + patch.diff, timeout=AM_SECONDS
    )
    if done.status != 0:
        git.run("am", "--quit", cwd=top)
        return None
    tree = git.check("rev-parse", "HEAD^{tree}", cwd=top).decode().strip()
    return None if tree == str(parent.tree_id) else Oid(hex=tree)


def _with_files(repository: Repository, tree: pygit2.Tree | None, files: Files) -> Oid | None:
    """Return the tree with these files put in or taken out; only their directories are written.

    None: a file is where a directory would have to be, or the other way round.
    """
    builder = repository.TreeBuilder(tree) if tree else repository.TreeBuilder()
    below: dict[str, Files] = {}
    for path, file in sorted(files.items()):
        name, slash, rest = path.partition("/")
        if slash:
            below.setdefault(name, {})[rest] = file
        elif file is None and isinstance(builder.get(name), pygit2.Blob):
            builder.remove(name)
    for name, inner in sorted(below.items()):
        if not _with_directory(repository, builder, name, inner):
            return None
    for name, file in sorted(files.items()):
        if file is not None and "/" not in name:
            if isinstance(builder.get(name), pygit2.Tree):
                return None
            builder.insert(name, file[1], FileMode(file[0]))
    return builder.write()


def _with_directory(
    repository: Repository, builder: pygit2.TreeBuilder, name: str, inner: Files
) -> bool:
    known = builder.get(name)
    if isinstance(known, pygit2.Blob):
        return not any(inner.values())  # nothing is there, and nothing is to be
    made = _with_files(repository, known if isinstance(known, pygit2.Tree) else None, inner)
    if made is None:
        return False
    if len(repository[made].peel(pygit2.Tree)):
        builder.insert(name, made, FileMode.TREE)
    elif isinstance(known, pygit2.Tree):
        builder.remove(name)
    return True


def _commit(repository: Repository, parent: pygit2.Commit, patch: PatchText, tree: Oid) -> Oid:
    """Commit with the author's name and date, which is the committer's date too: ids repeat."""
    when = min(max(int(patch.date.timestamp()), 0), LATEST)
    zone = patch.date.utcoffset()
    minutes = int(zone.total_seconds() // 60) if zone else 0
    name, email = git.identity(patch.author_name), git.identity(patch.author_email)
    author = pygit2.Signature(name, email, when, minutes, "utf-8")
    committer = pygit2.Signature(git.NAME, git.EMAIL, when, minutes, "utf-8")
    message = f"{patch.subject}\n\n{patch.message.strip()}\n".replace("\0", "")
    return repository.create_commit(None, author, committer, message, tree, [parent.id])


def _misfit(
    repository: Repository, tree: pygit2.Tree, before: Files, patch: PatchText, diff: Diff
) -> Misfit:
    """Find the first file and hunk that does not fit, and what stands in its place."""
    for one in diff:
        if one is None:
            continue
        place = _place(tree, before, one.delta)
        if place is not None:
            return misfit.of_file(patch.index, *place)
        name = one.delta.old_file.path
        old = before[name]
        if old is None:
            continue
        lines = _blob(repository, old[1]).splitlines()
        hunks = [
            misfit.hunk(h.old_start, [(x.origin, x.raw_content) for x in h.lines])
            for h in one.hunks
        ]
        found = misfit.of_hunks(patch.index, name, lines, hunks)
        if found is not None:
            return found
        if _left_over(repository, before, one):
            return misfit.of_file(patch.index, name, f"{name} has lines that it does not delete")
    return misfit.of_file(patch.index, None, "its hunks fit one by one, but not together")


def _place(tree: pygit2.Tree, before: Files, delta: pygit2.DiffDelta) -> tuple[str, str] | None:
    """Return which file cannot be where the patch wants it, and why; None: all can."""
    status, old, new = delta.status_char(), delta.old_file.path, delta.new_file.path
    if status != "A" and before[old] is None:
        return old, f"{old} does not exist"
    if status not in "ARC":
        return None
    if before[new] is not None:
        return new, f"{new} exists already"
    for above in PurePosixPath(new).parents:
        if _entry(tree, str(above)) is not None:
            return new, f"{above} is a file, so {new} cannot be made"
    return (new, f"{new} is a directory") if new in tree else None
