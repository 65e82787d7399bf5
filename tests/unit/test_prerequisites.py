"""Patches that a series says it needs: how they are named, found and put in order."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from bot.mail.message import parse
from bot.mail.series import Series, assemble
from bot.review import prerequisites
from bot.review.prerequisites import MOST, find, known, message_id, patch_id
from tests.gitmail import Repo
from tests.letters import letter, sending
from workers.vetting import as_git

LINES = "".join(f"line {number}\n" for number in range(40))


def edited(*numbers: int) -> str:
    text = LINES
    for number in numbers:
        text = text.replace(f"line {number}\n", f"line  {number}\tchanged\n")
    return text


def series_of(mails: Iterable[bytes]) -> Series:
    (found,) = assemble(parse(mail) for mail in mails)
    return found


def said(series: Series, *lines: str) -> Series:
    """Return a series whose last patch ends with these lines."""
    last = series.patches[-1]
    below = "\n".join(["-- ", "2.39.5", "", *lines, ""])
    return replace(
        series,
        patches=(*series.patches[:-1], replace(last, message=replace(last.message, below=below))),
    )


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    found = Repo(tmp_path / "repo")
    files = {"a.c": LINES, "b.c": LINES, "gone.c": "1\n2\n", "end": "no newline", "run.sh": "x\n"}
    found.commit("base", files)
    return found


def committed(repo: Repo) -> None:
    """Make commits of every kind of change that a mail can carry."""
    repo.commit("modify", {"a.c": edited(20)})
    repo.commit("two files", {"a.c": edited(3, 20, 35), "b.c": edited(9)})
    repo.commit("new", {"dir/new.c": "int x;\n\n\tint y;\n"})
    repo.commit("delete", {"gone.c": None})
    repo.commit("no newline", {"end": "still none"})
    repo.commit("newline", {"end": "one\n"})
    (repo.path / "run.sh").chmod(0o755)
    repo.commit("mode", {})
    repo.commit("bytes", {"a.c": "Käse\n"})
    repo.git("mv", "b.c", "c.c")
    repo.commit("rename", {})
    (repo.path / "d").mkdir()
    repo.git("mv", "c.c", "d/c.c")
    repo.commit("rename and edit", {"d/c.c": edited(9, 11)})
    repo.commit("carriage returns", {"crlf": "a\r\nb\r\n"})


@pytest.mark.parametrize("option", ["--find-renames", "--no-renames", "--full-index", "-U1"])
def test_patch_ids_are_those_of_git(repo: Repo, option: str) -> None:
    before = repo.git("rev-parse", "HEAD").strip()
    committed(repo)
    mails = repo.mails(before, option)
    assert len(mails) == 11
    for mail in mails:
        done = subprocess.run(
            ["git", "patch-id", "--stable"], input=mail, capture_output=True, check=True  # noqa: S607
        )  # fmt: skip
        assert patch_id(parse(mail).diff) == done.stdout.split()[0].decode()


def test_a_diff_that_cannot_be_read_has_no_patch_id() -> None:
    cut, odd = b"diff --git a/x b/x\nindex 1..2\n--- a/x\n", b"diff --git \xff\n@@ -1 +1 @@\n"
    for diff in (cut, odd, b"no diff", b"", b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"):
        assert patch_id(diff) is None
    assert patch_id(as_git(b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n")) is not None


def test_the_patches_that_git_names_are_found_in_order(repo: Repo) -> None:
    base = repo.git("rev-parse", "HEAD").strip()
    repo.commit("first below", {"a.c": edited(3)})
    repo.commit("second below", {"b.c": edited(4)})
    below = series_of(repo.mails(base))
    start = repo.git("rev-parse", "HEAD").strip()
    repo.commit("on top", {"a.c": edited(3, 30)})
    series = series_of(repo.mails(start, f"--base={base}"))
    assert series.base_commit == base
    found = find(series, known([below]))
    assert [one.subject for one in found.patches] == ["first below", "second below"]
    assert found.missing == ()
    alone = find(series, known([]))
    digests = [patch_id(one.message.diff) or "" for one in below.patches]
    assert alone.missing == tuple(f"{one[:12]}, which no known patch has" for one in digests)
    assert alone.patches == ()


TOP = series_of(sending("top", 1, cover=None))


@pytest.mark.parametrize(
    "line",
    [
        "Depends-on: <below-0@x>",
        "depends-on: <below-2@x>",
        "Based-on: <below-1@x> (the rework)",
        "Depends-on: https://lore.kernel.org/linux-mm/below-0@x/",
        "prerequisite-message-id: <below-0@x>",
    ],
)
def test_a_series_is_named_by_any_of_its_mails(line: str) -> None:
    found = find(said(TOP, line), known([series_of(ided("below", 2)), TOP]))
    assert [one.message_id for one in found.patches] == ["below-1@x", "below-2@x"]
    assert found.missing == ()


def ided(name: str, total: int) -> list[bytes]:
    """Return a sending whose Message-IDs have a host."""
    mails = [letter(f"[PATCH 0/{total}] the cover", "Why.\n", id=f"{name}-0@x")]
    for number in range(1, total + 1):
        path = f"{name}{number}"
        head = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"
        diff = f"why\n\n---\n\n{head}@@ -1 +1 @@\n-a\n+b\n"
        mails.append(
            letter(
                f"[PATCH {number}/{total}] {name} {number}", diff, id=f"{name}-{number}@x",
                parents=[f"{name}-0@x"],
            )
        )  # fmt: skip
    return mails


def test_a_change_id_names_one_version() -> None:
    first = replace(series_of(ided("one", 1)), change_id="20260101-x-12", version=1)
    second = replace(series_of(ided("two", 1)), change_id="20260101-x-12", version=2)
    among = known([first, second])
    found = find(said(TOP, "prerequisite-change-id: 20260101-x-12:v1"), among)
    assert [one.message_id for one in found.patches] == ["one-1@x"]
    for line in ("20260101-x-12:v3", "20260101-x-12", "x:v99999999"):
        lost = find(said(TOP, f"prerequisite-change-id: {line}"), among)
        assert lost.missing == (f"{line}, which names no mail that is known",)


def test_what_a_prerequisite_needs_itself_comes_first_and_everything_once() -> None:
    deep = series_of(ided("deep", 1))
    middle = said(series_of(ided("middle", 1)), "Depends-on: <deep-0@x>")
    top = said(TOP, "Depends-on: <middle-0@x>", "Depends-on: <deep-1@x>",
               f"prerequisite-patch-id: {patch_id(deep.patches[0].message.diff)}")  # fmt: skip
    found = find(top, known([deep, middle]))
    assert [one.message_id for one in found.patches] == ["deep-1@x", "middle-1@x"]


def test_one_patch_in_two_mails_is_one_and_own_patches_are_none() -> None:
    first = series_of(ided("one", 1))
    mail = first.patches[0].message
    sent_again = replace(first.patches[0], message=replace(mail, message_id="again@x"))
    again = replace(first, id="again@x", cover=None, patches=(sent_again,))
    digest = f"prerequisite-patch-id: {patch_id(mail.diff)}"
    top = said(TOP, "Depends-on: <one-0@x>", "Depends-on: <again@x>", digest)
    assert len(find(top, known([first, again])).patches) == 1
    assert find(said(first, digest), known([first])) == prerequisites.Prerequisites()


def test_series_that_need_one_another_end_somewhere() -> None:
    one = said(series_of(ided("one", 1)), "Depends-on: <two-0@x>")
    two = said(series_of(ided("two", 1)), "Depends-on: <one-0@x>", "Depends-on: <two-1@x>")
    found = find(one, known([one, two]))
    assert [each.message_id for each in found.patches] == ["two-1@x"]


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("Depends-on: <nobody@x>", "nobody@x, which is not among the known mail"),
        ("Depends-on: 1234567 (mm: fix)", "1234567 (mm: fix), which names no mail that is known"),
        ("Depends-on: https://[bad", "https://[bad, which names no mail that is known"),
        ("prerequisite-patch-id: what", "one without patch-id"),
        ("Depends-on: <hole-0@x>", "hole-0@x, of which patches are missing"),
    ],
)
def test_what_is_not_known_is_told(line: str, missing: str) -> None:
    hole = series_of(ided("hole", 3)[:3])
    found = find(said(TOP, line), known([hole]))
    assert (found.patches, found.missing) == ((), (missing,))


def test_lines_that_only_look_like_prerequisites_are_none() -> None:
    lines = ("> Depends-on: <a@x>", "  Depends-on: <a@x>", "It Depends-on: <a@x>", "Depends-on:",
             "+prerequisite-patch-id: " + "a" * 40)  # fmt: skip
    assert find(said(TOP, *lines), known([])) == prerequisites.Prerequisites()


def test_there_is_an_end_to_what_is_named() -> None:
    lines = [f"Depends-on: <{number}@x>" for number in range(3 * MOST)]
    assert len(find(said(TOP, *lines), known([])).missing) == MOST
    many = series_of(ided("many", MOST + 5))
    found = find(said(TOP, "Depends-on: <many-0@x>"), known([many]))
    assert len(found.patches) == MOST
    assert found.missing == (f"those beyond the first {MOST} patches",)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<a@b>", "a@b"),
        ("[1] <a/b@c> and more", "a/b@c"),
        ("a@b", "a@b"),
        ("(a@b),", "a@b"),
        ("https://lore.kernel.org/r/a@b", "a@b"),
        ("<https://lore.kernel.org/all/a%2Fb@c/>", "a/b@c"),
        ("https://patch.msgid.link/a@b/#t", "a@b"),
        ("https://lore.kernel.org/all/", None),
        ("A. Author", None),
        ("@", None),
        ("<>", None),
        ("http://[::1", None),
    ],
)
def test_a_message_id_is_read_from_brackets_links_and_bare(text: str, found: str | None) -> None:
    assert message_id(text) == found
