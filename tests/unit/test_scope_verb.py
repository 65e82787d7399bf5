from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.errors import OursError
from bot.mail.load import NoPatchError
from bot.verbs.scope import command
from policies import scope as policy
from tests.letters import letter, mbox

CHANGE = """\
Why.

Signed-off-by: J <j@x>
---
 mm/vmscan.c | 1 +

diff --git a/mm/vmscan.c b/mm/vmscan.c
index 1111111..2222222 100644
--- a/mm/vmscan.c
+++ b/mm/vmscan.c
@@ -10,2 +10,3 @@ static int f(void)
 \tint here;
+\tgo();
 \tint there;
-- 
2.39.5
"""  # noqa: W291 - a signature's mark ends with a space


@pytest.fixture
def box(tmp_path: Path) -> str:
    taken = letter("[PATCH v3] mm: p", CHANGE, id="y", minutes=1)
    left = letter("[PATCH] net: q", CHANGE.replace("mm/vmscan.c", "net/x.c"), id="n")
    (tmp_path / "box").write_bytes(mbox([taken, left]))
    return str(tmp_path / "box")


def test_a_person_reads_yes_or_no_and_why_oldest_first(box: str) -> None:
    done = CliRunner().invoke(command, [box], catch_exceptions=False)
    assert done.output.splitlines() == [
        "no   v1  net: q",
        "     n",
        "     no rule concerns f() in net/x.c",
        "yes  v3  mm: p",
        "     y",
        "     reclaim: mm/vmscan.c:11 (f()): direct reclaim runs on whatever stack its caller left",
        "       patch 1  reclaim: mm/vmscan.c:11  f()",
        "     stress: efficiency, memcg, writepage on ext4",
    ]


def test_json_is_one_array(box: str) -> None:
    done = CliRunner().invoke(command, [box, "--json"], catch_exceptions=False)
    left, taken = json.loads(done.output)
    assert left == {
        "id": "n", "title": "net: q", "version": 1, "inside": False,
        "reason": "no rule concerns f() in net/x.c", "matches": [], "filesystems": [],
        "profiles": [],
    }  # fmt: skip
    assert (taken["id"], taken["version"], taken["inside"]) == ("y", 3, True)
    assert taken["matches"] == [
        {"patch": 1, "file": "mm/vmscan.c", "line": 11, "rule": "reclaim", "what": "f()"}
    ]
    assert (taken["filesystems"], taken["profiles"]) == (
        ["ext4"], ["efficiency", "memcg", "writepage"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "runs"),
    [
        ("fs/fat/inode.c", "writepage on vfat"),  # deep-stack is not run on it
        ("fs/iomap/buffered-io.c", "deep-stack, writepage on xfs"),
        ("fs/mpage.c", "writepage on ext2, ext4; deep-stack on ext4"),
        ("fs/jfs/inode.c", "none, no filesystem can be booted"),
    ],
)
def test_only_profiles_that_can_be_run_are_named(tmp_path: Path, path: str, runs: str) -> None:
    change = CHANGE.replace("mm/vmscan.c", path).replace("f(void)", "a_writepage(void)")
    (tmp_path / "box").write_bytes(mbox([letter("[PATCH] p", change, id="y")]))
    done = CliRunner().invoke(command, [str(tmp_path / "box")], catch_exceptions=False)
    assert done.output.splitlines()[-1] == f"     stress: {runs}"


def test_mail_without_a_patch_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "box").write_bytes(mbox([letter("hello", "No diff.\n", id="h")]))
    with pytest.raises(NoPatchError):
        CliRunner().invoke(command, [str(tmp_path / "box")], catch_exceptions=False)


def test_bad_rules_are_our_failure(
    box: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scope.toml").write_text("inside = 3\n")
    broken = policy.load.__wrapped__
    monkeypatch.setattr(policy, "load", lambda: broken(tmp_path / "scope.toml"))
    with pytest.raises(OursError, match=r"scope\.toml: (inside|outside): "):
        CliRunner().invoke(command, [box], catch_exceptions=False)


def test_help_shows_an_example() -> None:
    assert "Example: stackhog scope" in CliRunner().invoke(command, ["--help"]).output
