"""Patches that are refused before anything is done with them."""

from __future__ import annotations

from datetime import UTC, datetime

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
