"""Patches that are refused before anything is done with them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pygit2
import pytest

from bot.contract import PatchText
from workers import vetting

GOOD = """\
diff --git a/mm/a.c b/mm/a.c
index 1234567..89abcde 100644
--- a/mm/a.c
+++ b/mm/a.c
@@ -1,3 +1,3 @@
 one
-two
+deux
 three
"""
NEW = """\
diff --git a/{name} b/{name}
new file mode {mode}
index 0000000..89abcde
--- /dev/null
+++ b/{name}
@@ -0,0 +1 @@
+one
"""
PLAIN = """\
--- {old}
+++ {new}
@@ -1,3 +1,3 @@
 one
-two
+deux
 three
"""
OWN = PLAIN.format(old="a/mm/a.c", new="b/mm/a.c")
THEN = "2026-01-05 10:00:00.123456789 +0100"
NEVER = "1970-01-01 01:00:00.000000000 +0100"
PNG = "diff --git a/a.png b/a.png\nindex 1234567..89abcde 100644\n"


def patch(diff: str | bytes) -> PatchText:
    return PatchText(
        index=2, message_id="a@example.org", subject="s", author_name="A", author_email="a@b.c",
        date=datetime(2026, 1, 5, tzinfo=UTC), message="",
        diff=diff if isinstance(diff, bytes) else diff.encode(),
    )  # fmt: skip


@pytest.mark.parametrize(
    "diff",
    [
        GOOD,
        NEW.format(name="mm/b.c", mode="100644"),
        NEW.format(name="scripts/b.sh", mode="100755"),
        GOOD.replace("-two\n+deux", "-- /etc/passwd\n+++ ../x"),
        GOOD.replace("mm/a.c", "Documentation/git.rst"),
        GOOD.replace("mm/a.c", ".gitignore"),
        "rename test",
    ],
)
def test_honest_patches_pass(diff: str) -> None:
    if diff == "rename test":
        diff = (
            "diff --git a/mm/a.c b/mm/b.c\nsimilarity index 100%\n"
            "rename from mm/a.c\nrename to mm/b.c\n"
        )
    vetting.check(patch(diff), 10_000)


@pytest.mark.parametrize(
    ("diff", "reason"),
    [
        ("", "no diff"),
        (GOOD + "x" * 20_000, "bytes, more than the 10000"),
        (GOOD.replace("one", "o\0ne"), "NUL"),
        (GOOD.replace("b/mm/a.c", "/etc/passwd"), "absolute"),
        (GOOD.replace("a/mm/a.c", "/etc/passwd").replace("b/mm/a.c", "/etc/passwd"), "absolute"),
        (GOOD.replace("mm/a.c", "../a.c"), r"'\.\.'"),
        (GOOD.replace("mm/a.c", "mm/../../a.c"), r"'\.\.'"),
        (GOOD.replace("mm/a.c", ".git/config"), r"'\.git'"),
        (GOOD.replace("mm/a.c", "x/.GIT/hooks/a"), r"'\.git'"),
        (GOOD.replace("mm/a.c", "git~1/config"), r"'\.git'"),
        (GOOD.replace("a/mm/a.c", '"a/mm/\\056\\056/a.c"'), "quoted"),
        (GOOD.replace("mm/a.c", "mm\\a.c"), "backslashes"),
        (NEW.format(name="mm/a b.c", mode="100644"), "is there a space in it"),
        (NEW.format(name="mm/link", mode="120000"), "symbolic link"),
        (GOOD.replace("100644", "120000"), "symbolic link"),
        (NEW.format(name="mm/sub", mode="160000"), "submodule"),
        (NEW.format(name="mm/su", mode="104755"), "setuid"),
        (NEW.format(name="mm/su", mode="102755"), "setuid or setgid"),
        (NEW.format(name="mm/odd", mode="100666"), "only 100644 and 100755"),
        ("diff --git a/a b/a\nold mode 100644\nnew mode 104755\n", "setuid"),
        (PNG + "GIT binary patch\nliteral 1\nIc${NkU|;|M00aO5\n\n", "binary"),
        (PNG + "Binary files a/a.png and b/a.png differ\n", "binary"),
        ("--- a/x\n1d\n3a\nhello\n.\n", "ed script"),
        ("1,2c\nhello\n.\nw\n", "ed script"),
        (GOOD.replace(" three\n", ""), "damaged"),
        (GOOD.replace("@@ -1,3", "@@ -1,9"), "damaged"),
        ("just words\n", "it has no diff|damaged"),
    ],
)  # fmt: skip
def test_others_are_refused_with_the_reason(diff: str, reason: str) -> None:
    with pytest.raises(vetting.PatchRefusedError, match=reason) as caught:
        vetting.check(patch(diff), 10_000)
    assert caught.value.refusal.index == 2


@pytest.mark.parametrize(
    "name", ["mm/gitignore", "digit.c", ".gitattributes", "fs/x.git.c", "git~x"]
)
def test_names_that_only_look_like_git(name: str) -> None:
    vetting.check(patch(GOOD.replace("mm/a.c", name)), 10_000)


@pytest.mark.parametrize(
    ("old", "new", "file"),
    [
        ("a/mm/a.c", "b/mm/a.c", "mm/a.c"),
        (f"a/mm/a.c\t{THEN}", f"b/mm/a.c\t{THEN}", "mm/a.c"),
        ("linux-6.1.orig/mm/a.c", "linux-6.1/mm/a.c", "mm/a.c"),
        ("./mm/a.c.orig", "./mm/a.c", "mm/a.c"),
        ("a/mm/a.c", "b/mm/a.c~", "mm/a.c"),
        ("a//Makefile", "b//Makefile", "Makefile"),
        ("a/Makefile  ", "b/Makefile\r", "Makefile"),
    ],
)
def test_diffs_without_a_git_header_pass_as_what_patch_p1_takes(
    old: str, new: str, file: str
) -> None:
    diff = PLAIN.format(old=old, new=new)
    vetting.check(patch(diff), 10_000)
    assert (
        vetting.as_git(diff.encode())
        == (
            f"diff --git a/{file} b/{file}\n" + PLAIN.format(old=f"a/{file}", new=f"b/{file}")
        ).encode()
    )


MADE = "--- {old}\n+++ {new}\n@@ -0,0 +1 @@\n+one\n"
GONE = "--- {old}\n+++ {new}\n@@ -1 +0,0 @@\n-one\n"


@pytest.mark.parametrize(
    ("diff", "head"),
    [
        (MADE.format(old="/dev/null", new="b/mm/b.c"), b"new file mode 100644\n--- /dev/null\n"),
        (MADE.format(old=f"a/mm/b.c\t{NEVER}", new=f"b/mm/b.c\t{THEN}"), b"new file mode 100644"),
        (MADE.format(old="a/mm/b.c", new="b/mm/b.c"), b"new file mode 100644"),
        (GONE.format(old="a/mm/b.c", new="/dev/null"), b"deleted file mode 100644\n--- a/mm/b.c\n"),
        (GONE.format(old="a/mm/b.c", new=f"/dev/null\t{NEVER}"), b"deleted file mode 100644"),
        (GONE.format(old=f"a/mm/b.c\t{THEN}", new=f"b/mm/b.c\t{NEVER}"), b"deleted file mode"),
        (GONE.format(old=f"a/mm/b.c\t{THEN}", new=f"b/mm/b.c\t{THEN}"), b"--- a/mm/b.c\n"),
        (GONE.format(old="a/mm/b.c", new="b/mm/b.c"), b"--- a/mm/b.c\n"),
    ],
)  # fmt: skip
def test_a_file_comes_or_goes_without_a_git_header(diff: str, head: bytes) -> None:
    vetting.check(patch(diff), 10_000)
    assert vetting.as_git(diff.encode()).startswith(b"diff --git a/mm/b.c b/mm/b.c\n" + head)


def test_files_with_and_without_a_git_header_may_be_mixed() -> None:
    other = PLAIN.format(old="a/mm/c.c", new="b/mm/c.c")
    rest = f"Index: linux/mm/c.c\n{'=' * 67}\n{other}Only in b/mm: x\ndiff -urN a/x b/x\n"
    diff = (GOOD + rest + MADE.format(old="/dev/null", new="b/x")).encode()
    vetting.check(patch(diff), 10_000)
    parsed = pygit2.Diff.parse_diff(vetting.as_git(diff))
    assert [d.new_file.path for d in parsed.deltas] == ["mm/a.c", "mm/c.c", "x"]


@pytest.mark.parametrize(
    "diff",
    [
        GOOD.encode() + NEW.format(name="mm/b.c", mode="100644").encode(),
        GOOD.replace("-two\n+deux", "--- a/x\n+++ b/x\n+@@ -1 +1 @@").encode(),
        b"--- a/x\nno diff\n+++ b/x\n",
        b"\xff\n\n",
        b"",
    ],
)
def test_what_has_its_headers_is_left_alone(diff: bytes) -> None:
    assert vetting.as_git(diff) == diff


def test_a_header_is_added_once() -> None:
    once = vetting.as_git(OWN.encode() * 2)
    assert once.count(b"diff --git ") == 2
    assert vetting.as_git(once) == once


@pytest.mark.parametrize(
    ("diff", "reason"),
    [
        (PLAIN.format(old="/etc/passwd", new="/etc/passwd"), "absolute"),
        (PLAIN.format(old="a/mm/a.c", new="/etc/passwd"), "absolute"),
        (PLAIN.format(old="../a/mm/a.c", new="../b/mm/a.c"), r"'\.\.'"),
        (PLAIN.format(old="a/../../a.c", new="b/../../a.c"), r"'\.\.'"),
        (PLAIN.format(old="a/.git/config", new="b/.git/config"), r"'\.git'"),
        (PLAIN.format(old='"a/m\\303m.c"', new='"b/m\\303m.c"'), "quoted"),
        (PLAIN.format(old="a/mm\\a.c", new="b/mm\\a.c"), "backslashes"),
        (MADE.format(old="/dev/null", new="b/.git/hooks/x"), r"'\.git'"),
        (MADE.format(old="/dev/null", new="/dev/null"), "-p1"),
        (MADE.format(old="/dev/null", new="b/mm/b c.c"), "is there a space in it"),
        (PLAIN.format(old="Makefile.orig", new="Makefile"), "-p1"),
        (PLAIN.format(old="a/", new="b/"), "-p1"),
        (OWN.replace(" three\n", ""), "damaged"),
        (OWN.replace("@@ -1,3", "@@ -1,9"), "damaged"),
        (OWN + "Binary files a/a.png and b/a.png differ\n", "binary"),
    ],
)  # fmt: skip
def test_without_a_git_header_the_same_is_refused(diff: str, reason: str) -> None:
    with pytest.raises(vetting.PatchRefusedError, match=reason):
        vetting.check(patch(diff), 10_000)


INDEX = "index 1234567..89abcde 100644"
NINES = "9" * 5000


def earlier_failures() -> None:
    """What libgit2 raises where it sets no error of its own is the last that there was."""
    with suppress(pygit2.GitError):
        pygit2.Repository("/nowhere/at/all")


@pytest.mark.parametrize(
    ("diff", "reason"),
    [
        (GOOD.replace(INDEX, "index 1234567.89abcde 100644"), "an index line is not"),
        (GOOD.replace(INDEX, "index 1234567"), "an index line is not"),
        (GOOD.replace(INDEX, "index "), "an index line is not"),
        (GOOD.replace(INDEX, "index 123456x..89abcde"), "an index line is not"),
        (GOOD.replace(INDEX, "index 1234567..89abcde 100648"), "an index line is not"),
        (GOOD.replace(INDEX, "index 1..2 100644"), "damaged"),
        (GOOD.replace(INDEX, "index 1234567..89abcde 300644"), "sets the mode 300644"),
        (GOOD.replace(INDEX, "index 1234567..89abcde 1000000100644"), "an index line is not"),
        (GOOD.replace(INDEX, "old mode 300644\nnew mode 100644"), "sets the mode 300644"),
        (GOOD.replace(INDEX, "old mode 9\nnew mode 100644"), "no octal number"),
        (GOOD.replace(INDEX, f"old mode {'7' * 99}\nnew mode 100644"), "no octal number"),
        (GOOD.replace("@@ -1,3", f"@@ -1,{NINES}"), "damaged"),
        (OWN.replace("@@ -1,3", f"@@ -1,{NINES}"), "damaged"),
        (PNG.replace(PNG[:34], 'diff --git "a/\\9" b/x\n'), "damaged|no diff"),
    ],
)  # fmt: skip
def test_what_libgit2_has_no_error_for_is_theirs(diff: str, reason: str) -> None:
    earlier_failures()
    with pytest.raises(vetting.PatchRefusedError, match=reason) as caught:
        vetting.check(patch(diff), 20_000)
    assert "nowhere" not in str(caught.value)


def test_an_error_of_libgit2_that_is_not_its_own_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(_: bytes) -> tuple[list[pygit2.DiffDelta], int]:
        raise OSError("failed to resolve path '/nowhere'")

    monkeypatch.setattr(vetting, "_parsed", parse)
    with pytest.raises(vetting.PatchRefusedError, match=r"its diff is damaged$"):
        vetting.check(patch(GOOD), 10_000)


@pytest.mark.parametrize("text", ["index of files", "new mode of operation", "old model"])
def test_words_between_two_files_are_no_header(text: str) -> None:
    vetting.check(patch(GOOD + f"\n{text}\n\n" + GOOD.replace("a.c", "b.c")), 10_000)
