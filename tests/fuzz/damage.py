"""What happens to mail on its way, by accident or on purpose: one function for each.

Each takes a raw mail and a source of chance, and returns bytes that may be no mail any more.
The fuzzers, the tests and the archive of tests/bench/mails.py use the same ones.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable

Damage = Callable[[bytes, random.Random], bytes]
MOST = 1 << 20  # bytes of a mail that is made longer

CHARSETS = (
    b"utf-7", b"utf-16", b"utf-32-be", b"x-unknown", b"unicode_escape", b"raw_unicode_escape",
    b"idna", b"punycode", b"hex", b"rot13", b"zlib", b"base64", b"uu", b"mbcs", b"undefined",
    b"iso-2022-jp", b"iso-2022-jp-3", b"hz", b"gb2312", b"cp65001", b"utf-8-sig", b"\xff\x00",
    b'"', b"''", b"=?utf-8?q?x?=", b"us-ascii'en'x", b"x" * 5000, b"../../etc/passwd",
)  # fmt: skip
ENCODINGS = (
    b"base64", b"quoted-printable", b"uuencode", b"x-uuencode", b"x-uue", b"uue", b"binary",
    b"8bit; x", b"7bit\t(comment", b"=?utf-7?q?+2AA-?=", b"BASE64 ", b"yenc", b"",
)  # fmt: skip
TYPES = (
    b"multipart/mixed", b"multipart/mixed; boundary=", b'multipart/mixed; boundary=""',
    b"multipart/mixed; boundary=a", b"multipart/digest; boundary=-", b"multipart/signed",
    b"multipart/alternative; boundary*0=a; boundary*1=b", b"message/rfc822", b"message/partial",
    b"message/delivery-status", b"message/external-body", b"text/html", b"text", b"/", b"text/",
    b"text/plain; charset*=utf-8''%00%ff; charset*0*=a", b"text/plain; format=flowed; delsp=yes",
    b"text/plain; name*0*=x; name*1*=y'z'w.patch", b"application/octet-stream; name=a.patch",
    b"text/plain; charset", b"text/plain;;;;=;\xff", b"image/png; name=\"x.diff", b"\x00/\x00",
    b"text/x-patch; charset=\"utf-8", b"TEXT/PLAIN; FORMAT=FLOWED", b"multipart/; boundary=\xc3",
)  # fmt: skip
SUBJECTS = (
    b"[PATCH] =?utf-8?q?a=0ABcc:_x@y?=", b"[PATCH 1/2] a\n b\n\tc", b"[PATCH] a\r\n\r\n b",
    b"=?utf-8?q?[PATCH?= =?utf-16?b?AAA=?=", b"[PATCH 99999/3] a", b"[PATCH 1/9999] a",
    b"[PATCH 0/9999] a", b"[PATCH v99999999999999999999 1/2] a", b"[" * 5000, b"[PATCH] " * 400,
    b"[PATCH] \xe2\x80\xae\xe2\x80\x8bevil", b"[PATCH] \xed\xa0\x80", b"[PATCH] \xff\xfe",
    b"[PATCH] =?unknown-8bit?b?////?=", b"[PATCH] =?x?z?y?=", b"[PATCH] =?utf-8?b?A?=",
    b"[PATCH] =?idna?q?=ff?=", b"[PATCH] =?unicode_escape?q?=5Cud800?=", b"", b"\x00",
    b"[PATCH -1/-2] a", b"[PATCH 0/0] a", b"[PATCH 3/2] a", b"[PATCH 1 of 2] a", b"Re: " * 1000,
    b"[PATCH \xd9\xa1/\xd9\xa2] a", b"[PATCH v\xc2\xb2 1/2] a", b"=?utf-8?q?" + b"=5B" * 900,
    b"[PATCH 1/2\x0b] a", b"[PATCH" + b" 1/2" * 240 + b"] a", b"[PATCH" + b",v2" * 240 + b"] a",
)  # fmt: skip
IDS = (
    b"<>", b"<", b">", b"<a b@c>", b"<a@b> <c@d>", b"a@b", b"<\x00@\x1b[2J>", b"<a@b", b"a@b>",
    b"<<a@b>>", b"<a\n @b>", b'<("@b>', b"<" + b"a" * 5000 + b"@b>", b"<" * 3000, b"<>" * 3000,
    b"\xff", b"<\xff@\xfe>", b"<a@b>" * 2000, b"=?utf-8?q?=3Ca=40b=3E?=", b"", b"(c) <a@b>",
    b"<a'\"); drop table mails;--@b>", b"<../../a@b>", b"<a%0d%0aBcc:x@b>", b"<\xe2\x80\xae@b>",
)  # fmt: skip
DATES = (
    b"Mon, 99 Foo 0001 25:00 +9999", b"Thu, 1 Jan 0001 00:00 +2359", b"1 Jan 10000 00:00:00",
    b"Fri, 31 Dec 9999 23:59:59 -2359", b"1 Jan 1970 00:00:00 -0000", b"1 Jan 70", b"now", b"",
    b"1 Jan 2026 10:00:00 +99999999999", b"1 Jan 99999999999999999999 00:00", b"\xff", b"0",
    b"Mon, 5 Jan 2026 12:00:00 (" + b"(" * 3000, b"Mon, 5 Jan 2026 12:00:61 +0000", b", ,,",
    b"5 Jan 2026 12.00.00 +0100", b"Mon, -5 Jan 2026 12:00:00 +0000", b"1:2:3:4 " * 100,
    b"5 Jan 2026 12:00:00 +0000\x00", b"2026-01-05T12:00:00Z", b"5 Jan 2026 1" + b"9" * 900,
)  # fmt: skip
PEOPLE = (
    b"", b"<>", b"a", b"@", b"a@b, c@d", b"group: a@b;", b'"' * 900, b"(" * 900, b"<" * 900,
    b"=?utf-8?q?a=0Ab?= <a@b>", b'"a\\"b" <a@b>', b"\xff <\xff@\xfe>", b"a <a@b> c <d@e>",
    b"=?utf-8?q?a?= <\xc3\xa4@b>", b"<@a,@b:c@d>", b"\xe2\x80\xaea <a@b>", b"," * 900,
    b"=?unicode_escape?q?=5Cud800?= <a@b>", b"a <a@[1.2.3.4]>", b"a <" + b"a" * 900 + b"@b>",
    b"a@b," * 20000, b"a\x00 <b@c>",
)  # fmt: skip
FROM_LINES = (
    b"From a@b Mon Jan  5 12:00:00 2026", b"From here on", b">From there on", b">>From 12:00 2026",
    b"From ", b"From a@b Mon Jan  5 12:00:00 2026\nSubject: [PATCH] x", b"From: a@b",
    b"From " + b"0" * 40 + b" Mon Sep 17 00:00:00 2001\nFrom: a <a@b>\nSubject: [PATCH] y",
    b"From x 12:00 2026\r\nSubject: x\r\n\r",
)  # fmt: skip
_LIES = (
    b"@@ -1,999999999 +1,999999999 @@", b"@@ -0,0 +0,0 @@", b"@@ -1 +1 @@", b"@@ -,1 +1, @@",
    b"@@ -1,3 +1,4 @@ " + b"x" * 9000, b"@@ -99999999999,3 +1,3 @@", b"@@@ -1 -1 +1 @@@",
    b"@@ -1,3 +9,3 @@\n@@ -1,3 +1,3 @@", b"GIT binary patch\nliteral 99999999", b"\\ No newline",
)  # fmt: skip
_PATHS = (
    b"/etc/passwd", b"a/../../etc/passwd", b"a/.git/config", b'"a/\\303\\244\\n"', b"/dev/null",
    b"a/" + b"x/" * 2000 + b"y", b"", b"a/x y", b"a/\x00", b"a/\xff", b'"', b"a/x\tb/y",
)  # fmt: skip
_WORDS = (b"=5Cud800", b"+2AA-", b"////", b"=ff=0a=00", b"A")
_ODD = (
    b"\xe2\x80\xae", b"\xed\xa0\x80", b"\x1b[2J", b"\xf0\x9f\x90\x9b", b"\xe2\x80\xa8", b"\x85",
    b"\x0c", b"\xc2\xa0", b"\xef\xbb\xbf", b"\xff\xff\xff\xff", b"\xe2\x81\xa6",
)  # fmt: skip
_HUNK = re.compile(rb"(?m)^@@ [^\n]*")
_PATH = re.compile(rb"(?m)^(--- |\+\+\+ )([^\n]*)")


def with_header(raw: bytes, name: bytes, value: bytes) -> bytes:
    """Put a header in the place of those of its name."""
    head, gap, body = raw.partition(b"\n\n")
    kept = re.sub(rb"(?im)^" + name + rb":[^\n]*(?:\n[ \t][^\n]*)*\n?", b"", head)
    return kept.rstrip(b"\n") + b"\n" + name + b": " + value + (gap or b"\n\n") + body


def _header(name: bytes, values: tuple[bytes, ...]) -> Damage:
    return lambda raw, chance: with_header(raw, name, chance.choice(values))


def charset(raw: bytes, chance: random.Random) -> bytes:
    """Name a charset that there is not, or another one."""
    value = b"text/plain; charset=" + chance.choice(CHARSETS)
    return with_header(raw, b"Content-Type", value)


def encoded_lie(raw: bytes, chance: random.Random) -> bytes:
    """Name a charset in an encoded word that holds something else."""
    how = chance.choice([b"q", b"b", b"Q", b"z"])
    word = b"=?%s?%s?%s?=" % (chance.choice(CHARSETS), how, chance.choice(_WORDS))
    name = chance.choice([b"Subject", b"From", b"To", b"Message-ID", b"List-Id", b"Content-Type"])
    return with_header(raw, name, b"[PATCH 1/2] " + word if name == b"Subject" else word)


def nested(raw: bytes, chance: random.Random) -> bytes:
    """Nest parts in parts, with one boundary or with one each."""
    depth = chance.choice([2, 20, 99, 100, 101, 1000])
    names = [b"a" if chance.random() < 1 / 2 else b"b%d" % number for number in range(depth + 1)]
    into = b"--%s\nContent-Type: multipart/mixed; boundary=%s\n\n"
    inner = b"".join(into % pair for pair in itertools.pairwise(names))
    outer = with_header(raw, b"Content-Type", b"multipart/mixed; boundary=" + names[0])
    head, _, body = outer.partition(b"\n\n")
    return head + b"\n\n" + inner + b"--" + names[-1] + b"\n\n" + body


def messages_in_messages(raw: bytes, chance: random.Random) -> bytes:
    """Forward a mail in a mail in a mail."""
    depth = chance.choice([1, 5, 200, 2000])
    return b"Subject: [PATCH] x\nContent-Type: message/rfc822\n\n" * depth + raw


def many_parts(raw: bytes, chance: random.Random) -> bytes:
    """Put many small parts in place of the body, and it at the end."""
    count = chance.choice([3, 500, 1990, 2100, 9000])
    kind = chance.choice([b"", b"Content-Type: text/plain\n", b"Content-Type: message/rfc822\n"])
    head, _, body = with_header(raw, b"Content-Type", b"multipart/mixed; boundary=p").partition(b"\n\n")  # noqa: E501 # fmt: skip
    return head + b"\n\n" + (b"--p\n" + kind + b"\nx\n") * count + b"--p\n\n" + body + b"\n--p--\n"


def header_flood(raw: bytes, chance: random.Random) -> bytes:
    """Write more headers than anybody reads."""
    name = chance.choice(
        [b"X-Spam", b"Received", b"To", b"References", b"Subject", b"Content-Type"]
    )
    value = chance.choice([b"x", b"a@b", b"<a@b>", b"from a; Mon, 5 Jan 2026 12:00:00 +0000"])
    return (name + b": " + value + b"\n") * chance.choice([10, 1000, 20000]) + raw


def long_header(raw: bytes, chance: random.Random) -> bytes:
    """Write one header that does not end, folded or not."""
    name = chance.choice(
        [b"X-Long", b"Subject", b"To", b"References", b"Received", b"Content-Type"]
    )
    piece = chance.choice([b"x", b" ", b"\n x", b"=?utf-8?q?x?= ", b'"', b"(", b"<a@b>,", b";a=b"])
    return with_header(raw, name, piece * chance.choice([1000, 30000]))


def many_references(raw: bytes, chance: random.Random) -> bytes:
    """Answer a thread that went on for years."""
    count = chance.choice([100, 10000])
    value = b"\n ".join(b"<%d@ref.example.org>" % number for number in range(count))
    return with_header(raw, b"References", value)


def cut(raw: bytes, chance: random.Random) -> bytes:
    """Lose the end."""
    return raw[: chance.randrange(len(raw) + 1)]


def beheaded(raw: bytes, chance: random.Random) -> bytes:
    """Lose the beginning."""
    return raw[chance.randrange(len(raw) + 1) :]


def flipped(raw: bytes, chance: random.Random) -> bytes:
    """Change some bytes."""
    out = bytearray(raw)
    for _ in range(chance.choice([1, 5, 50]) if out else 0):
        out[chance.randrange(len(out))] = chance.choice([0, 10, 13, 32, 45, 62, 255, chance.randrange(256)])  # noqa: E501 # fmt: skip
    return bytes(out)


def line_ends(raw: bytes, chance: random.Random) -> bytes:
    """End lines as elsewhere, or now so, now so."""
    ends = chance.choice([(b"\r\n",), (b"\r",), (b"\n", b"\r\n"), (b"\n", b"\r", b"\n\n"), (b"\r\r\n",)])  # noqa: E501 # fmt: skip
    return b"".join(line + chance.choice(ends) for line in raw.split(b"\n"))


def lines_lost(raw: bytes, chance: random.Random) -> bytes:
    """Lose, repeat and exchange lines."""
    lines = raw.split(b"\n")
    for _ in range(chance.choice([1, 3, 10])):
        one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        lines[one : one + chance.choice([0, 1])] = lines[other : other + chance.choice([0, 1, 2])]
        lines = lines or [b""]
    return b"\n".join(lines)


def wrapped(raw: bytes, chance: random.Random) -> bytes:
    """Wrap long lines, drop spaces at their ends, turn tabs to spaces."""
    head, gap, body = raw.partition(b"\n\n")
    width = chance.choice([20, 40, 72])
    how = chance.randrange(3)
    if how == 0:
        body = re.sub(rb"([^\n]{%d})(?=[^\n])" % width, rb"\1\n", body)
    elif how == 1:
        body = re.sub(rb"(?m)[ \t]+$", b"", body)
    else:
        body = body.expandtabs()
    return head + gap + body


def hunk_lies(raw: bytes, chance: random.Random) -> bytes:
    """Write hunk headers that do not fit what is below them."""
    return _HUNK.sub(lambda found: chance.choice([found[0], *_LIES]), raw)


def path_lies(raw: bytes, chance: random.Random) -> bytes:
    """Name files outside the tree, or with odd names."""
    return _PATH.sub(lambda found: found[1] + chance.choice([found[2], *_PATHS]), raw)


def from_line(raw: bytes, chance: random.Random) -> bytes:
    """Begin a line of the mail as the separator of an mbox begins."""
    lines = raw.split(b"\n")
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(FROM_LINES))
    return b"\n".join(lines)


def content_length(raw: bytes, chance: random.Random) -> bytes:
    """Announce a length that the mail does not have, as mboxcl writes it."""
    wrong = chance.choice([b"0", b"1", b"-1", b"99999999999999999999", b"x", b"%d" % len(raw)])
    return with_header(raw, b"Content-Length", wrong)


def zeros(raw: bytes, chance: random.Random) -> bytes:
    """Put NUL bytes in."""
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + b"\0" * chance.choice([1, 4096]) + raw[at:]


def odd_text(raw: bytes, chance: random.Random) -> bytes:
    """Put text in that does odd things: right-to-left marks, surrogates, escapes, emoji."""
    lines = raw.split(b"\n")
    at = chance.randrange(len(lines))
    place = chance.randrange(len(lines[at]) + 1)
    lines[at] = lines[at][:place] + chance.choice(_ODD) + lines[at][place:]
    return b"\n".join(lines)


def no_body(raw: bytes, chance: random.Random) -> bytes:
    """Lose the empty line below the headers, or put one above them."""
    return raw.replace(b"\n\n", b"\n", 1) if chance.random() < 0.5 else b"\n" + raw


def uuencoded(raw: bytes, chance: random.Random) -> bytes:
    """Write the body as uuencode does, and not all of it."""
    head, _, body = with_header(raw, b"Content-Transfer-Encoding", b"x-uuencode").partition(b"\n\n")
    lines = (body[n : n + 45] for n in range(0, len(body), 45))
    coded = b"".join(bytes([32 + len(one)]) + bytes(32 + b % 64 for b in one) + b"\n" for one in lines)  # noqa: E501 # fmt: skip
    return head + b"\n\nbegin 644 x.patch\n" + coded + chance.choice([b"`\nend\n", b""])


def longer(raw: bytes, chance: random.Random) -> bytes:
    """Say a part of it again and again."""
    start = chance.randrange(len(raw) + 1)
    piece = raw[start : start + chance.choice([1, 40, 400])]
    times = min(chance.choice([10, 1000, 100_000]), MOST // (len(piece) or 1))
    return raw[:start] + piece * times + raw[start:]


ALL: tuple[Damage, ...] = (
    charset, encoded_lie, nested, messages_in_messages, many_parts, header_flood, long_header,
    many_references, cut, beheaded, flipped, line_ends, lines_lost, wrapped, hunk_lies, path_lies,
    from_line, content_length, zeros, odd_text, no_body, uuencoded, longer,
    _header(b"Content-Transfer-Encoding", ENCODINGS), _header(b"Content-Type", TYPES),
    _header(b"Subject", SUBJECTS), _header(b"Message-ID", IDS), _header(b"In-Reply-To", IDS),
    _header(b"References", IDS), _header(b"Date", DATES), _header(b"From", PEOPLE),
    _header(b"To", PEOPLE), _header(b"List-Id", PEOPLE), _header(b"X-Original-From", PEOPLE),
)  # fmt: skip


def damaged(raw: bytes, chance: random.Random, times: int = 1) -> bytes:
    """Return a mail with as many kinds of damage, each chosen by chance."""
    for _ in range(times):
        raw = chance.choice(ALL)(raw, chance)[: 2 * MOST]
    return raw
