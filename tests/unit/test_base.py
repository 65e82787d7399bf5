"""Where a base is looked for, in which order, and what is told of it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pygit2
import pytest

from bot.contract import BuildRequest
from bot.mail.message import parse
from bot.mail.series import Series, assemble
from bot.review import base as bases
from bot.review import lookup, plan
from bot.review.base import Attempt, Base, Candidate, NoBaseError, Wish
from bot.review.blobs import MOST, Looker, PreImage, absent, pre_images
from bot.review.hints import How, same_place
from bot.review.history import STRIDE, Clock, Search, StoppedError
from bot.review.prerequisites import Prerequisites
from bot.settings import Settings
from policies.kernels import load as load_kernel
from policies.trees import load
from tests.gitmail import Repo, texts

POLICY = load()
LINES = "".join(f"line {number}\n" for number in range(20))
NEVER = Clock(float("inf"))


def edited(number: int, word: str = "changed") -> str:
    return LINES.replace(f"line {number}\n", f"line {number}, {word}\n")


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    found = Repo(tmp_path / "repo")
    found.commit("base", {"mm/a.c": LINES, "fs/b.c": LINES, "lib/c.c": LINES})
    return found


def head(repo: Repo) -> str:
    return repo.git("rev-parse", "HEAD").strip()


def series_of(mails: Iterable[bytes]) -> Series:
    (found,) = assemble(parse(mail) for mail in mails)
    return found


def posted(repo: Repo, *options: str, **changes: object) -> Series:
    """Return a series of two patches that is not in the repository any more."""
    before = head(repo)
    repo.commit("mm: one", {"mm/a.c": edited(3)})
    repo.commit("mm: two", {"mm/a.c": edited(3, "again"), "fs/b.c": edited(4), "new.c": "x\n"})
    made = series_of(repo.mails(before, *options))
    repo.git("reset", "--quiet", "--hard", before)
    return replace(made, **changes)  # type: ignore[arg-type]


def candidate(repo: Repo, name: str = "mine", source: str = "") -> Candidate:
    return Candidate(name, repo.path / ".git", head(repo), source)


def clone(repo: Repo, into: Path) -> Repo:
    repo.git("clone", "--quiet", str(repo.path), str(into))
    return Repo(into)


def find(
    series: Series, *candidates: Candidate, asked: str | None = None, configured: str = "mine",
    sources: Sequence[str] = (), seconds: float = 60, needed: Prerequisites | None = None,
) -> Base:  # fmt: skip
    wish = Wish(configured, POLICY, asked, tuple(sources), needed or Prerequisites(), seconds)
    return bases.find(series, candidates, wish)


def told(base: Base) -> list[tuple[str, str, bool]]:
    return [(one.tree, one.how.value, one.commit is not None) for one in base.attempts]


def grow(repo: Repo, commits: int, name: str = "lib/c.c") -> None:
    for number in range(commits):
        repo.commit(f"lib: {number}", {name: f"{number}\n"})


def test_what_was_asked_for_comes_first_and_may_be_a_commit_a_tag_or_a_tree(repo: Repo) -> None:
    old = head(repo)
    series = posted(repo, base_commit=old)
    repo.git("tag", "v6.1")
    grow(repo, 2)
    new = head(repo)
    for asked, commit in ((old, old), (old[:10], old), ("v6.1", old), ("v6.1^0", old),
                          ("mine", new), ("master", new)):  # fmt: skip
        found = find(series, candidate(repo), asked=asked)
        assert (found.tree, found.commit) == ("mine", commit)
        assert found.reason.startswith("asked for")
        assert told(found) == [("mine", "asked", True)]


def test_what_was_asked_for_is_looked_for_in_all_trees(repo: Repo, tmp_path: Path) -> None:
    other = clone(repo, tmp_path / "other")
    commit = other.commit("only here", {"x": "y\n"})
    found = find(posted(repo), candidate(repo), candidate(other, "other"), asked=commit)
    assert (found.tree, found.commit) == ("other", commit)
    assert told(found) == [("mine", "asked", False), ("other", "asked", True)]


@pytest.mark.parametrize(
    "asked", ["v9.9", ":/base", "HEAD^{/base}", "@{-1}", "HEAD:mm/a.c", "-x", "", "a" * 300, "a\0b"]
)
def test_what_is_not_there_or_would_be_searched_for_is_no_base(repo: Repo, asked: str) -> None:
    if not asked:
        assert find(posted(repo), candidate(repo), asked=asked).commit == head(repo)
        return
    with pytest.raises(NoBaseError, match="is no commit in mine: leave --base out"):
        find(posted(repo), candidate(repo), asked=asked)


def test_the_base_commit_is_taken_from_whichever_tree_has_it(repo: Repo, tmp_path: Path) -> None:
    other = clone(repo, tmp_path / "other")
    grow(other, 1)
    wanted = head(other)
    grow(other, 1)
    found = find(posted(repo, base_commit=wanted), candidate(repo), candidate(other, "other"))
    assert (found.tree, found.commit, found.reason) == (
        "other", wanted, "base-commit of the series",
    )  # fmt: skip
    assert told(found) == [("mine", "base-commit", False), ("other", "base-commit", True)]
    assert found.attempts[0].reason == f"{wanted[:12]} is not in it"


def test_a_base_commit_stands_in_the_mail_of_git_itself(repo: Repo) -> None:
    before = head(repo)
    grow(repo, 2)
    commit = head(repo)
    repo.commit("mm: one", {"mm/a.c": edited(3)})
    series = series_of(repo.mails(commit, f"--base={commit}"))
    repo.git("reset", "--quiet", "--hard", before)
    assert series.base_commit == commit
    assert find(series, candidate(repo)).commit == commit


def test_the_blobs_of_the_diffs_find_the_head(repo: Repo) -> None:
    found = find(posted(repo), candidate(repo))
    assert found.reason == "head of the tree, which has all 2 blobs that the diffs start from"
    assert told(found) == [("mine", "blobs", True)]
    assert found.commit == head(repo)


def test_the_blobs_find_branches_and_tags_and_the_newest_commit_of_history(repo: Repo) -> None:
    series = posted(repo)
    repo.git("tag", "v6.1")
    grow(repo, 3)
    repo.commit("mm: moved on", {"mm/a.c": edited(9)})
    by_tag = find(series, candidate(repo))
    assert by_tag.reason.startswith("tag v6.1, which has all 2 blobs")
    assert by_tag.commit == repo.git("rev-parse", "v6.1").strip()
    repo.git("tag", "-d", "v6.1")
    by_history = find(series, candidate(repo))
    assert by_history.reason == "newest commit that has all 2 blobs that the diffs start from"
    assert by_history.commit == repo.git("rev-parse", "HEAD~1").strip()
    repo.git("branch", "topic", "HEAD~3")
    assert find(series, candidate(repo)).reason.startswith("branch topic, which has")


def test_trees_that_were_passed_over_for_another_ones_head_are_told(
    repo: Repo, tmp_path: Path
) -> None:
    other = clone(repo, tmp_path / "other")
    repo.commit("mm: moved on", {"mm/a.c": edited(9)})
    found = find(posted(other), candidate(repo), candidate(other, "other"))
    assert [(one.tree, one.reason) for one in found.attempts] == [
        ("mine", "no branch or tag of it has all 2 blobs that the diffs start from"),
        ("other", "head of the tree, which has all 2 blobs that the diffs start from"),
    ]


def test_of_several_trees_the_one_the_series_is_meant_for_comes_first(
    repo: Repo, tmp_path: Path
) -> None:
    names = ("aaa", "mainline", "ext4")
    trees = [candidate(clone(repo, tmp_path / name), name) for name in names]
    series = posted(repo)
    for one in (series, replace(series, base_commit=head(repo))):
        assert find(one, *trees, configured="aaa").tree == "mainline"
        assert find(replace(one, tags=("ext4",)), *trees).tree == "ext4"
        assert find(one, trees[0], trees[2], configured="ext4").tree == "ext4"
        assert find(one, trees[0], trees[2], configured="gone").tree == "aaa"


def test_of_a_tree_with_the_branch_of_the_policy_that_branch_is_taken(
    repo: Repo, tmp_path: Path
) -> None:
    ext4 = clone(repo, tmp_path / "ext4")
    commit = ext4.commit("ext4: next", {"fs/b.c": edited(15)})
    ext4.git("branch", "dev")
    ext4.git("reset", "--quiet", "--hard", "HEAD~1")
    found = find(strange(repo, tags=("ext4",)), candidate(repo), candidate(ext4, "ext4"))
    assert (found.tree, found.commit) == ("ext4", commit)


def test_a_tree_that_lacks_a_blob_is_told_with_the_file(repo: Repo, tmp_path: Path) -> None:
    other = clone(repo, tmp_path / "other")
    other.commit("fs: first", {"fs/b.c": edited(15)})
    series = posted(other)
    found = find(series, candidate(repo), candidate(other, "other"))
    assert found.tree == "other"
    blob = other.git("rev-parse", "HEAD:fs/b.c")[:7]
    said = found.attempts[0].reason
    assert said == f"has 1 of the 2 blobs that the diffs start from, not {blob} of fs/b.c"


def test_where_no_commit_has_all_blobs_it_is_told_how_many_the_best_has(repo: Repo) -> None:
    repo.commit("mm: ahead", {"mm/a.c": edited(15)})
    ahead = repo.git("rev-parse", "HEAD:mm/a.c").strip()
    repo.commit("mm: back, fs: ahead", {"mm/a.c": LINES, "fs/b.c": edited(15)})
    series = posted(repo)
    plain = repo.git("rev-parse", "HEAD:mm/a.c")[:7]
    patch = series.patches[0]
    diff = patch.message.diff.replace(plain.encode(), ahead[:7].encode())
    first = replace(patch, message=replace(patch.message, diff=diff))
    series = replace(series, patches=(first, *series.patches[1:]))
    found = find(series, candidate(repo))
    blobs = found.attempts[0]
    assert (blobs.how, blobs.commit) == (How.BLOBS, None)
    assert blobs.reason == (
        "no commit was found that has all 2 blobs that the diffs start from (1 of 2 at best)"
    )
    assert (found.attempts[-1].how, found.commit) == (How.CONFIGURED, head(repo))
    assert found.reason == "head of the tree; the series names no base-commit"


def test_a_search_that_takes_too_long_is_stopped_and_says_so(repo: Repo) -> None:
    grow(repo, 3)
    found = find(posted(repo), candidate(repo), seconds=0)
    assert found.attempts[0].reason == (
        "the search of its history was stopped after 0 s, with 0 of 2 blobs at best"
    )
    assert found.attempts[-1].how is How.CONFIGURED


def test_a_diff_without_index_lines_says_that_it_names_no_blobs(repo: Repo) -> None:
    series = posted(repo)
    bare = [
        replace(one, message=replace(one.message, diff=without_index(one.message.diff)))
        for one in series.patches
    ]
    found = find(replace(series, patches=tuple(bare)), candidate(repo))
    assert found.attempts[0] == Attempt(
        "", How.BLOBS, None, "the diffs name no blobs that they start from"
    )
    assert found.commit == head(repo)


def without_index(diff: bytes) -> bytes:
    return b"".join(
        line for line in diff.splitlines(keepends=True)
        if not line.startswith(b"index ")
    )  # fmt: skip


def strange(repo: Repo, **changes: object) -> Series:
    """Return a series on files that no tree has."""
    other = Repo(repo.path.parent / "strange")
    other.commit("base", {"mm/z.c": "".join(f"{number}\n" for number in range(9))})
    before = head(other)
    other.commit("mm: one", {"mm/z.c": "1\n2\n"})
    return replace(series_of(other.mails(before)), **changes)  # type: ignore[arg-type]


def test_a_tag_of_the_subject_names_the_tree(repo: Repo, tmp_path: Path) -> None:
    other = clone(repo, tmp_path / "other")
    grow(other, 1)
    series = strange(repo, tags=("RFC", "mm-unstable"))
    found = find(series, candidate(repo), candidate(other, "mm-unstable"))
    assert (found.tree, found.commit) == ("mm-unstable", head(other))
    assert found.reason == (
        "head of the tree that the subject's tag mm-unstable names; the series names no base-commit"
    )


def test_a_tree_that_is_not_here_is_told_and_passed_over(repo: Repo, tmp_path: Path) -> None:
    other = clone(repo, tmp_path / "other")
    found = find(strange(repo, tags=("net-next",)), candidate(repo), candidate(other, "mainline"))
    said = {(one.tree, one.how.value): one.reason for one in found.attempts}
    assert said["net-next", "tag"] == ("the tree that the subject's tag net-next names is not here")
    assert said["linux-next", "last"].endswith("is not here")
    assert (found.tree, found.attempts[-1].how) == ("mainline", How.LAST)


def addressed(series: Series, *to: str) -> Series:
    there = parse(f"From: a@b.c\nTo: {', '.join(to)}\n\nx\n".encode()).to
    mails = [replace(one, message=replace(one.message, to=there)) for one in series.patches]
    return replace(series, patches=tuple(mails))


def test_the_list_named_first_counts_and_then_the_order_of_the_policy(
    repo: Repo, tmp_path: Path
) -> None:
    names = ("ext4", "mm-stable", "mm-unstable")
    trees = [candidate(clone(repo, tmp_path / name), name) for name in names]
    mm, ext4 = "Linux-MM@kvack.org", "linux-ext4@vger.kernel.org"
    found = find(addressed(strange(repo), mm, ext4), *trees)
    assert (found.tree, found.attempts[-1].how) == ("mm-unstable", How.LIST)
    assert "head of the tree that patches to linux-mm@kvack.org go into" in found.reason
    assert find(addressed(strange(repo), ext4, mm), *trees).tree == "ext4"


def test_a_list_is_known_by_its_id_too(repo: Repo) -> None:
    series = strange(repo)
    mails = [
        replace(one, message=replace(one.message, list_id="XFS <linux-xfs.vger.kernel.org>"))
        for one in series.patches
    ]
    found = find(replace(series, patches=tuple(mails)), candidate(repo, "xfs"))
    assert (found.tree, found.attempts[-1].how) == ("xfs", How.LIST)


def test_a_tree_of_another_name_is_known_by_where_it_came_from(repo: Repo, tmp_path: Path) -> None:
    mm = clone(repo, tmp_path / "mm")
    commit = mm.commit("mm: new", {"mm/new.c": "x\n"})
    mm.git("branch", "mm-unstable")
    mm.git("reset", "--quiet", "--hard", "HEAD~1")
    source = "https://git.kernel.org/pub/scm/linux/kernel/git/akpm/mm.git/"
    found = find(
        strange(repo, tags=("mm-unstable",)), candidate(repo), candidate(mm, "akpm", source)
    )
    assert (found.tree, found.commit) == ("akpm", commit)


def test_maintainers_name_a_tree_by_its_url(repo: Repo, tmp_path: Path) -> None:
    ours = clone(repo, tmp_path / "f2fs")
    grow(ours, 1)
    sources = [
        "", "quilt git://example.org/quilt", "git", "git git://example.org/nowhere.git",
        "git git://git.kernel.org/pub/scm/f2fs.git",
    ]  # fmt: skip
    tree = candidate(ours, "f2fs", "https://git.kernel.org/pub/scm/f2fs")
    found = find(strange(repo), candidate(repo), tree, sources=sources)
    assert (found.tree, found.attempts[-1].how) == ("f2fs", How.MAINTAINERS)
    assert ("git://example.org/nowhere.git", "maintainers", False) in told(found)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("git://h/a.git", "https://h/a", True),
        ("ssh://git@h/a", "https://H/a.git/", True),
        ("https://h/a", "https://h/ab", False),
        ("", "", False),
        ("/srv/linux", "https://srv/linux", False),
    ],
)
def test_urls_of_one_repository_are_told_from_others(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    assert same_place(one, other) is same


def test_nothing_at_all_is_told_with_the_trees_that_are_here(repo: Repo) -> None:
    with pytest.raises(NoBaseError, match=r"\(there are: mine\), and there is no tree gone: add"):
        find(strange(repo), candidate(repo), configured="gone")


def test_a_repository_that_cannot_be_read_is_one_attempt(repo: Repo, tmp_path: Path) -> None:
    broken = Candidate("broken", tmp_path / "nothing", "0" * 40)
    found = find(posted(repo), broken, candidate(repo))
    assert found.commit == head(repo)
    assert told(found)[0] == ("broken", "repository", False)


def test_missing_prerequisites_are_told_and_files_as_they_are_count_more(repo: Repo) -> None:
    old = head(repo)
    grow(repo, 1)
    needed = Prerequisites(missing=("abc, which no known patch has",))
    found = find(posted(repo, base_commit=old), candidate(repo), needed=needed)
    assert told(found) == [
        ("", "prerequisites", False), ("mine", "base-commit", False), ("mine", "blobs", True),
    ]  # fmt: skip
    assert found.commit == head(repo)
    assert found.reason.endswith(", without the prerequisite abc, which no known patch has")
    lost = find(strange(repo, base_commit=old), candidate(repo), needed=needed)
    assert (lost.commit, lost.attempts[-1].how) == (old, How.BASE_COMMIT)
    assert lost.reason == (
        "base-commit of the series, without the prerequisite abc, which no known patch has"
    )


def test_known_prerequisites_go_into_the_build_request(repo: Repo) -> None:
    before = head(repo)
    repo.commit("mm: below", {"mm/a.c": edited(15)})
    below = texts(repo.mails(before))
    series = posted(repo)
    repo.git("reset", "--quiet", "--hard", before)
    needed = Prerequisites(below)
    found = find(series, candidate(repo), needed=needed)
    assert (found.commit, found.prerequisites) == (before, below)
    assert found.reason == (
        "head of the tree, which has all 2 blobs that the diffs start from, "
        "with 1 prerequisite patch"
    )
    request = plan.build(Settings(), found, load_kernel("default"), ())  # type: ignore[call-arg]
    assert isinstance(request, BuildRequest)
    assert (request.tree, request.base, request.prerequisites) == ("mine", before, below)


def test_a_tree_that_took_the_prerequisites_is_found_without_them(repo: Repo) -> None:
    before = head(repo)
    repo.commit("mm: below", {"mm/a.c": edited(15)})
    taken = head(repo)
    series, needed = posted(repo), Prerequisites(texts(repo.mails(before)))
    repo.git("checkout", "--quiet", "--orphan", "squashed")
    repo.commit("everything at once", {})
    repo.git("branch", "-D", "master")
    found = find(series, candidate(repo), needed=needed)
    assert found.commit == head(repo) != taken
    assert told(found)[-1] == ("mine", "blobs", True)


def test_the_first_index_line_of_a_path_counts_and_new_files_do_not(repo: Repo) -> None:
    before = head(repo)
    first = repo.git("rev-parse", "HEAD:mm/a.c")[:7]
    repo.commit("one", {"mm/a.c": edited(3), "new.c": LINES})
    repo.commit("two", {"mm/a.c": edited(4), "new.c": edited(5)})
    repo.git("mv", "fs/b.c", "fs/moved.c")
    repo.commit("three", {"fs/moved.c": edited(6)})
    repo.commit("four", {"fs/moved.c": edited(7), "lib/c.c": None})
    diffs = [one.diff for one in texts(repo.mails(before))]
    assert pre_images(diffs) == tuple(
        PreImage(path, first) for path in ("mm/a.c", "fs/b.c", "lib/c.c")
    )


def test_ids_may_end_in_zeros_and_be_whole() -> None:
    diff = b"diff --git a/x b/x\nindex %b..1234567 100644\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
    assert pre_images([diff % b"1230000"]) == (PreImage("x", "1230000"),)
    assert pre_images([diff % (b"ab" * 20)]) == (PreImage("x", "ab" * 20),)
    assert pre_images([diff % b"0000000"]) == ()
    assert pre_images([b"no diff", b"", diff[:30], b"\xff" * 50]) == ()


def test_of_very_many_files_some_are_looked_for() -> None:
    one = (
        "diff --git a/{0} b/{0}\nindex 1234567..7654321 100644\n"
        "--- a/{0}\n+++ b/{0}\n@@ -1 +1 @@\n-a\n+b\n"
    )
    diff = "".join(one.format(f"f{number}") for number in range(2 * MOST)).encode()
    assert len(pre_images([diff])) == MOST


def test_an_ambiguous_id_is_there_and_decided_by_its_path(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    blobs: dict[str, str] = {}  # two texts whose blobs begin alike, found by trying
    number = 0
    while True:
        text = f"{number}\n"
        prefix = str(pygit2.hash(text.encode()))[:4]
        if prefix in blobs:
            break
        blobs[prefix] = text
        number += 1
    commit = repo.commit("both", {"a": blobs[prefix], "b": text})
    opened = pygit2.Repository(str(repo.path))
    wanted = (PreImage("a", prefix),)
    assert absent(opened, wanted) == ()
    assert Search(Looker(wanted), NEVER).newest(opened, [pygit2.Oid(hex=commit)]) is not None
    assert absent(opened, (PreImage("a", "f" * 40), *wanted)) == (PreImage("a", "f" * 40),)


def search(repo: Repo, wanted: Sequence[PreImage]) -> str | None:
    opened = pygit2.Repository(str(repo.path))
    found = Search(Looker(wanted), NEVER).newest(opened, [pygit2.Oid(hex=head(repo))])
    return str(found) if found else None


def at(repo: Repo, revision: str, *paths: str) -> list[PreImage]:
    return [PreImage(path, repo.git("rev-parse", f"{revision}:{path}")[:9]) for path in paths]


def chain(repo: Repo, commits: int, seed: int) -> list[str]:
    """Make commits that each change one of three files, and merges of side branches."""
    chance, made = random.Random(seed), []  # noqa: S311 - not for secrets
    for number in range(commits):
        name = chance.choice(("a", "b", "d/c"))
        made.append(repo.commit(f"{number}", {name: f"{name} {chance.randrange(9)} {number}\n"}))
        if chance.random() < 0.15:
            repo.git("checkout", "--quiet", "-b", f"side{number}", f"HEAD~{min(number, 3)}")
            for step in range(2):
                text = {f"d/only{number}": f"{step}\n", "a": f"side {number} {step}\n"}
                made.append(repo.commit(f"side {number}.{step}", text))
            repo.git("checkout", "--quiet", "master")
            repo.git("merge", "--quiet", "-X", "theirs", "--no-edit", f"side{number}")
            made.append(head(repo))
    return made


@pytest.mark.parametrize("seed", [1, 2])
def test_every_commit_of_a_history_with_merges_is_found_by_its_blobs(
    tmp_path: Path, seed: int
) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit("base", {"a": "a\n", "b": "b\n", "d/c": "c\n"})
    for commit in chain(repo, 40, seed):
        wanted = at(repo, commit, "a", "b", "d/c")
        found = search(repo, wanted)
        assert found is not None, commit
        assert at(repo, found, "a", "b", "d/c") == wanted


def test_long_history_is_searched_to_its_end_and_the_newest_commit_is_taken(repo: Repo) -> None:
    grow(repo, STRIDE + 5)
    repo.commit("mm: moved on", {"mm/a.c": edited(9)})
    last = repo.git("rev-parse", "HEAD~1").strip()
    grow(repo, 2 * STRIDE)
    assert search(repo, at(repo, "HEAD~190", "mm/a.c")) == last
    assert search(repo, at(repo, "HEAD~150", "mm/a.c", "lib/c.c")) == (
        repo.git("rev-parse", "HEAD~150").strip()
    )
    mixed = [*at(repo, "HEAD~190", "mm/a.c"), *at(repo, "HEAD", "lib/c.c")]
    assert search(repo, mixed) is None


def test_a_path_that_is_no_file_is_not_found(repo: Repo) -> None:
    blob = repo.git("rev-parse", "HEAD:mm/a.c")[:7]
    for path in ("mm", "mm/a.c/x", "no/where", "", "/", "../mm/a.c", "mm//a.c"):
        assert search(repo, [PreImage(path, blob)]) is None


def test_the_clock_stops_a_search_but_not_what_it_found(repo: Repo) -> None:
    grow(repo, STRIDE + 5)  # in one second: that there is no newer one has to be looked up
    wanted, opened = at(repo, "HEAD", "mm/a.c"), pygit2.Repository(str(repo.path))
    ticks = count()

    def found(looks: float) -> str:
        nonlocal ticks
        ticks = count()
        search = Search(Looker(wanted), Clock(looks, now=ticks.__next__))
        return str(search.newest(opened, [pygit2.Oid(hex=head(repo))]))

    assert found(float("inf")) == head(repo)
    asked = next(ticks)
    assert found(asked - 1) == head(repo)
    with pytest.raises(StoppedError):
        found(1)


def test_a_tree_is_told_of_once_when_the_search_of_the_next_is_stopped(
    repo: Repo, tmp_path: Path
) -> None:
    grow(repo, 3)
    other = clone(repo, tmp_path / "other")
    other.commit("more to look at", {"y": "z\n"})
    blob = repo.git("rev-parse", "HEAD:lib/c.c").strip()
    diff = (
        f"diff --git a/x b/x\nindex {blob}..1234567 100644\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n"
    )
    places = [
        lookup.Place(name, pygit2.Repository(str(one.path)), head(one))
        for name, one in (("one", repo), ("two", other))
    ]
    ticks = count()
    whole = list(lookup.find([diff.encode()], places, Clock(1e9, now=ticks.__next__), 1))
    asked = next(ticks)
    assert [name for name, _, _ in whole] == ["one", "two"]
    for looks in range(asked):
        soon = Clock(looks, now=count().__next__)
        said = list(lookup.find([diff.encode()], places, soon, 1))
        assert [(name, commit) for name, commit, _ in said] == [("one", None), ("two", None)]
        assert "was stopped after 1 s, with 0 of 1 blobs at best" in said[1][2]


def test_trees_that_share_history_are_searched_once(repo: Repo, tmp_path: Path) -> None:
    grow(repo, 5)
    series = strange(repo)
    other = clone(repo, tmp_path / "other")
    diffs = [one.message.diff for one in series.patches]
    blob = repo.git("rev-parse", "HEAD:mm/a.c")[:7]
    diffs = [diff.replace(diff.split(b"index ")[1][:7], blob.encode()) for diff in diffs]
    places = [
        lookup.Place(name, pygit2.Repository(str(one.path)), head(one))
        for name, one in (("one", repo), ("two", other))
    ]
    found = list(lookup.find(diffs, places, NEVER, 1))
    assert [(name, commit) for name, commit, _ in found] == [("one", None), ("two", None)]
