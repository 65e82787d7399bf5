"""Mail that means harm, or that a broken program wrote: read to its end, in bounds, with a reason.

What must hold for any mail stands in tests/fuzz/targets.py; a limit in size is shown by what
tracemalloc counts, never by a time.
"""

from __future__ import annotations

import base64
import io
import random
import re
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bot.mail import body, headers, kinds, mime, sources
from bot.mail.commit import commit
from bot.mail.message import TOO_LONG, Message, may_be_patch, parse
from bot.mail.series import sort_out
from tests.fuzz import damage, targets
from tests.letters import DIFF, PATCH, letter, mbox

MIB = 1 << 20
HEAD = b"From: Jane Doe <jane@example.org>\nSubject: [PATCH] x\n"
WHOLE = PATCH.encode()
# what the others make of the commit message is no text
ODD_CHARSETS = [name for name in damage.CHARSETS if name not in {b"utf-16", b"utf-32-be"}]


def checked(raw: bytes) -> Message:
    """Read a mail, having checked all that must hold for any."""
    targets.one_mail(raw)
    return parse(raw)


def peak(work: Callable[[], object]) -> int:
    """Return the bytes that something takes at most, beside what there was before."""
    tracemalloc.start()
    work()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


# ---------------------------------------------------------------- charsets


@pytest.mark.parametrize("charset", ODD_CHARSETS, ids=lambda name: repr(name[:20]))
def test_a_charset_that_is_none_does_not_hide_the_patch(charset: bytes) -> None:
    head = b"Content-Type: text/plain; charset=" + charset + b"\n"
    found = checked(HEAD + head + b"\n" + WHOLE)
    assert found.diff == DIFF.encode()
    assert found.above.startswith("Why it is so.\n")


@pytest.mark.parametrize("charset", ["utf-16", "utf-32-be", "utf-7", "iso-2022-jp"])
def test_the_diff_is_what_was_sent_whatever_the_charset(charset: str) -> None:
    found = checked(HEAD + f"Content-Type: text/plain; charset={charset}\n\n".encode() + WHOLE)
    assert (found.diff, found.damage) == (DIFF.encode(), None)


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "raw-unicode-escape"])
def test_codecs_that_are_no_charsets_are_not_asked(charset: str) -> None:
    assert body.decoded(b"\\u0041-9", charset) == "\\u0041-9"


@given(st.sampled_from(damage.CHARSETS), st.sampled_from("qbQBx"), st.binary(max_size=40))
def test_encoded_words_may_hold_anything(charset: bytes, how: str, text: bytes) -> None:
    word = b"=?%s?%s?%s?=" % (charset, how.encode(), text)
    for name in (b"Subject", b"From", b"To", b"Message-ID", b"List-Id", b"Date"):
        targets.one_mail(damage.with_header(HEAD + b"\n" + WHOLE, name, b"a " + word))


# ---------------------------------------------------------------- headers


@pytest.mark.parametrize(
    "subject",
    [
        "[PATCH] =?utf-8?q?a=0ABcc:_x@y?=", "[PATCH] a\n Bcc: x@y", "[PATCH] =?utf-8?b?YQ0KQmM6?=",
        "[PATCH] a\x0bb", "[PATCH] a\u2028Bcc: x", "[PATCH] a\x85Bcc: x", "[PATCH] a\rBcc: x@y",
        "[PATCH] =?utf-8?q?a=E2=80=AEb?=", "[PATCH] =?utf-7?q?+2AA-?=", "[PATCH] \x1b]0;x\x07",
    ],
)  # fmt: skip
def test_a_subject_is_one_line_and_moves_no_cursor(subject: str) -> None:
    found = checked(letter(subject))
    assert found.label.is_patch
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", found.subject)


@pytest.mark.parametrize("text", ['a, b <x@y> (c) "d"', "(" * 900 + "<x@y>"], ids=len)
def test_a_subject_with_an_address_in_it_is_no_address_list(text: str) -> None:
    assert checked(letter(f"[PATCH] =?utf-8?q?=C3=A4?= {text}")).subject == f"[PATCH] ä {text}"


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("<a@b>", "a@b"), ("a@b", "a@b"), ("<a@b", "a@b"), ("<a\x1b[2J@b>", "a [2J@b"),
        ("<<a@b>>", "a@b"), ("<a@b> <c@d>", "a@b"), ("(x) <a@b>", "a@b"), ("<a\n @b>", "a @b"),
        ("<('\"; drop table mails;--@b>", "('\"; drop table mails;--@b"), ("<a b@c>", "a b@c"),
        ("<\u202ea@b>", "a@b"), ("<>", None), ("<\0>", None), ("", None), ("< >", None),
        ("a b", None), ("<" + "a" * 999 + ">", None), ("<" + "a" * 998 + ">", "a" * 998),
    ],
)  # fmt: skip
def test_an_id_is_as_written_or_made(written: str, wanted: str | None) -> None:
    found = checked(HEAD + f"Message-ID: {written}\n\n".encode() + WHOLE)
    assert found.identified is (wanted is not None)
    assert found.message_id == (wanted or found.message_id)
    assert found.message_id.endswith("@no-id.invalid") is (wanted is None)


@pytest.mark.parametrize("date", damage.DATES, ids=lambda date: repr(date[:20]))
def test_a_date_is_one_of_the_calendar(date: bytes) -> None:
    found = checked(HEAD + b"Date: " + date + b"\n\n" + WHOLE)
    assert datetime(1, 1, 1, tzinfo=UTC) <= found.date <= datetime(9999, 12, 31, 23, 59, tzinfo=UTC)


def test_where_the_date_is_none_the_last_server_tells() -> None:
    hop = "Received: from a by b; Mon, 5 Jan 2026 12:00:00 +0000\n"
    late = "Received: from a (; by x; Thu, 1 Jan 2099 00:00:00 +0000\n"
    found = checked((hop * headers.HOPS + late).encode() + HEAD + b"Date: never\n\n" + WHOLE)
    assert found.date == datetime(2026, 1, 5, 12, tzinfo=UTC)


def test_a_hundred_thousand_headers_are_read_over() -> None:
    flood = b"X-Spam: yes\n" * 100_000
    assert checked(flood + HEAD + b"\n" + WHOLE).diff == DIFF.encode()
    assert kinds.sort(HEAD + flood + b"\n" + WHOLE).kind is kinds.Kind.PATCH


@pytest.mark.parametrize("name", ["X-Long", "To", "References", "Content-Type", "Received", "From"])
@pytest.mark.parametrize("piece", [b"x", b"(", b'"', b"<a@b>, ", b";a=b", b"\n x"])
def test_a_long_header_is_read_over(name: str, piece: bytes) -> None:
    value = piece * (MIB // 4 // len(piece))
    found = checked(HEAD + name.encode() + b": " + value + b"\n\n" + WHOLE)
    assert found.label.is_patch
    assert len(found.to) <= headers.LIST_LIMIT // len("a@b,")


def test_a_header_of_ten_megabytes_takes_a_few_times_as_much() -> None:
    raw = HEAD + b"X-Long: " + b"x" * (10 * MIB) + b"\n\n" + WHOLE
    assert peak(lambda: parse(raw)) < 14 * 10 * MIB
    assert parse(raw).diff == DIFF.encode()


def test_of_ten_thousand_references_the_nearest_are_kept() -> None:
    value = "\n ".join(f"<{number}@x>" for number in range(10_000))
    found = checked(HEAD + f"References: {value}\n\n".encode() + WHOLE)
    assert found.references == tuple(f"{number}@x" for number in range(9000, 10_000))
    (series,) = sort_out([found]).series
    assert series.complete


def test_ten_thousand_receivers_are_bounded() -> None:
    lines = b"".join(b"Cc: x%d@example.org\n" % number for number in range(10_000))
    found = checked(lines + HEAD + b"\n" + WHOLE)
    assert found.cc[0].email == "x0@example.org"
    assert sum(len(one.email) for one in found.cc) <= headers.LIST_LIMIT


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("depth", [2, mime.DEPTH - 1, mime.DEPTH + 1, 1000, 30_000])
@pytest.mark.parametrize("same", [True, False])
def test_parts_in_parts(depth: int, *, same: bool) -> None:
    names = ["a" if same else f"b{number}" for number in range(depth + 1)]
    inner = "".join(f"--{a}\nContent-Type: multipart/mixed; boundary={b}\n\n" for a, b in zip(names, names[1:], strict=False))  # noqa: E501, RUF007 # fmt: skip
    head = HEAD + f"Content-Type: multipart/mixed; boundary={names[0]}\n\n".encode()
    found = checked(head + inner.encode() + f"--{names[-1]}\n\n".encode() + WHOLE)
    if depth < mime.DEPTH and not same:
        assert found.diff == DIFF.encode()
    reason = dict(sort_out([found]).left).get(found.message_id)
    assert found.diff or reason == "[PATCH] in its subject, but no diff and no diffstat"


@pytest.mark.parametrize("depth", [1, 50, 3000])
def test_mails_in_mails(depth: int) -> None:
    checked(HEAD + b"Content-Type: message/rfc822\n\n" * depth + b"\n" + WHOLE)


@pytest.mark.parametrize("count", [10, mime.PARTS + 1])
def test_a_mail_of_many_parts_is_read_or_not_looked_into(count: int) -> None:
    head = HEAD + b"Content-Type: multipart/mixed; boundary=p\n\n"
    found = checked(head + b"--p\n\nx\n" * count + b"--p\n\n" + WHOLE + b"--p--\n")
    assert bool(found.diff) is (count < mime.PARTS)


def test_a_patch_with_many_dashed_lines_is_no_bomb() -> None:
    removed = "--a\n" * (mime.PARTS + 1)
    diff = f"--- a/x\n+++ b/x\n@@ -1,{mime.PARTS + 1} +0,0 @@\n{removed}"
    assert checked(HEAD + b"\nWhy.\n---\n" + diff.encode()).diff == diff.encode()


@pytest.mark.parametrize("kind", damage.TYPES, ids=lambda kind: repr(kind[:30]))
def test_a_content_type_may_lie(kind: bytes) -> None:
    checked(HEAD + b"Content-Type: " + kind + b"\n\n--a\n\n" + WHOLE + b"--a--\n")


@pytest.mark.parametrize("coding", damage.ENCODINGS, ids=lambda coding: repr(coding[:20]))
def test_a_transfer_encoding_may_lie(coding: bytes) -> None:
    checked(HEAD + b"Content-Transfer-Encoding: " + coding + b"\n\n" + WHOLE)


@pytest.mark.parametrize("coding", ["base64 ", "BASE64", "\tbase64"])
def test_a_transfer_encoding_may_stand_among_blanks(coding: str) -> None:
    sent = base64.encodebytes(WHOLE)
    head = f"Content-Transfer-Encoding:{coding if coding[0].isspace() else ' ' + coding}\n\n"
    assert checked(HEAD + head.encode() + sent).diff == DIFF.encode()


def test_what_says_base64_and_is_plain_is_no_patch_with_a_reason() -> None:
    found = checked(HEAD + b"Content-Transfer-Encoding: base64\n\n" + WHOLE)
    assert not found.diff
    assert sort_out([found]).left[0][1] == "[PATCH] in its subject, but no diff and no diffstat"


def test_an_attachment_may_be_named_in_any_charset() -> None:
    for name in (b'"=?utf-8?q?a=2Epatch?="', b'"\xe4.patch"', b"a.PATCH"):
        head = (
            b"Content-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: text/plain\n\nWhy.\n"
        )
        part = b"--B\nContent-Type: application/octet-stream; name=" + name + b"\n\n"
        assert checked(HEAD + head + part + DIFF.encode() + b"--B--\n").diff == DIFF.encode()


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    ("text", "head"),
    [
        (b"a\n" * (3 * MIB), b""),
        (b"\n" * (6 * MIB), b""),
        (base64.b64encode(b"+a\n" * (2 * MIB)), b"Content-Transfer-Encoding: base64\n"),
        (b"=41=\n" * (2 * MIB), b"Content-Transfer-Encoding: quoted-printable\n"),
        (b"a \n" * (2 * MIB), b"Content-Type: text/plain; format=flowed\n"),
        (b"--p\n\nx\n" * MIB, b"Content-Type: multipart/mixed; boundary=p\n"),
    ],
    ids=["lines", "empty lines", "base64", "quoted-printable", "flowed", "parts"],
)
def test_many_short_lines_take_no_more_than_long_ones(text: bytes, head: bytes) -> None:
    raw = HEAD + head + b"\n" + text
    assert peak(lambda: parse(raw)) < 4 * len(raw) + 50 * MIB
    found = parse(raw)
    assert found.damage == TOO_LONG or not (found.above + found.below).strip()


def test_a_diff_of_too_many_lines_is_damaged() -> None:
    count = body.LINES + 10
    diff = f"--- a/x\n+++ b/x\n@@ -0,0 +1,{count} @@\n".encode() + b"+\n" * count
    (series,) = sort_out([parse(HEAD + b"\nWhy.\n---\n" + diff)]).series
    assert series.problem is not None
    assert "inside a hunk (lines left: " in series.problem


def test_a_diff_above_very_many_lines_says_that_not_all_was_read() -> None:
    (series,) = sort_out([parse(HEAD + b"\n" + WHOLE + b"x\n" * body.LINES)]).series
    assert series.problem == f"patch 1: {TOO_LONG}"


def test_a_mail_of_a_hundred_megabytes_is_measured_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "box"
    with path.open("wb") as stream:
        stream.write(mbox([letter("[PATCH] before", id="1@x")]))
        stream.write(b"From a@b Mon Jan  5 12:00:00 2026\nSubject: [PATCH] large\n\n")
        for _ in range(100):
            stream.write(b"x" * (MIB - 1) + b"\n")
        stream.write(b"\n" + mbox([letter("[PATCH] after", id="2@x")]))
    kept: list[bytes] = []
    assert peak(lambda: kept.extend(sources.messages(path))) < 40 * MIB
    assert [b"before" in kept[0], b"after" in kept[1], len(kept)] == [True, True, 2]
    assert "mail 2: larger than 25 MiB, left out" in caplog.text


def test_zeros_are_no_end_of_the_mail() -> None:
    found = checked(HEAD + b"\nWhy\0 it is so.\n---\n" + DIFF.encode().replace(b"int c", b"int\0c"))
    assert b"int\0c" in found.diff
    assert "\0" not in commit(found).message
    checked(b"\0" * 5000 + HEAD + b"\n" + WHOLE)
    checked(HEAD.replace(b"PATCH] x", b"PATCH] \0x\0") + b"\n" + WHOLE)


# ---------------------------------------------------------------- mailboxes

FROM = b"From a@b Mon Jan  5 12:00:00 2026\n"
QUOTED = [b"From here on", b">From there", b">>From 12:00 2026 on", b"From a@b Mon Jan  5 12:00:00 2026"]  # noqa: E501 # fmt: skip


@pytest.mark.parametrize("line", QUOTED)
@pytest.mark.parametrize("place", ["body", "diff"])
def test_from_in_a_mail_comes_back_from_an_mboxrd(line: bytes, place: str) -> None:
    text = line + b"\n" + WHOLE if place == "body" else WHOLE.replace(b" int a;", line)
    mails = [HEAD + b"\n" + text, HEAD + b"\n" + WHOLE]
    assert list(sources.split(io.BytesIO(mbox(mails)))) == mails


def test_from_without_quotes_begins_no_mail_in_a_diff() -> None:
    text = WHOLE.replace(b" int a;", b" From a@b Mon Jan  5 12:00:00 2026").replace(
        b"+int c;", b"+From a@b Mon Jan  5 12:00:00 2026"
    )
    (found,) = sources.split(io.BytesIO(FROM + HEAD + b"\n" + text))
    assert parse(found).damage is None


@pytest.mark.parametrize("length", ["0", "7", "-1", "999999999", "x", "1" * 5000])
def test_a_content_length_is_not_believed(length: str) -> None:
    head = HEAD + f"Content-Length: {length}\n".encode()
    box = FROM + head + b"\n" + WHOLE + b"\n" + FROM + HEAD + b"\n" + WHOLE
    found = list(sources.split(io.BytesIO(box)))
    assert [parse(one).diff for one in found] == [DIFF.encode()] * 2


def test_from_lines_without_end_are_no_mails() -> None:
    box = FROM * 100_000
    assert peak(lambda: list(sources.split(io.BytesIO(box)))) < 20 * len(box)
    assert len(list(sources.split(io.BytesIO(box)))) == 1


@given(st.lists(st.sampled_from([*QUOTED, b"", b"x", b"Subject: y", b">", b"\r"]), max_size=12))
def test_any_lines_come_back_from_an_mboxrd(lines: list[bytes]) -> None:
    mail = HEAD + b"\n" + b"\n".join([*lines, b"The end."]) + b"\n"
    assert list(sources.split(io.BytesIO(mbox([mail, mail])))) == [mail, mail]


# ---------------------------------------------------------------- anything

MAIL = st.builds(
    lambda kinds, seed, raw: _hurt(raw, kinds, seed),
    st.lists(st.sampled_from(damage.ALL), max_size=3), st.integers(0, 1 << 30),
    st.sampled_from([letter("[PATCH 1/2] a", id="1@x"), letter("Re: [PATCH] a", "> x\ny\n")]),
)  # fmt: skip


def _hurt(raw: bytes, kinds: list[damage.Damage], seed: int) -> bytes:
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    for one in kinds:
        raw = one(raw, chance)[:MIB]
    return raw


@settings(deadline=None, max_examples=150)
@given(MAIL)
def test_no_mixture_of_damage_breaks_a_promise(raw: bytes) -> None:
    targets.one_mail(raw)


@settings(deadline=None)
@given(MAIL)
def test_the_short_way_to_a_text_is_that_of_the_whole_parser(raw: bytes) -> None:
    raw = raw.replace(b"\r\n", b"\n")
    assume(raw.count(b"message/rfc822") < 50)  # how deep Python calls depends on the caller
    try:
        whole = message_from_bytes(raw, policy=mime._POLICY)
    except body.ODD:
        return
    found = mime.parsed(raw)
    assert list(found.raw_items()) == list(whole.raw_items())
    if not mime._is_bomb(raw):
        assert found.is_multipart() == whole.is_multipart()
        assert found.is_multipart() or found._payload == whole._payload  # type: ignore[attr-defined]


@given(st.binary(max_size=400))
def test_any_bytes_are_a_mail_or_are_refused(data: bytes) -> None:
    targets.one_mail(data)
    targets.one_mailbox(data)


@given(st.binary(max_size=targets.WIDTH * 12))
def test_any_mails_are_put_together_the_same_in_any_order(data: bytes) -> None:
    targets.some_mails(data)


def test_a_mail_of_nothing_is_one() -> None:
    for raw in (b"", b"\n", b"\n\n", b"\0", b"\r", b"From ", b":", b": \n\n"):
        assert not may_be_patch(raw)
        assert not checked(raw).diff
