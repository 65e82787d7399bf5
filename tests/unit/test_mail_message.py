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
