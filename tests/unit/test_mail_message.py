from __future__ import annotations

import base64
import json
import quopri
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.mail.body import unflow
from bot.mail.message import may_be_patch, parse
from bot.mail.patchtext import patch_texts
from bot.mail.series import as_json, assemble
from tests.letters import DIFF, PATCH, letter


def test_what_a_mail_carries() -> None:
    extra = "To: A <a@x>, b@x\nCc: =?utf-8?q?J=C3=B6rg?= <j@x>\nList-Id: <l.x>\n"
    found = parse(letter("[PATCH 1/2] one", id="p@x", parents=["v1@x", "c@x"], headers=extra))
    assert [str(one) for one in found.to] == ["A <a@x>", "b@x <b@x>"]
    assert [str(one) for one in found.cc] == ["Jörg <j@x>"]
    assert found.references == ("v1@x", "c@x")
    assert found.list_id == "<l.x>"
    assert found.diff == DIFF.encode()
    assert found.lines == tuple(PATCH.removesuffix("\n").split("\n"))
    assert found.damage is None


@pytest.mark.parametrize("coding", ["quoted-printable", "base64", "8bit"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_transfer_encodings_are_undone(coding: str, newline: bytes) -> None:
    diff = DIFF.replace("int a", "char *ä = \x0c\t").encode("latin-1")
    text = (b"Gr\xfc\xdfe\n---\n" + diff).replace(b"\n", newline)
    sent = {
        "quoted-printable": lambda: quopri.encodestring(text),
        "base64": lambda: base64.encodebytes(text),
        "8bit": lambda: text,
    }[coding]()
    head = f"Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: {coding}\n"
    found = parse(letter("[PATCH] x", "", headers=head) + sent)
    assert found.diff == diff
    assert found.above.startswith("Grüße")


def test_a_file_with_carriage_returns_keeps_them() -> None:
    diff = DIFF.replace(" int a;\n", " int a;\r\n").encode()
    head = "Content-Transfer-Encoding: base64\n"
    sent = base64.encodebytes(b"Why.\n---\n" + diff)
    assert parse(letter("[PATCH] x", "", headers=head) + sent).diff == diff


def test_an_attached_patch_is_found_and_html_is_not() -> None:
    head = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n"
    body = (
        f"--B\nContent-Type: text/html\n\n<p>{DIFF}</p>\n--B\nContent-Type: text/plain\n\nWhy.\n"
        "--B\nContent-Type: application/octet-stream; name=x.patch\n"
        f"Content-Disposition: attachment; filename=x.patch\n\n{DIFF}\n--B--\n"
    )
    found = parse(letter("[PATCH] x", body, headers=head))
    assert found.diff == DIFF.encode()
    assert "<p>" not in found.above


def test_flowed_text_is_unstuffed() -> None:
    head = "Content-Type: text/plain; format=flowed\n"
    stuffed = "".join(f" {line}\n" if line[:1] == " " else f"{line}\n" for line in DIFF.split("\n"))
    assert parse(letter("[PATCH] x", stuffed, headers=head)).diff == DIFF.encode()
    assert unflow(b"a \nb\n-- \nc", delete_space=True) == b"ab\n-- \nc"
    assert unflow(b"a \nb\nc ", delete_space=False) == b"a b\nc "


def test_the_diff_ends_where_its_last_hunk_does() -> None:
    below = "-- \n2.39.5\n\n--- a/quoted\n+++ b/quoted\n@@ -1 +1 @@\n-a\n+b\n"
    found = parse(letter("[PATCH] x", DIFF + below))
    assert found.diff == DIFF.encode()
    assert found.below == below


def test_a_removed_line_of_dashes_is_no_signature() -> None:
    diff = "--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n-- \n a\n"
    assert parse(letter("[PATCH] x", f"{diff}-- \n2.39\n")).diff == diff.encode()


BINARY = (
    "diff --git a/i.png b/i.png\nindex 1111111..2222222 100644\nGIT binary patch\n"
    "literal 3\nKc${NkU}69O0RR91\n\nliteral 0\nHcmV?d00001\n\n"
)
UNENDED = (
    "diff --git a/e b/e\n--- a/e\n+++ b/e\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n"
    "+b\n\\ No newline at end of file\n"
)
MODE = "diff --git a/run b/run\nold mode 100644\nnew mode 100755\n"


@pytest.mark.parametrize("diff", [MODE + DIFF, DIFF + BINARY, DIFF + UNENDED, BINARY + MODE])
def test_modes_binaries_and_files_without_a_last_newline(diff: str) -> None:
    found = parse(letter("[PATCH] x", f"Why.\n---\n{diff}-- \n2.39\n"))
    assert found.diff.decode() == diff
    assert found.damage is None


@pytest.mark.parametrize(
    ("diff", "words"),
    [
        (DIFF.rsplit(" int d", 1)[0], "the mail ends inside a hunk (lines left: 1)"),
        (
            DIFF.rsplit("+int c", 1)[0] + "-- \n2.39.5\n",
            "cut or wrapped inside a hunk (lines left: 2)",
        ),
        (DIFF.replace("-int b", "int b"), "cut or wrapped inside a hunk (lines left: 2)"),
        (DIFF.replace("+int c;\n", "+int c;\n+int e;\n"), "cut or wrapped"),
    ],
)
def test_a_cut_diff_is_damage(diff: str, words: str) -> None:
    found = parse(letter("[PATCH] x", diff.removesuffix("\n")))
    assert found.damage is not None
    assert words in found.damage
    assert "mm/one.c" in found.damage


HUNK = DIFF.partition(" @@\n")[2].splitlines(keepends=True)


@pytest.mark.parametrize("kept", range(len(HUNK)))
@pytest.mark.parametrize("below", ["", "-- \n2.39.5\n", "_______\nlist mailing list\n"])
def test_a_cut_is_seen_at_each_line_of_a_hunk(kept: int, below: str) -> None:
    cut = DIFF.removesuffix("".join(HUNK[kept:])) + below
    found = parse(letter("[PATCH] x", f"Why.\n---\n{cut}"))
    assert found.damage is not None
    (series,) = assemble([found])
    assert series.problem == f"patch 1: {found.damage}"
    assert not series.complete


HEAD = ["diff --git a/mm/two.c b/mm/two.c\n", "index 3..4 100644\n", "--- a/mm/two.c\n", "+++ b/mm/two.c\n"]  # noqa: E501 # fmt: skip
LIST = "_______\nlist mailing list\n"
MOVED = (
    "diff --git a/o.c b/mm/two.c\nold mode 100644\nnew mode 100755\nsimilarity index {}%\n"
    "rename from o.c\nrename to mm/two.c\n"
)
EMPTY = "diff --git a/mm/two.c b/mm/two.c\nnew file mode 100644\nindex 0000000..e69de29\n"
GONE = "diff --git a/mm/two.c b/mm/two.c\ndeleted file mode 100644\nindex e69de29..0000000\n"


@pytest.mark.parametrize("kept", range(1, 5))
@pytest.mark.parametrize("before", ["", DIFF])
@pytest.mark.parametrize("below", ["", "-- \n2.39.5\n", LIST])
def test_a_cut_in_the_header_of_a_file_is_damage(kept: int, before: str, below: str) -> None:
    found = parse(letter("[PATCH] x", f"Why.\n---\n{before}{''.join(HEAD[:kept])}{below}"))
    assert found.damage == "the mail ends above the first hunk in the diff of mm/two.c"
    (series,) = assemble([found])
    assert series.problem == f"patch 1: {found.damage}"


@pytest.mark.parametrize(
    "cut",
    [
        MOVED.format(90), EMPTY.rpartition("index")[0], GONE.rpartition("index")[0],
        *(MOVED.format(100).rpartition(word)[0] for word in ("new mode", "rename f", "rename t")),
        EMPTY.replace("e69de29", "e69"), BINARY.partition("literal")[0],
        "--- a/x\n+++ b/mm/two.c\n",
    ],
)  # fmt: skip
def test_a_header_that_asks_for_more_is_damage(cut: str) -> None:
    found = parse(letter("[PATCH] x", f"Why.\n---\n{DIFF}{cut}"))
    assert found.damage is not None
    assert found.damage.startswith("the mail ends above the first hunk in the diff of ")


@pytest.mark.parametrize(
    "part", [MODE, MOVED.format(100), EMPTY, GONE, BINARY.partition("GIT")[0] + "Binary files a/i.png and b/i.png differ\n"]  # noqa: E501
)  # fmt: skip
def test_a_file_without_hunks_can_be_whole(part: str) -> None:
    for diff in (part, part + DIFF, DIFF + part):
        found = parse(letter("[PATCH] x", f"Why.\n---\n{diff}{LIST}"))
        assert (found.diff.decode(), found.damage) == (diff, None)


def test_a_file_without_its_hunk_among_others_is_damage() -> None:
    found = parse(letter("[PATCH] x", f"Why.\n---\n{''.join(HEAD)}{DIFF}"))
    assert found.damage == "there is no hunk in the diff of mm/two.c"


def test_a_table_that_begins_like_a_diff_is_none() -> None:
    found = parse(letter("[PATCH] x", f"Faster:\n\n--- before\n+++ after\n10 9\n\n{DIFF}"))
    assert found.damage is None


def test_the_name_of_a_damaged_file_is_printable() -> None:
    cut = "--- a/\x1b[2Jx\n+++ b/\x1b[2Jx\n@@ -1 +1 @@\n"
    damage = parse(letter("[PATCH] x", cut)).damage
    assert damage == "the mail ends inside a hunk (lines left: 1) in the diff of [2Jx"


@pytest.mark.parametrize("kept", range(1, len("@@ -9 +9 @@")))
def test_a_cut_first_line_of_a_hunk_is_damage(kept: int) -> None:
    found = parse(letter("[PATCH] x", f"Why.\n---\n{DIFF}{'@@ -9 +9 @@'[:kept]}"))
    assert found.damage == "the first line of a hunk is cut in the diff of mm/one.c"


STAT = " mm/one.c | 2 +-\n mm/two.c | 2 +-\n 2 files changed, 2 insertions(+), 2 deletions(-)\n"
FEWER = "there is the diff of 1 of the 2 files in its diffstat"
TWO = DIFF.replace("one.c", "two.c")


@pytest.mark.parametrize("below", ["", "-- \n2.39.5\n", LIST])
def test_fewer_files_than_the_diffstat_says_are_damage(below: str) -> None:
    found = parse(letter("[PATCH] x", f"Why.\n---\n{STAT}\n{DIFF}{below}"))
    assert found.damage == FEWER
    (series,) = assemble([found])
    assert series.problem == f"patch 1: {FEWER}"
    assert parse(letter("[PATCH] x", f"Why.\n---\n{STAT}\n{DIFF}{TWO}{below}")).damage is None


def test_the_copy_with_all_files_is_taken() -> None:
    cut = letter("[PATCH] x", f"Why.\n---\n{STAT}\n{DIFF}", id="1@x")
    whole = letter("[PATCH] x", f"Why.\n---\n{STAT}\n{DIFF}{TWO}{LIST}", id="1@x")
    for mails in ((cut, whole), (whole, cut)):
        (series,) = assemble(map(parse, mails))
        assert series.problem is None


MORE = STAT.replace("2 insertions", "3 insertions")


@pytest.mark.parametrize(
    "body",
    [
        f"Quoted:\n{STAT}\n---\nv2: new\n\n{DIFF}",  # a diffstat in the commit message
        f"Why.\n---\n 9 files changed\n{STAT}\n{DIFF}{TWO}",  # one in the notes
        f"Why.\n---\n{STAT.replace('2 files', '1 file')}\n{DIFF}{TWO}",  # more than announced
        f"Why.\n---\n{MORE}\n{DIFF}{TWO}-- \n2.39.5\n",  # edited by hand
        f"Why.\n---\n{STAT.partition(',')[0]}\n\n{DIFF}{TWO}",  # no lines announced
    ],
)
def test_a_diffstat_that_is_none_or_not_exact_is_no_damage(body: str) -> None:
    assert parse(letter("[PATCH] x", body)).damage is None


def test_fewer_lines_than_the_diffstat_says_are_damage_where_no_signature_follows() -> None:
    found = parse(letter("[PATCH] x", f"Why.\n---\n{MORE}\n{DIFF}{TWO}"))
    assert found.damage == "there are fewer changed lines in the diff than in its diffstat"


def test_what_is_missing_gets_a_stand_in() -> None:
    found = parse(b"Subject: [PATCH] x\nDate: Mon, 99 Foo 0001 25:00 +9999\n\n" + DIFF.encode())
    assert found.sender.email == "unknown@invalid"
    assert found.date == datetime(1970, 1, 1, tzinfo=UTC)
    assert not found.identified
    assert found.message_id.endswith("@no-id.invalid")


def test_headers_hold_no_control_characters() -> None:
    found = parse(b"From: =?utf-8?q?a=1b=5B2J?= <a@x>\nSubject: [PATCH] =?utf-8?q?x=0aBcc:_y?=\n\n")
    assert found.sender.name == "a [2J"
    assert found.subject == "[PATCH] x Bcc: y"


@pytest.mark.parametrize(
    ("subject", "wanted"),
    [
        ("[PATCH] a", True),
        ("=?utf-8?b?W1BBVENIXSBh?=", True),
        ("=?utf-8?q?=5BPATCH?= 1/2] a", True),
        ("Re: [PATCH] a", False),
        ("patch for you", False),
        ("[GIT PULL] a patch", False),
    ],
)
def test_the_subject_tells_what_may_be_a_patch(subject: str, *, wanted: bool) -> None:
    assert may_be_patch(letter(subject)) is wanted


HEADERS = [
    b"Content-Type: text/plain; charset=rot13", b"Content-Type: multipart/mixed; boundary=",
    b"Content-Type: text/plain; name*0*=x; charset*=a'b'%ff", b"Message-ID: <(\">",
    b"Content-Transfer-Encoding: =?utf-7?q?+2AA-?=", b"From: =?utf-8?q?a?= <\xc3\xa4@b>",
    b"To: " + b"(" * 4000, b"Subject: [PATCH] =?utf-8?b?A?=", b"Date: Thu, 1 Jan 0001 00:00 +2359",
    b"Content-Transfer-Encoding: base64", b"Subject: [PATCH 1/2] =?utf-8?q?a?= <\xc3\xa4@b>",
]  # fmt: skip


@given(st.lists(st.sampled_from(HEADERS) | st.binary(max_size=60)), st.binary(max_size=200))
def test_no_mail_is_too_broken_to_be_read(heads: list[bytes], body: bytes) -> None:
    raw = b"\n".join([*heads, b"Subject: [PATCH] x", b"", body, DIFF.encode()])
    may_be_patch(raw)
    for series in assemble([parse(raw)]):
        patch_texts(series)
        json.dumps(as_json(series), ensure_ascii=False).encode()


@pytest.mark.parametrize("parts", [500, 3000])
def test_parts_nested_without_end_are_no_patch(parts: int) -> None:
    nest = b"--a\nContent-Type: multipart/mixed; boundary=a\n\n" * parts
    head = b"Subject: [PATCH] x\nContent-Type: multipart/mixed; boundary=a\n\n"
    assert parse(head + nest).diff == b""
