from __future__ import annotations

import pytest

from bot.review.maintainers import parse, paths

TEXT = """\
List of maintainers
===================

Descriptions of section entries and preferred order
---------------------------------------------------
	M: *Mail* patches to: FullName <address@domain>

Maintainers List
----------------

EXT4 FILE SYSTEM
M:	"Theodore Ts'o" <tytso@example.org>
R:	A. Reviewer <r@example.org>
L:	linux-ext4@vger.example.org
S:	Maintained
T:	git git://example.org/ext4.git dev
F:	fs/ext4/
F:	include/trace/events/ext4.h
X:	fs/ext4/Kconfig

MEMORY MANAGEMENT
M:	Andrew Morton <akpm@example.org>
L:	linux-mm@kvack.example.org
F:	mm/
N:	memcg
K:	\\bGFP_NOFS\\b

ALL OF BLOCK
M:	J. Axe <axe@example.org>
L:	The block list <linux-block@vger.example.org>
L:	insiders@example.org (subscribers-only)
L:	outsiders@example.org (moderated for non-subscribers)
F:	block/*

THE REST
M:	Linus Torvalds <torvalds@example.org>
L:	linux-kernel@vger.example.org
F:	*
F:	*/
"""
KNOWN = parse(TEXT)


def who(*files: str, diff: str = "") -> set[str]:
    return {one.email.partition("@")[0] for one in KNOWN.of(files, diff).people}


@pytest.mark.parametrize(
    ("path", "people"),
    [
        ("fs/ext4/inode.c", {"tytso", "r"}), ("fs/ext4/sub/x.c", {"tytso", "r"}),
        ("include/trace/events/ext4.h", {"tytso", "r"}), ("fs/ext4/Kconfig", set()),
        ("fs/ext2/inode.c", set()), ("mm/vmscan.c", {"akpm"}), ("tools/memcg_x.py", {"akpm"}),
        ("block/bio.c", {"axe"}), ("block/partitions/x.c", set()), ("README", set()),
    ],
)  # fmt: skip
def test_who_looks_after_a_file(path: str, people: set[str]) -> None:
    assert who(path) == people


def test_words_in_what_a_diff_changes_count_and_those_around_do_not() -> None:
    head = "diff --git a/net/x.c b/net/x.c\n--- a/net/x.c\n+++ b/net/x.c\n@@ -1,2 +1,2 @@\n"
    assert who("net/x.c", diff=f"{head} a\n+\tf(GFP_NOFS);\n") == {"akpm"}
    assert who("net/x.c", diff=f"{head} \tf(GFP_NOFS);\n+\tg();\n") == set()


def test_roles_lists_and_trees() -> None:
    found = KNOWN.of(["fs/ext4/inode.c", "mm/vmscan.c"])
    assert {(one.role, one.section) for one in found.people} == {
        ("maintainer", "EXT4 FILE SYSTEM"), ("reviewer", "EXT4 FILE SYSTEM"),
        ("maintainer", "MEMORY MANAGEMENT"),
    }  # fmt: skip
    assert set(found.lists) == {"linux-ext4@vger.example.org", "linux-mm@kvack.example.org"}
    assert found.trees == ("git git://example.org/ext4.git dev",)
    ted = found.person("TYTSO@example.org")
    assert ted is not None
    assert ted.name == "Theodore Ts'o"
    assert found.person("address@domain") is None


def test_a_list_is_known_by_its_address() -> None:
    found = KNOWN.of(["block/bio.c"]).lists
    assert found == ("linux-block@vger.example.org", "outsiders@example.org")


def test_the_files_of_a_diff() -> None:
    diff = (
        "diff --git a/mm/a.c b/mm/b.c\nrename from mm/a.c\nrename to mm/b.c\n"
        "--- a/fs/x.c\n+++ b/fs/x.c\n"
    )
    assert {"mm/a.c", "mm/b.c", "fs/x.c"} <= set(paths(diff))


@pytest.mark.parametrize("text", ["", "\0\0", "M: nobody\n", "A\nM:\t<\nF:\t[\nK:\t(\nN:\t*\n"])
def test_no_file_is_too_odd(text: str) -> None:
    assert parse(text).of(["mm/vmscan.c"], "+x\n").people == ()
