"""Diffs without git's headers, from `diff -u` and quilt, vetted and applied."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.contract import Apply, PatchText
from tests.gitmail import Repo, texts
from workers import apply, trees, vetting
from workers.config import WorkerConfig

TEXT = "".join(f"line {n}\n" for n in range(1, 61))
FILES = {"mm/a.c": TEXT, "fs/b.c": "b\n", "README": "hello\n", "scripts/x.sh": "#!/bin/sh\n"}
GIT_ONLY = re.compile(rb"(?m)^(?:diff --git|index|new file mode|deleted file mode) .*\n")


@dataclass
class Bench:
    repo: Repo
    config: WorkerConfig
    tmp: Path
    base: str
    count: int = 0

    def put(self, *patches: PatchText) -> apply.AppliedSeries:
        for patch in patches:
            vetting.check(patch, 1 << 20)
        self.count += 1
        scratch = self.tmp / f"scratch{self.count}"
        return apply.apply_series(self.config, "tree", self.base, patches, scratch)

    def diff(self, new: Path, *options: str) -> bytes:
        """Return what diff(1) says of the repository and another directory."""
        argv = ["diff", "-x", ".git", *options, self.repo.path.name, new.name]
        return subprocess.run(argv, check=False, cwd=self.tmp, capture_output=True).stdout

    def tree(self, series: apply.AppliedSeries) -> str:
        last = f"{series.patches[-1].commit}^{{tree}}"
        argv = ["git", "-C", str(series.scratch), "rev-parse", last]
        return subprocess.run(argv, check=True, capture_output=True).stdout.decode().strip()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    repo = Repo(tmp_path / "linux.orig")
    repo.commit("base", FILES)
    (repo.path / "scripts/x.sh").chmod(0o755)
    base = repo.commit("mode", {})
    config = WorkerConfig(tmp_path / "data", tmp_path / "cache")
    trees.add(config, "tree", str(repo.path), lambda _: None)
    return Bench(repo, config, tmp_path, base)


def patch(diff: bytes) -> PatchText:
    return PatchText(
        index=1, message_id="a@example.org", subject="s", author_name="A", author_email="a@b.c",
        date=datetime(2026, 1, 5, tzinfo=UTC), message="", diff=diff,
    )  # fmt: skip


def changed(bench: Bench, files: dict[str, str | None]) -> tuple[Path, str]:
    """Return a directory with the changed files, and the id of the tree they make."""
    bench.repo.commit("change", files)
    tree = bench.repo.git("rev-parse", "HEAD^{tree}").strip()
    new = bench.tmp / "linux"
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(bench.repo.path, new, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    bench.repo.git("reset", "--quiet", "--hard", bench.base)
    return new, tree


CHANGES: dict[str, str | None] = {
    "mm/a.c": TEXT.replace("line 9\n", "nine\n").replace("line 50\n", ""),
    "mm/new.c": "new\n-- \n++ x\n",
    "new/deep/file.h": "deep",
    "fs/b.c": None,
    "README": "hello",
    "scripts/x.sh": None,
}


@pytest.mark.parametrize("options", [("-urN",), ("-urNp", "-U1"), ("-urN", "--minimal", "-U9")])
def test_what_diff_writes_is_applied(bench: Bench, options: tuple[str, ...]) -> None:
    new, tree = changed(bench, CHANGES)
    diff = bench.diff(new, *options)
    assert b"diff --git" not in diff
    assert b"\t" in diff  # the times
    series = bench.put(patch(diff))
    assert [one.how for one in series.patches] == [Apply.EXACT]
    assert bench.tree(series) == tree


def test_what_diff_writes_of_any_change_is_applied(bench: Bench) -> None:
    dice = random.Random(7)  # noqa: S311 - not a secret
    for turn in range(8):
        lines = TEXT.splitlines(keepends=True)
        for _ in range(dice.randint(1, 9)):
            at = dice.randrange(len(lines))
            lines[at : at + dice.randint(0, 3)] = dice.choice([[], ["-- a/x\n"], ["++ b\n", "\n"]])
        new, tree = changed(bench, {"mm/a.c": "".join(lines), f"x{turn}": f"{turn}\n"})
        assert bench.tree(bench.put(patch(bench.diff(new, "-urN")))) == tree


@pytest.mark.parametrize("quilt", [False, True])
def test_a_mail_without_git_headers_is_applied(bench: Bench, *, quilt: bool) -> None:
    bench.repo.commit("one", {"mm/a.c": CHANGES["mm/a.c"], "fs/b.c": None})
    bench.repo.commit("two", {"fs/b.c": "back\n", "README": "bye\n"})
    mails = [GIT_ONLY.sub(b"", mail) for mail in bench.repo.mails(bench.base)]
    if quilt:
        head = rb"Index: linux/\1\n" + b"=" * 67 + rb"\n--- linux.orig/\1\n+++ linux/\1\n"
        mails = [re.sub(rb"(?m)^--- a/(.*)\n\+\+\+ b/.*\n", head, mail) for mail in mails]
    assert not any(b"diff --git" in mail for mail in mails)
    series = bench.put(*texts(mails))
    assert [one.how for one in series.patches] == [Apply.EXACT, Apply.EXACT]
    assert bench.tree(series) == bench.repo.git("rev-parse", "HEAD^{tree}").strip()


def test_a_drifted_file_is_found_by_offset(bench: Bench) -> None:
    new, _ = changed(bench, {"mm/a.c": TEXT.replace("line 30\n", "changed\n")})
    diff = bench.diff(new, "-ur")
    bench.base = bench.repo.edit("drift", "mm/a.c", "line 1\n", "line 0\nline 1\n")
    trees.add(bench.config, "tree", str(bench.repo.path), lambda _: None)
    series = bench.put(patch(diff))
    assert [one.how for one in series.patches] == [Apply.OFFSET]
    assert series.touched() == ("mm/a.c",)


def test_a_hunk_that_does_not_fit_is_told(bench: Bench) -> None:
    new, _ = changed(bench, {"mm/a.c": TEXT.replace("line 30\n", "changed\n")})
    diff = bench.diff(new, "-ur") + b"--- a/README\n+++ b/README\n@@ -1 +1 @@\n-other\n+x\n"
    with pytest.raises(apply.PatchMisfitError, match="hunk 1 of README does not match at line 1"):
        bench.put(patch(diff))


def test_a_file_is_emptied_or_deleted_as_its_time_says(bench: Bench) -> None:
    new, tree = changed(bench, {"fs/b.c": "", "README": None})
    assert bench.tree(bench.put(patch(bench.diff(new, "-urN")))) == tree


def test_a_link_of_the_tree_is_not_changed(bench: Bench) -> None:
    (bench.repo.path / "link").symlink_to("mm")
    bench.base = bench.repo.commit("link", {})
    trees.add(bench.config, "tree", str(bench.repo.path), lambda _: None)
    end = b"\n\\ No newline at end of file\n"
    diff = b"--- a/link\n+++ b/link\n@@ -1 +1 @@\n-mm" + end + b"+/etc" + end
    with pytest.raises(vetting.PatchRefusedError, match=r"symbolic link \(link\)"):
        bench.put(patch(diff))
