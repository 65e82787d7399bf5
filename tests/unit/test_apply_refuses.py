"""What libgit2 would do without a word, and git would not; odd authors and dates."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.contract import Apply, PatchText
from tests.gitmail import Repo, texts
from workers import apply, trees, vetting
from workers.config import WorkerConfig

TEXT = "".join(f"line {n}\n" for n in range(1, 31))
WHEN = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass
class Bench:
    repo: Repo
    config: WorkerConfig
    base: str
    scratch: Path

    def put(self, *patches: PatchText) -> apply.AppliedSeries:
        for patch in patches:
            vetting.check(patch, 1 << 20)
        return apply.apply_series(self.config, "tree", self.base, patches, self.scratch)

    def git(self, *words: str) -> str:
        argv = ["git", "-C", str(self.scratch), *words]
        return subprocess.run(argv, check=True, capture_output=True).stdout.decode()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    repo = Repo(tmp_path / "repo")
    (repo.path / "link").symlink_to("mm")
    base = repo.commit("base", {"mm/a.c": TEXT, "fs/b.c": "b\n", "README": "hello\n"})
    config = WorkerConfig(tmp_path / "data", tmp_path / "cache")
    trees.add(config, "tree", str(repo.path), lambda _: None)
    return Bench(repo, config, base, tmp_path / "scratch")


def patch(diff: str, **more: Any) -> PatchText:  # noqa: ANN401 - fields of PatchText
    plain = PatchText(
        index=1, message_id="a@example.org", subject="s", author_name="A", author_email="a@b.c",
        date=WHEN, message="", diff=diff.encode(),
    )  # fmt: skip
    return plain.model_copy(update=more)


def new(name: str) -> str:
    return (
        f"diff --git a/{name} b/{name}\nnew file mode 100644\n--- /dev/null\n+++ b/{name}\n"
        "@@ -0,0 +1 @@\n+x\n"
    )


def changed(name: str, old: str, text: str) -> str:
    return f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n{old}{text}"


CHANGE = changed("README", "-hello\n", "+bye\n")
RENAME = (
    "diff --git a/mm/a.c b/fs/b.c\nsimilarity index 100%\nrename from mm/a.c\nrename to fs/b.c\n"
)
PARTLY = (
    "diff --git a/mm/a.c b/mm/a.c\ndeleted file mode 100644\n--- a/mm/a.c\n+++ /dev/null\n"
    "@@ -1,2 +0,0 @@\n-line 1\n-line 2\n"
)


@pytest.mark.parametrize(
    ("diff", "reason"),
    [
        (new("mm/a.c/x"), r"mm/a\.c is a file, so mm/a\.c/x cannot be made"),
        (new("mm"), "mm is a directory"),
        (new("link/x"), "link is a file, so link/x cannot be made"),
        (new("README"), "README exists already"),
        (RENAME, r"fs/b\.c exists already"),
        (PARTLY, r"mm/a\.c has lines that it does not delete"),
        (RENAME.replace("mm/a.c", "mm/gone.c") + CHANGE, r"mm/gone\.c does not exist"),
    ],
)
def test_a_patch_does_not_write_over_or_delete_more(bench: Bench, diff: str, reason: str) -> None:
    with pytest.raises(apply.PatchMisfitError, match=reason):
        bench.put(patch(diff))


def test_a_symlink_of_the_tree_is_not_changed(bench: Bench) -> None:
    end = "\n\\ No newline at end of file\n"
    with pytest.raises(vetting.PatchRefusedError, match=r"symbolic link \(link\)"):
        bench.put(patch(changed("link", f"-mm{end}", f"+/etc{end}")))


def test_files_may_change_places(bench: Bench) -> None:
    back = RENAME.replace("mm/a.c", "?").replace("fs/b.c", "mm/a.c").replace("?", "fs/b.c")
    series = bench.put(patch(RENAME + back))
    assert series.patches[0].how is Apply.EXACT
    assert bench.git("show", f"{series.patches[0].commit}:fs/b.c") == TEXT
    assert bench.git("show", f"{series.patches[0].commit}:mm/a.c") == "b\n"


def test_a_file_may_become_a_directory_and_a_directory_a_file(bench: Bench) -> None:
    for name in ("README", "fs/b.c"):
        (bench.repo.path / name).unlink()
    (bench.repo.path / "fs").rmdir()
    bench.repo.commit("both", {"README/x": "x\n", "fs": "file\n"})
    (one,) = texts(bench.repo.mails(bench.base))
    series = bench.put(one)
    want = bench.repo.git("rev-parse", "HEAD^{tree}")
    assert bench.git("rev-parse", f"{series.patches[0].commit}^{{tree}}") == want


def test_two_patches_of_new_files_only_are_no_foreign_series(bench: Bench) -> None:
    later = changed("new/a.c", "-x\n", "+y\n")
    series = bench.put(patch(new("new/a.c")), patch(later, index=2))
    assert [one.how for one in series.patches] == [Apply.EXACT, Apply.EXACT]


def test_only_files_that_are_missing_count_as_foreign(bench: Bench) -> None:
    diff = changed("lib/x.c", "-x\n", "+y\n") + new("lib/y.c")
    with pytest.raises(apply.ForeignSeriesError, match="none of its 1 files"):
        bench.put(patch(diff))


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"author_name": "  "}, "author unknown <a@b.c> 1767571200 +0000"),
        ({"author_name": "A\nB <x>"}, "author AB x <a@b.c> 1767571200 +0000"),
        ({"author_email": "<>"}, "author A <unknown> 1767571200 +0000"),
        ({"date": datetime(1960, 1, 1, tzinfo=UTC)}, "author A <a@b.c> 0 +0000"),
        ({"date": datetime(9999, 1, 1, tzinfo=UTC)}, "author A <a@b.c> 4294967295 +0000"),
    ],
)
def test_odd_authors_and_dates_are_committed(
    bench: Bench, more: dict[str, object], line: str
) -> None:
    series = bench.put(patch(CHANGE, **more))
    assert line in bench.git("cat-file", "-p", series.patches[0].commit).splitlines()
