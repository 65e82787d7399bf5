"""policies/trees.toml: what is wrong in it is told with file and place."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies import trees
from policies.schema import PolicyError
from workers.trees import NAME

TEXT = trees.FILE.read_text(encoding="utf-8")


def test_the_lists_that_are_followed_have_their_trees() -> None:
    found = {rule.address: rule.trees for rule in trees.load().list}
    assert found["linux-mm@kvack.org"] == ("mm-new", "mm-unstable", "mm-stable")
    assert trees.load().tree["vfs"].branch == "vfs.all"
    assert trees.load().tree["ext4"].branch == "dev"
    assert trees.load().tree["xfs"].branch == "for-next"
    assert trees.load().last.trees == ("linux-next", "mainline")


def test_every_name_can_be_a_tree_here() -> None:
    assert all(NAME.fullmatch(name) for name in trees.load().tree)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('trees = ["ext4"]', 'trees = ["ext5"]', r"list.2.trees: there is no \[tree.ext5\]"),
        ('trees = ["vfs"]', "trees = []", "tag.1.trees: "),
        ('trees = ["linux-next", "mainline"]', 'trees = ["/"]', "last.trees.0: "),
        ('branch = "dev"', 'brunch = "dev"', "tree.ext4.branch: Field required"),
        ('"linux-xfs@vger.kernel.org"', '"linux-xfs"', "list.3.address: "),
        ('reason = "for-next is', 'why = "for-next is', "list.3.reason: Field required"),
        ("[last]", "[last", "Expected"),
        ("[tree.mm-new]", '[tree."mm new"]', "tree.mm new"),
    ],
)
def test_a_wrong_tree_is_told_with_its_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in TEXT
    path = tmp_path / "trees.toml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(PolicyError, match=told) as caught:
        trees.load(path)
    assert str(caught.value).startswith(str(path))


def test_a_policy_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        trees.load(tmp_path / "none.toml")


def test_addresses_are_compared_in_lower_case(tmp_path: Path) -> None:
    path = tmp_path / "trees.toml"
    path.write_text(TEXT.replace("linux-mm@kvack.org", "Linux-MM@kvack.org"))
    assert trees.load(path).list[0].address == "linux-mm@kvack.org"
