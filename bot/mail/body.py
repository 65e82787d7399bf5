"""The text of a mail as bytes, decoded the way git mailinfo (mailinfo.c) does it."""

from __future__ import annotations

import binascii
import io
from collections.abc import Iterator
from email.message import Message as Mail
from itertools import islice

from bot.mail import headers

LINES = 400_000  # of one mail; the longest patches, generated headers, have 100,000
# attachments that hold text under another name
_PATCH_NAMES = (".patch", ".diff", ".txt")
# what the standard library is known to raise on hostile MIME headers
ODD = (
    ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError,
    binascii.Error,
)  # fmt: skip
# Python has codecs of these names, which are no charsets of mail; punycode takes quadratic time
_NO_CHARSETS = frozenset({"punycode", "idna", "unicode_escape", "raw_unicode_escape"})


def text_of(mail: Mail) -> tuple[bytes, str]:
    """Return the decoded bytes of all text parts, and the first part's charset or ``""``.

    HTML is left out; attached patches count as text. Transfer encodings are undone,
    charsets are not: a diff must stay as it was sent.
    """
    parts: list[bytes] = []
    charset = ""
    for part in _text_parts(mail):
        payload = _payload(part)
        if not payload.strip():
            continue
        charset = charset or _charset(part)
        parts.append(payload if payload.endswith(b"\n") else payload + b"\n")
    return first_lines(b"".join(parts)), charset


def first_lines(data: bytes) -> bytes:
    """Return what is looked at of a text, LINES lines: each takes memory of its own."""
    return data if data.count(b"\n") <= LINES else b"".join(islice(io.BytesIO(data), LINES))


def _text_parts(mail: Mail) -> Iterator[Mail]:
    try:
        parts = list(mail.walk())
    except ODD:
        parts = []
    for part in parts:
        try:
            kind = part.get_content_type()
            name = headers.decoded(str(part.get_filename() or "")).lower()
        except ODD:
            kind, name = "text/plain", ""
        plain = kind.startswith("text/") and kind != "text/html"
        if not part.is_multipart() and (plain or name.endswith(_PATCH_NAMES)):
            yield part


def _payload(part: Mail) -> bytes:
    try:
        found = part.get_payload(decode=True)
    except ODD:
        found = None
    decoded = _without_carriage_returns(found if isinstance(found, bytes) else b"")
    flowed, delete_space = _flowed(part)
    return unflow(first_lines(decoded), delete_space=delete_space) if flowed else decoded


def _without_carriage_returns(data: bytes) -> bytes:
    """Drop CR when each line has one: then the mailer put them there, not the patch.

    A patch to a file with CRLF lines, sent encoded, has them only on the file's lines.
    """
    if b"\r\n" in data and data.count(b"\r\n") == data.count(b"\n"):
        return data.replace(b"\r\n", b"\n")
    return data


def _charset(part: Mail) -> str:
    try:
        return part.get_content_charset() or ""
    except ODD:
        return ""


def decoded(data: bytes, charset: str) -> str:
    """Decode by the declared charset when it works, else by guess; can always be encoded."""
    named = "" if charset.replace("-", "_") in _NO_CHARSETS else charset
    try:
        text = data.decode(named or "utf-8")
    except (LookupError, ValueError):
        text = headers.as_text(data)
    return text.encode("utf-8", "replace").decode()  # utf-7 and its like can make surrogates


def _flowed(part: Mail) -> tuple[bool, bool]:
    try:
        form, delete = part.get_param("format"), part.get_param("delsp")
    except ODD:
        return False, False
    return str(form).lower() == "flowed", str(delete).lower() == "yes"


def unflow(data: bytes, *, delete_space: bool) -> bytes:
    """Undo format=flowed (RFC 3676, 4.2): join soft line breaks, remove space-stuffing."""
    out: list[bytes] = []
    soft: list[bytes] = []  # pieces of a line so far
    for line in data.split(b"\n"):
        signature = line == b"-- "  # its mark is no soft line break
        plain = line if signature else line.removeprefix(b" ")
        if plain.endswith(b" ") and not signature:
            soft.append(plain[:-1] if delete_space else plain)
        elif signature and soft:
            out += [b"".join(soft), plain]
            soft = []
        else:
            out.append(b"".join((*soft, plain)))
            soft = []
    if soft:
        out.append(b"".join(soft))
    return b"\n".join(out)
