"""A repository as large as the kernel's, and how long it takes to find a base in it.

80,000 files in 4,420 directories, 100,000 commits of which a fifth came by merges; made by
`git fast-import`, kept below the cache and used again.
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pygit2

from bot.review import lookup
from bot.review.blobs import SHORTEST, PreImage
from bot.review.history import Clock
from bot.settings import load as load_settings

Say = Callable[[str, float, float, str], None]
TOP, MIDDLE, LOW, FILES = 20, 20, 10, 20  # directories in directories, files in each
COMMITS = 100_000
EVERY, BRANCH = 100, 20  # commits from one merge to the next, and how many of them it brings
START = 1_500_000_000  # seconds; the first commit
LIMIT, LONGEST = 2.0, 60.0  # seconds: what is promised, and after which the bench gives up
RUNS = 3
HOT, HALF = 400, 0.5  # files to which half of all changes go


def names() -> list[str]:
    """Return the paths of all files."""
    return [
        f"d{top:02}/s{middle:02}/m{low}/file{number:02}.c"
        for top in range(TOP) for middle in range(MIDDLE)
        for low in range(LOW) for number in range(FILES)
    ]  # fmt: skip


def _data(text: str) -> str:
    return f"data {len(text)}\n{text}\n"


def _content(path: str, state: int) -> str:
    return f"/* {path} */\nint state = {state};\n" + "int line;\n" * 12


def _commit(ref: str, number: int, mark: int, parents: tuple[int, ...]) -> str:
    who = f"A. Author <author@example.org> {START + 60 * number} +0000"
    lines = [f"commit {ref}", f"mark :{mark}", f"author {who}", f"committer {who}"]
    head = "\n".join(lines) + "\n" + _data(f"area: change {number}\n\n" + "Why it is so.\n" * 20)
    words = ("from", *("merge" for _ in parents[1:]))
    return head + "".join(f"{w} :{p}\n" for w, p in zip(words, parents, strict=False))


def _change(path: str, state: int) -> str:
    return f"M 100644 inline {path}\n{_data(_content(path, state))}"


def _some(chance: random.Random, paths: list[str]) -> list[str]:
    """Return the paths that a commit changes: one, two or three, half of them often changed."""
    few = range(chance.choice((1, 1, 1, 2, 3)))
    among = [HOT if chance.random() < HALF else len(paths) for _ in few]
    return sorted({paths[chance.randrange(size)] for size in among})


def stream(commits: int) -> Iterator[str]:
    """Yield what `git fast-import` reads: the same for the same number of commits."""
    chance, paths = random.Random(5), names()  # noqa: S311 - not for secrets
    yield _commit("refs/heads/master", 0, 1, ())
    for path in paths:
        yield _change(path, 0)
    main, side = 1, 0  # marks of the latest commits
    brought: dict[str, int] = {}  # by the topic: path → state
    for number in range(1, commits):
        mark, turn = number + 1, number % EVERY
        if turn == 0 and side:
            yield _commit("refs/heads/master", number, mark, (main, side))
            yield from (_change(path, state) for path, state in brought.items())
            main, side, brought = mark, 0, {}
            continue
        on_side = turn > EVERY - BRANCH
        ref = f"refs/heads/{'topic' if on_side else 'master'}"
        yield _commit(ref, number, mark, ((side or main) if on_side else main,))
        for path in _some(chance, paths):
            yield _change(path, number)
            if on_side:
                brought[path] = number
        main, side = (main, mark) if on_side else (mark, side)
    yield "reset refs/heads/topic\nfrom 0000000000000000000000000000000000000000\n\n"


def make(path: Path, commits: int = COMMITS) -> Path:
    """Make the repository, unless it is there."""
    if (path / "made").exists():
        return path
    shutil.rmtree(path, ignore_errors=True)  # of a run that was killed
    path.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "master", path], check=True)  # noqa: S607
    with subprocess.Popen(
        ["git", "-C", path, "fast-import", "--quiet"], stdin=subprocess.PIPE, text=True  # noqa: S607
    ) as child:  # fmt: skip
        assert child.stdin is not None
        for part in stream(commits):
            child.stdin.write(part)
    assert child.returncode == 0
    (path / "made").touch()
    return path


def _blob(tree: pygit2.Tree, path: str) -> PreImage:
    return PreImage(path, str(tree[path].id)[:SHORTEST])


def _diff(wanted: list[PreImage]) -> bytes:
    """Return a diff that starts from these blobs."""
    lines = (
        f"diff --git a/{one.path} b/{one.path}\nindex {one.prefix}..fffffff 100644\n"
        f"--- a/{one.path}\n+++ b/{one.path}\n@@ -1 +1 @@\n-a\n+b\n"
        for one in wanted
    )
    return "".join(lines).encode()


def cases(repository: pygit2.Repository) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the diff of each search that is timed."""
    paths = names()
    trees = {
        back: repository.revparse_single(f"master~{back}").peel(pygit2.Tree)
        for back in (0, 1000, 40_000, 80_000)
    }
    for back, tree in sorted(trees.items()):
        yield f"5 files, {back} commits back", _diff([_blob(tree, p) for p in paths[:5]])
    for count in (2, 20, 80):
        new, old = paths[: count // 2], paths[count // 2 : count]
        mixed = [_blob(trees[0], p) for p in new] + [_blob(trees[40_000], p) for p in old]
        yield f"{count} files, in no commit at once", _diff(mixed)


def run(say: Say) -> None:
    """Time how long it takes to find the commit that a series starts from, at its worst."""
    path = make(load_settings().cache / "bench" / "bigtree.git")
    for name, diff in cases(pygit2.Repository(str(path))):
        seconds = []
        for _ in range(RUNS):
            repository = pygit2.Repository(str(path))  # nothing of it is in memory yet
            head = str(repository.head.target)
            began = time.monotonic()
            place = lookup.Place("bigtree", repository, head)
            found = list(lookup.find([diff], [place], Clock(began + LONGEST), LONGEST))
            seconds.append(time.monotonic() - began)
        detail = f"{(found[-1][1] or 'none')[:12]}, {found[-1][2]}"
        say(f"base by blobs, {name}, seconds", statistics.median(seconds), LIMIT, detail)
