"""Patches applied to a small tree: each way, each misfit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pygit2
import pytest

from bot.contract import Apply, PatchText
from tests.gitmail import Repo, texts
from workers import apply, trees
from workers.config import WorkerConfig

TEXT = "".join(f"line {n}\n" for n in range(1, 61))
OTHER = "".join(f"line {n}\n" for n in range(20, 30))


@dataclass
class Place:
    repo: Repo
    config: WorkerConfig
    tmp: Path
    count: int = 0

    def publish(self) -> str:
        trees.add(self.config, "tree", str(self.repo.path), lambda _: None)
        return self.repo.git("rev-parse", "HEAD").strip()

    def put(self, base: str, patches: tuple[PatchText, ...]) -> apply.AppliedSeries:
        self.count += 1
        return apply.apply_series(
            self.config, "tree", base, patches, self.tmp / f"scratch{self.count}"
        )

    def text(self, series: apply.AppliedSeries, path: str, number: int = -1) -> str:
        repository = pygit2.Repository(str(series.scratch))
        commit = repository[series.patches[number].commit].peel(pygit2.Commit)
        blob = commit.tree[path]
        assert isinstance(blob, pygit2.Blob)
        return blob.data.decode()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    repo = Repo(tmp_path / "repo")
    repo.commit("base", {"mm/a.c": TEXT, "fs/b.c": OTHER, "README": "hello\n"})
    return Place(repo, WorkerConfig(tmp_path / "data", tmp_path / "cache"), tmp_path)


def patches(place: Place, since: str) -> tuple[PatchText, ...]:
    return texts(place.repo.mails(since))


def change(place: Place, number: int = 30, path: str = "mm/a.c") -> tuple[PatchText, ...]:
    """Return a patch against the present state, and go back to that state."""
    base = place.repo.git("rev-parse", "HEAD").strip()
    place.repo.edit("change", path, f"line {number}\n", f"changed {number}\n")
    found = patches(place, base)
    place.repo.git("reset", "--quiet", "--hard", base)
    return found


def without_ids(patch: PatchText) -> PatchText:
    """As from a sender whose blobs nobody has."""
    lines = [x for x in patch.diff.split(b"\n") if not x.startswith(b"index ")]
    return patch.model_copy(update={"diff": b"\n".join(lines)})


def test_an_exact_patch_is_applied_by_libgit2(place: Place) -> None:
    base = place.publish()
    (patch,) = change(place)
    series = place.put(base, (patch,))
    assert [one.how for one in series.patches] == [Apply.EXACT]
    assert place.text(series, "mm/a.c") == TEXT.replace("line 30\n", "changed 30\n")
    assert place.text(series, "fs/b.c") == OTHER
    assert series.touched() == ("mm/a.c",)


def test_the_commit_is_the_authors(place: Place) -> None:
    base = place.publish()
    series = place.put(base, change(place))
    commit = pygit2.Repository(str(series.scratch))[series.patches[0].commit].peel(pygit2.Commit)
    assert (commit.author.name, commit.author.email) == ("A. Author", "author@example.org")
    assert commit.message == "change\n\nWhy it is so.\n"
    assert (commit.author.time, commit.author.offset) == (1767603600, 60)
    assert [str(one) for one in commit.parent_ids] == [base]


def test_ids_are_the_same_every_time(place: Place) -> None:
    base, found = place.publish(), change(place)
    first, second = (place.put(base, found) for _ in range(2))
    assert first.patches == second.patches


def test_a_drifted_file_is_merged_three_ways(place: Place) -> None:
    place.publish()
    found = change(place)
    place.repo.edit("drift", "mm/a.c", "line 1\n", "line 0\nline 0b\nline 1\n")
    series = place.put(place.publish(), found)
    assert [one.how for one in series.patches] == [Apply.THREE_WAY]
    assert "line 0\nline 0b\nline 1\n" in place.text(series, "mm/a.c")
    assert "changed 30\n" in place.text(series, "mm/a.c")


def test_a_drifted_file_without_known_blobs_is_found_by_offset(place: Place) -> None:
    (patch,) = change(place)
    place.repo.edit("drift", "mm/a.c", "line 1\n", "line 0\nline 0b\nline 1\n")
    series = place.put(place.publish(), (without_ids(patch),))
    assert [one.how for one in series.patches] == [Apply.OFFSET]
    assert "changed 30\n" in place.text(series, "mm/a.c")


def test_a_renamed_file_is_followed_by_git_am(place: Place) -> None:
    found = change(place)
    place.repo.git("mv", "mm/a.c", "mm/moved.c")
    place.repo.commit("move", {})
    series = place.put(place.publish(), (*found, *change(place, 20, "fs/b.c")))
    assert [one.how for one in series.patches] == [Apply.AM, Apply.EXACT]
    assert "changed 30\n" in place.text(series, "mm/moved.c")


def test_files_come_go_move_and_turn_executable(place: Place) -> None:
    base = place.publish()
    place.repo.commit("more", {"new/deep/c.c": "c\n", "fs/b.c": None})
    place.repo.git("mv", "README", "README.md")
    (place.repo.path / "mm/a.c").chmod(0o755)
    place.repo.commit("modes", {})
    series = place.put(base, patches(place, base))
    repository = pygit2.Repository(str(series.scratch))
    made = repository[series.patches[-1].commit].peel(pygit2.Commit).tree_id
    assert str(made) == place.repo.git("rev-parse", "HEAD^{tree}").strip()
    assert series.touched() == ("README.md", "mm/a.c", "new/deep/c.c")


def test_nothing_is_written_into_the_tree(place: Place) -> None:
    base = place.publish()
    objects = trees.repository(place.config, "tree") / "objects"
    before = sorted(objects.rglob("*"))
    place.put(base, change(place))
    assert sorted(objects.rglob("*")) == before


def test_a_misfit_says_patch_file_hunk_and_what_stands_there(place: Place) -> None:
    base = place.repo.git("rev-parse", "HEAD").strip()
    place.repo.edit("one", "mm/a.c", "line 5\n", "five\n")
    place.repo.edit("two", "mm/a.c", "line 10\n", "ten\n")
    text = (place.repo.path / "mm/a.c").read_text()
    place.repo.commit(
        "three", {"mm/a.c": text.replace("line 40\n", "forty\n").replace("line 55\n", "x\n")}
    )
    found = tuple(without_ids(one) for one in patches(place, base))
    place.repo.git("reset", "--quiet", "--hard", base)
    place.repo.edit("other", "mm/a.c", "line 54\n", "something else\n")
    with pytest.raises(apply.PatchMisfitError, match="patch 3 does not apply: hunk 2") as caught:
        place.put(place.publish(), found)
    misfit = caught.value.misfit
    assert (misfit.index, misfit.file, misfit.hunk, misfit.line) == (3, "mm/a.c", 2, 52)
    assert misfit.expected[:4] == ("line 52", "line 53", "line 54", "line 55")
    assert misfit.found[:4] == ("line 52", "line 53", "something else", "line 55")


def test_a_missing_file_and_an_existing_one_are_told(place: Place) -> None:
    found = change(place, 20, "fs/b.c")
    base = place.repo.git("rev-parse", "HEAD").strip()
    place.repo.commit("new", {"mm/c.c": "c\n"})
    new = patches(place, base)
    mixed = (*change(place, 30), *found)
    place.repo.commit("no b", {"fs/b.c": None})
    head = place.publish()
    with pytest.raises(apply.PatchMisfitError, match=r"fs/b\.c does not exist"):
        place.put(head, tuple(without_ids(one) for one in mixed))
    with pytest.raises(apply.PatchMisfitError, match=r"mm/c\.c exists already"):
        place.put(head, new)


def test_a_series_for_another_project_is_told_apart(place: Place, tmp_path: Path) -> None:
    other = Repo(tmp_path / "other")
    base = other.commit("base", {"lib/x.c": TEXT})
    other.edit("change", "lib/x.c", "line 3\n", "three\n")
    with pytest.raises(apply.ForeignSeriesError, match="for another project: none of its 1 files"):
        place.put(place.publish(), texts(other.mails(base)))


def test_what_a_patch_changes_is_written_as_an_upper_layer(place: Place, tmp_path: Path) -> None:
    base = place.publish()
    place.repo.commit("one", {"mm/a.c": "new\n", "fs/b.c": None, "mm/x.sh": "#!\n"})
    (place.repo.path / "mm/x.sh").chmod(0o755)
    place.repo.commit("two", {"fs/b.c": "back\n"})
    series = place.put(base, patches(place, base))
    upper = tmp_path / "upper"
    assert series.write(0, upper) == ("fs/b.c",)
    assert sorted(str(p.relative_to(upper)) for p in upper.rglob("*.*")) == ["mm/a.c", "mm/x.sh"]
    assert series.write(1, upper) == ()
    assert (upper / "fs/b.c").read_text() == "back\n"
    assert (upper / "mm/x.sh").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x.git", "a" * 80])
def test_names_of_trees_are_checked(place: Place, name: str) -> None:
    with pytest.raises(trees.TreeError, match="cannot name a tree"):
        trees.add(place.config, name, str(place.repo.path), lambda _: None)


def test_trees_are_listed_updated_and_missed(place: Place, tmp_path: Path) -> None:
    first = place.publish()
    assert [(tree.name, tree.head) for tree in trees.list_trees(place.config)] == [("tree", first)]
    second = place.repo.commit("more", {"README": "more\n"})
    assert place.publish() == second
    assert trees.get(place.config, "tree").head == second
    with pytest.raises(trees.TreeError, match=r"no tree linux \(there are: tree\): add it with"):
        trees.get(place.config, "linux")
    with pytest.raises(trees.TreeError, match="no repository at"):
        trees.add(place.config, "other", str(tmp_path / "nowhere"), lambda _: None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(trees.TreeError, match="git cannot read"):
        trees.add(place.config, "other", str(tmp_path / "empty"), lambda _: None)
    assert sorted(p.name for p in place.config.trees.glob("*.git")) == ["tree.git"]


def test_a_tree_is_written_out_whole(place: Place, tmp_path: Path) -> None:
    (place.repo.path / "link").symlink_to("README")
    head = place.repo.commit("link", {"x.sh": "#!\n"})
    place.publish()
    trees.export(place.config, "tree", head, tmp_path / "out")
    names = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*"))
    assert names == ["README", "fs", "fs/b.c", "link", "mm", "mm/a.c", "x.sh"]
    assert (tmp_path / "out" / "link").readlink() == Path("README")
