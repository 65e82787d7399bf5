"""Series put together from mail made by git format-patch, and from damaged mail."""

from __future__ import annotations

import json
import mailbox
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.errors import TheirsError
from bot.mail.load import load
from bot.mail.message import parse
from bot.mail.patchtext import patch_texts
from bot.mail.series import as_json, assemble
from tests.gitmail import Repo

# keys of `stackhog series --json`, which scripts rely on
KEYS = {
    "id", "title", "version", "tags", "resend", "total", "cover", "patches", "complete", "missing",
    "problem", "submitter", "date", "base_commit", "change_id", "supersedes",
}  # fmt: skip
TEXT = "".join(f"line {n}\n" for n in range(40))


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    found = Repo(tmp_path / "repo")
    found.commit("base", {"mm/a.c": TEXT, "fs/ümlaut.txt": "grün\n"})
    found.git("tag", "base")
    for number in (1, 2, 3):
        found.edit(f"mm: change {number}", "mm/a.c", f"line {number}0\n", f"From {number}\n-- \n")
    return found


def mails(repo: Repo, *options: str) -> list[bytes]:
    # format-patch makes Message-IDs of the commit and the second: tell versions apart
    mark = b"." + "".join(options).replace("-", "").encode() + b"@"
    return [
        mail.replace(b".git.author@example.org", b".git.author" + mark + b"example.org")
        for mail in repo.mails("base", *options)
    ]


def test_a_series_with_a_cover(repo: Repo) -> None:
    box = mails(repo, "--cover-letter", "-v2", "--rfc", "--base=base")
    (series,) = assemble(parse(mail) for mail in box)
    data = as_json(series)
    assert set(data) == KEYS
    assert (series.version, series.total, series.tags) == (2, 3, ("RFC",))
    assert [patch.index for patch in series.patches] == [1, 2, 3]
    assert series.complete
    assert series.cover is not None
    assert series.base_commit == repo.git("rev-parse", "base").strip()
    assert json.loads(json.dumps(data))["submitter"] == "A. Author <author@example.org>"
    assert "<" not in str(data["id"])


def test_a_series_without_a_cover_and_a_single_patch(repo: Repo) -> None:
    (series,) = assemble(parse(mail) for mail in mails(repo))
    assert (series.complete, series.cover, series.total) == (True, None, 3)
    assert series.lead.message_id == series.patches[0].message.message_id
    (single,) = assemble([parse(repo.mails("HEAD~1")[0])])
    assert (single.total, single.title) == (1, "mm: change 3")


def test_missing_patches_are_named(repo: Repo) -> None:
    box = mails(repo, "--cover-letter")
    (series,) = assemble(parse(mail) for mail in (box[0], box[2]))
    assert (series.missing, series.complete) == ((1, 3), False)


def test_two_versions_are_two_series_and_the_later_supersedes(repo: Repo) -> None:
    box = [*mails(repo, "--cover-letter"), *mails(repo, "--cover-letter", "-v2")]
    first, second = sorted(assemble(map(parse, box)), key=lambda one: one.version)
    assert (first.version, second.version) == (1, 2)
    assert second.supersedes == first.id
    assert first.supersedes is None


def test_the_same_mail_twice_is_one(repo: Repo) -> None:
    box = mails(repo, "--cover-letter")
    assert assemble(map(parse, box * 2)) == assemble(map(parse, box))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_the_order_of_arrival_does_not_matter(data: st.DataObject, messages: list[bytes]) -> None:
    shuffled = data.draw(st.permutations(messages))
    assert assemble(map(parse, shuffled)) == assemble(map(parse, messages))


@pytest.fixture
def messages(repo: Repo) -> list[bytes]:
    return [
        *mails(repo, "--cover-letter"),
        *mails(repo, "-v2"),
        *mails(repo, "-v3", "--cover-letter"),
    ]


def test_diffs_come_out_byte_for_byte(repo: Repo) -> None:
    repo.edit("fs: umlaut", "fs/ümlaut.txt", "grün\n", "grün\r\nblau\n")
    box = mails(repo)
    texts = patch_texts(assemble(map(parse, box))[0])
    for text, commit in zip(texts, ("HEAD~3", "HEAD~2", "HEAD~1"), strict=False):
        assert text.diff.decode().rstrip("\n") == repo.git("show", "--format=", commit).rstrip("\n")
    assert (texts[0].subject, texts[0].message.strip()) == ("mm: change 1", "Why it is so.")
    assert texts[0].author_email == "author@example.org"
    assert texts[0].date.isoformat() == "2026-01-05T10:00:00+01:00"


@pytest.mark.parametrize("kind", ["mbox", "maildir", "eml"])
def test_each_kind_of_mailbox_is_read(repo: Repo, tmp_path: Path, kind: str) -> None:
    box = mails(repo)
    path = tmp_path / "box"
    if kind == "maildir":
        maildir = mailbox.Maildir(path)
        for mail in box:
            maildir.add(mail.partition(b"\n")[2])
    elif kind == "eml":
        path.write_bytes(repo.mails("HEAD~1")[0].partition(b"\n")[2])
    else:
        repo.mbox("base", path)
    (series,) = load([path])
    assert series.complete
    assert series.total == (1 if kind == "eml" else 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"\x00\xff" * 5000, "mail"), (b"words\nwithout headers\n", "mail"),
     (b"From: a@example.org\nSubject: hello\n\nno patch\n", "no patch in 1 mail")],
)  # fmt: skip
def test_what_holds_no_patch_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "box"
    path.write_bytes(content)
    with pytest.raises(TheirsError, match=words) as caught:
        load([path])
    assert "box" in str(caught.value)


def test_missing_paths_and_odd_directories_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(TheirsError, match=str(path)):
            load([path])


def test_a_mail_cut_inside_its_diff_has_a_problem(repo: Repo) -> None:
    (mail,) = repo.mails("HEAD~1")
    (series,) = assemble([parse(mail.partition(b"+From 3")[0])])
    assert not series.complete
    assert series.problem is not None


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: text/plain; charset=klingon\n", b"Date: yesterday\n", b"From: \n",
        b"Cc: <<<>>>\n", b"Subject: [PATCH] twice\n", b"Content-Transfer-Encoding: base64\n",
        b"X: \x00\xff\n",
    ],
)  # fmt: skip
def test_broken_headers_never_crash(repo: Repo, head: bytes) -> None:
    (mail,) = repo.mails("HEAD~1")
    assemble([parse(head + mail.partition(b"\n")[2]), parse(head), parse(b"\n\n")])
