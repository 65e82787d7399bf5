"""Functions that a diff changes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from bot.contract import PatchText
from bot.review.touched import Touched, culprit, touched
from tests.gitmail import Repo

BEFORE = """\
#include <linux/mm.h>

static int first(struct page *page)
{
\tint a = 1;
\tint b = 2;

\treturn a + b;
}

int second(int a,
\t   int b)
{
out:
\ta += b;
\treturn a;
}

struct ops {
\tint (*third)(void);
};
"""


def diff(tmp_path: Path, after: str, name: str = "mm/a.c") -> PatchText:
    repo = Repo(tmp_path / "repo")
    base = repo.commit("base", {name: BEFORE})
    repo.commit("change", {name: after})
    text = repo.git("diff", base, "HEAD")
    return PatchText(
        index=2, message_id="m", subject="s", author_name="a", author_email="a@example.org",
        date=datetime(2026, 1, 1, tzinfo=UTC), message="", diff=text.encode(),
    )  # fmt: skip


def names(patch: PatchText) -> list[str]:
    return [one.function for one in touched([patch])]


def test_a_changed_line_belongs_to_the_function_around_it(tmp_path: Path) -> None:
    patch = diff(tmp_path, BEFORE.replace("a = 1", "a = 3"))
    assert touched([patch]) == (Touched(2, "mm/a.c", "first", 5),)


def test_a_hunk_whose_context_begins_above_its_function(tmp_path: Path) -> None:
    patch = diff(tmp_path, BEFORE.replace("\ta += b;", "\ta -= b;"))
    assert names(patch) == ["second"]


def test_a_new_function_and_a_changed_signature(tmp_path: Path) -> None:
    after = BEFORE.replace("int second(int a,", "static noinline void helper(void)\n{\n\tbarrier();\n}\n\nlong second(int a,")  # noqa: E501 # fmt: skip
    assert names(diff(tmp_path, after)) == ["helper", "second"]


def test_calls_labels_and_declarations_begin_no_function(tmp_path: Path) -> None:
    after = BEFORE.replace("\tint b = 2;", "\tint b = get(2);\nagain:\n\tif (b)\n\t\tgoto again;")
    assert names(diff(tmp_path, after)) == ["first"]


def test_a_type_may_stand_on_the_line_above(tmp_path: Path) -> None:
    text = "static inline bool\nretry(int order, int flags)\n{\n\tint a = 1;\n\treturn a;\n}\n"
    repo = Repo(tmp_path / "repo")
    base = repo.commit("base", {"mm/a.c": BEFORE + text})
    repo.commit("change", {"mm/a.c": BEFORE + text.replace("a = 1", "a = 2")})
    patch = diff(tmp_path / "other", BEFORE.replace("a = 1", "a = 3"))
    patch = patch.model_copy(update={"diff": repo.git("diff", base, "HEAD").encode()})
    assert names(patch) == ["retry"]


def test_only_sources_have_functions(tmp_path: Path) -> None:
    assert names(diff(tmp_path, BEFORE.replace("a = 1", "a = 3"), "Documentation/a.rst")) == []


AMONG = (
    Touched(1, "mm/vmscan.c", "pageout", 9),
    Touched(2, "fs/ext4/inode.c", "ext4_writepage", 7),
)


def test_the_function_closest_to_the_fault_is_named() -> None:
    found = culprit(["memset", "ext4_writepage.part.0", "pageout"], AMONG)
    assert found == AMONG[1]


def test_the_only_function_of_the_filesystem_is_meant_where_none_was_seen() -> None:
    assert culprit([], AMONG, "fs/ext4/") == AMONG[1]
    assert culprit(["kswapd"], AMONG[:1], "fs/ext4/") == AMONG[0]
    assert culprit(["kswapd"], AMONG) is None
    assert culprit([], ()) is None
