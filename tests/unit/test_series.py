"""Series put together from mail made by git format-patch, and from damaged mail."""

from __future__ import annotations

import base64
import json
import mailbox
import random
import re
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
from tests.letters import COVER, JANE, PATCH, letter

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


def test_a_resend_of_the_same_patches_takes_the_place_of_the_first(repo: Repo) -> None:
    first = mails(repo, "--cover-letter")
    again = mails(repo, "--cover-letter", "--subject-prefix=PATCH RESEND net-next")
    later = [mail.replace(b"Mon, 5 Jan 2026 10", b"Tue, 6 Jan 2026 10") for mail in again]
    (series,) = assemble(map(parse, [*later, *first]))
    assert (series.resend, series.complete, series.tags) == (True, True, ("net-next",))
    assert series.id == parse(later[0]).message_id
    assert set(series.mail_ids) == {parse(mail).message_id for mail in (*first, *later)}


def test_a_resend_of_other_patches_follows_the_first(repo: Repo) -> None:
    first = mails(repo, "--cover-letter")
    again = mails(repo, "--cover-letter", "--subject-prefix=PATCH RESEND")
    later = [mail.replace(b"Mon, 5 Jan 2026 10", b"Tue, 6 Jan 2026 10") for mail in again]
    changed = [mail.replace(b"\n+", b"\n+/* rebased */ ") for mail in later]
    before, after = assemble(map(parse, [*changed, *first]))
    assert (before.resend, after.resend) == (False, True)
    assert after.supersedes == before.id


def test_one_message_id_for_two_patches_leaves_one_missing(repo: Repo) -> None:
    box = [re.sub(rb"(?m)^Message-I[Dd]:.*$", b"Message-Id: <same@x>", m) for m in mails(repo)[1:]]
    (series,) = assemble(map(parse, box))
    assert [patch.index for patch in series.patches] == [2]
    assert series.missing == (1, 3)


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


IDS = st.sampled_from("abcdefgh")
WORDS = st.sampled_from(["PATCH", "PATCH v2", "PATCH RESEND"])
PLACES = st.sampled_from(["", " 0/2", " 1/2", " 1/2", " 2/2", " 2/2", " 0/1", " 1/1"])
CUT = PATCH.split("+int c")[0]
SENDERS = st.sampled_from([JANE, JANE, "Jane via list <jane@example.org>", "B <b@x>"])


@st.composite
def any_letter(draw: st.DrawFn) -> bytes:
    """Return a patch, a cover or a damaged patch, threaded and timed at random.

    There is little to choose from, so that mails are often of the same place and minute.
    """
    place = draw(PLACES)
    return letter(
        f"[{draw(WORDS)}{place}] {draw(st.sampled_from(['one', 'two']))}",
        COVER if "0/" in place else draw(st.sampled_from([PATCH, PATCH, CUT])),
        id=draw(IDS | IDS | IDS | st.none()),
        parents=draw(st.sampled_from([[], ["a"], ["a"], ["b"], ["a", "c"]])),
        sender=draw(SENDERS),
        minutes=draw(st.sampled_from([0, 0, 1, 30])),
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(any_letter(), min_size=3, max_size=9), st.randoms(use_true_random=False))
def test_no_heap_of_mails_depends_on_its_order(heap: list[bytes], chance: random.Random) -> None:
    letters = [parse(mail) for mail in heap]
    found = assemble(letters)
    assert assemble(reversed(letters)) == found
    chance.shuffle(letters)
    assert assemble(letters) == found
    dealt = [
        patch.message.message_id for series in found for patch in series.patches
        if not series.is_partial or patch.message.message_id in series.sending.fresh
    ]  # fmt: skip
    assert len(dealt) == len(set(dealt))
    for series in found:
        places = [patch.index for patch in series.patches]
        assert places == sorted(set(places))
        assert set(series.missing) == set(range(1, series.total + 1)) - set(places)
        assert series.supersedes != series.id


@pytest.fixture
def messages(repo: Repo) -> list[bytes]:
    return [
        *mails(repo, "--cover-letter"),
        *mails(repo, "-v2"),
        *mails(repo, "-v3", "--cover-letter"),
    ]


def test_diffs_come_out_byte_for_byte(repo: Repo) -> None:
    texts = patch_texts(assemble(map(parse, mails(repo)))[0])
    for text, commit in zip(texts, ("HEAD~2", "HEAD~1", "HEAD"), strict=True):
        shown = repo.git("show", "--format=", "--binary", commit)
        assert text.diff.decode().rstrip("\n") == shown.rstrip("\n")
    assert (texts[0].subject, texts[0].message.strip()) == ("mm: change 1", "Why it is so.")
    assert texts[0].author_email == "author@example.org"
    assert texts[0].date.isoformat() == "2026-01-05T10:00:00+01:00"


def recoded(mail: bytes, coding: str) -> bytes:
    """Return the mail with its body in another transfer encoding."""
    head, _, body = mail.partition(b"\n\n")
    if coding == "base64":
        body = base64.encodebytes(body)
    elif coding == "quoted-printable":
        body = re.sub(rb"[^\n -<>-~]|[ \t](?=\n)", lambda one: b"=%02X" % ord(one[0]), body)
    return head + f"\nContent-Transfer-Encoding: {coding}\n\n".encode() + body


# an 8bit mail to a file with CRLF lines loses them on its way, as with git am
LINES = {"8bit": "rot\tgelb \n\n\x0c=3D\n", "base64": "rot\r\nblau \n", "quoted-printable": ""}
LINES["quoted-printable"] = LINES["8bit"] + LINES["base64"]


@pytest.mark.parametrize("coding", LINES)
def test_what_is_applied_is_what_was_committed(repo: Repo, coding: str) -> None:
    repo.edit("fs: umlaut", "fs/ümlaut.txt", "grün\n", LINES[coding] + "größer\n")
    box = [recoded(mail, coding) for mail in mails(repo)]
    (series,) = assemble(map(parse, box))
    assert series.problem is None
    wanted = repo.git("rev-parse", "HEAD^{tree}")
    repo.git("reset", "--quiet", "--hard", "base")
    for text in patch_texts(series):
        patch = repo.path / ".git" / "patch"
        patch.write_bytes(text.diff)
        repo.git("apply", "--cached", str(patch))
    assert repo.git("write-tree") == wanted


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


def test_a_cut_at_any_line_below_the_diffstat_is_a_problem(repo: Repo) -> None:
    repo.git("tag", "many")
    lines = TEXT.replace("line 2\n", "two\n").replace("line 20\n", "20\n").replace("line 38\n", "")
    files = {"mm/a.c": lines, "mm/new.c": "int a;\n", "mm/empty.c": "", "fs/ümlaut.txt": None}
    repo.commit("mm: many files", files)
    (mail,) = repo.mails("many")
    (whole,) = assemble([parse(mail)])
    assert whole.problem is None
    text = mail.splitlines(keepends=True)
    first = next(n for n, line in enumerate(text) if b"files changed" in line) + 1
    last = text.index(b"-- \n")
    for number in range(first, last):
        (series,) = assemble([parse(b"".join(text[:number]))])
        assert series.problem, b"".join(text[:number]).decode()
    (series,) = assemble([parse(b"".join(text[:last]))])
    assert series.problem is None


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
