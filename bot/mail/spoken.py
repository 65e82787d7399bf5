"""What the sender of a mail wrote: without quotes, diffs, signatures and attachments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message as Mail
from itertools import groupby, islice

from bot.mail import body, diff, htmltext, mime

LIMIT = 2 * 1024 * 1024  # bytes of text that are looked at; a mail with commands is short
TRIED = 16  # lines between diffs that are looked at
NESTED = 20  # multiparts within one another
# zero-width characters and marks of direction, which mailers leave behind and nobody sees
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")  # as wide as a space, or nearly
_ODD_FIRST = re.compile("^[\u00a0\u202f]+")  # a person sees no indentation in it
_SIGNATURE = re.compile(r"--\s?")
# what Outlook, Thunderbird, Apple Mail, Gmail and QQ put above what they quote without ">"
_ORIGINAL = re.compile(
    r"(?i)-{2,40} ?(original message|original appointment|forwarded message|reply message"
    r"|urspr(?:ü|ue)ngliche nachricht|weitergeleitete nachricht|message d['\u2019]origine"
    r"|message original|message transféré|mensaje original|messaggio originale"
    r"|oorspronkelijk bericht|originalmeddelande|mensagem original|原始邮件|邮件原件) ?-{2,40}"
    r"|begin forwarded message:"
)
_FROM = re.compile(r"(?i)\*?(from|von|de|发件人)\*? ?[:\uff1a].{3}")
_SENT = re.compile(r"(?i)\*?(sent|date|gesendet|datum|envoyé|enviado|发送时间|时间)\*? ?[:\uff1a]")
_ON = re.compile(r"(?i)(on|am|le|el|il|op|den) ")
_WROTE = re.compile(r"(?i)\b(wrote|writes|schrieb|a écrit|escribió|ha scritto|schreef|skrev)\b")
WROTE_LINES = 3  # over so many lines mailers wrap "On … wrote:"
Line = tuple[int, str]  # number in the text, from 1; without what is invisible


def parsed(raw: bytes) -> Mail:
    """Read a raw mail; never fails. One of too many parts has headers alone."""
    return mime.parsed(body.first_lines(raw.replace(b"\r\n", b"\n")))


def lines(mail: Mail) -> tuple[Line, ...]:
    """Return the lines of a mail that are the sender's own words."""
    found: list[Line] = []
    start = left = 0
    for text in _texts(mail, NESTED):
        whole = [_visible(line) for line in text[: LIMIT - left].split("\n")]
        found += [(start + number + 1, whole[number]) for number in _own(whole)]
        start, left = start + len(whole) - (not whole[-1]), left + len(text)
        if left >= LIMIT:
            break
    return tuple(found)


def _visible(line: str) -> str:
    plain = _ODD_FIRST.sub("", _INVISIBLE.sub("", line.removesuffix("\r")))
    return _SPACES.sub(" ", plain)


def _texts(mail: Mail, depth: int) -> Iterator[str]:
    """Yield the text parts that a mailer shows as the mail itself."""
    try:
        kind, parts = mail.get_content_type(), mail.get_payload()
        aside = mail.get_filename() or mail.get_content_disposition() == "attachment"
    except body.ODD:
        return
    if isinstance(parts, list):
        inside = [part for part in parts if isinstance(part, Mail)] if depth else []
        shown = [tuple(_texts(part, depth - 1)) for part in inside]
        if kind == "multipart/alternative":
            yield from _best(inside, shown)
        elif kind.startswith("multipart/"):
            yield from (text for texts in shown for text in texts)
    elif not aside and kind in {"text/plain", "text/html"}:
        yield _text(mail, html=kind == "text/html")


def _best(parts: list[Mail], shown: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the first alternative in plain text, else the last that says anything."""
    pairs = zip(parts, shown, strict=True)
    told = [(part, texts) for part, texts in pairs if "".join(texts).strip()]
    plain = (texts for part, texts in told if part.get_content_type() == "text/plain")
    return next(plain, told[-1][1] if told else ())


def _text(part: Mail, *, html: bool) -> str:
    """Return the text of a part, lines joined that format=flowed had broken."""
    try:
        payload = part.get_payload(decode=True)
        charset = part.get_content_charset() or "utf-8"
        form, delete = part.get_param("format"), part.get_param("delsp")
    except body.ODD:
        payload, charset, form, delete = part.get_payload(), "utf-8", None, None
    data = payload if isinstance(payload, bytes) else str(payload).encode("utf-8", "replace")
    text = body.decoded(data[:LIMIT], charset).replace("\r\n", "\n")
    if html:
        return htmltext.text(text)
    if str(form).lower() == "flowed":
        return _unflowed(text, delete_space=str(delete).lower() == "yes")
    return text


def _unflowed(text: str, *, delete_space: bool) -> str:
    """Undo format=flowed; a line is never joined to one of another depth of quoting."""
    data = text.encode("utf-8", "replace").split(b"\n")
    out = []
    for quoted, group in groupby(data, key=lambda line: line.startswith(b">")):
        joined = b"\n".join(group)
        out.append(joined if quoted else body.unflow(joined, delete_space=delete_space))
    return b"\n".join(out).decode()


def _own(text: list[str]) -> Iterator[int]:
    """Yield the places of the lines that are neither quoted, nor diff, nor below a signature."""
    raw = [line.encode("utf-8", "replace") for line in text]
    inside = _diffs(raw)
    for number, line in enumerate(text):
        if inside[number] or line.startswith(">"):
            continue
        if _SIGNATURE.fullmatch(line) or _begins_quote(text, number):
            return
        yield number


def _begins_quote(text: list[str], number: int) -> bool:
    """Tell whether everything from a line on is quoted, without any ">"."""
    line = text[number].strip()
    if _ORIGINAL.fullmatch(line):
        return True
    if _FROM.match(line):
        return any(_SENT.match(one.strip()) for one in text[number + 1 : number + 4])
    if not _ON.match(line):
        return False
    for end in range(number + 1, number + 1 + WROTE_LINES):
        last = text[end - 1].strip() if end <= len(text) else ""
        if last.endswith((":", "\uff1a")) and _WROTE.search(last[-100:]):
            below = (one for one in text[end:] if one.strip())
            return not next(below, ">").startswith(">")
    return False


def _diffs(raw: list[bytes]) -> list[bool]:
    """Tell of each line whether it is within a diff.

    A diff ends where its last hunk has all its lines. Below a damaged one it goes on to the
    next empty line: mailers wrap lines, and the rest of a wrapped line is no command.
    """
    inside = [False] * len(raw)
    at = 0
    while at < len(raw):
        found = diff.find(raw, at)
        if found.last <= found.first:
            break
        last = found.last
        while found.damage and last < len(raw) and raw[last].strip():
            last += 1
        inside[found.first : last] = [True] * (last - found.first)
        for number in _between(raw, found.first, found.last):
            inside[number] = False
        at = max(last, at + 1)
    return inside


def _between(raw: list[bytes], first: int, last: int) -> Iterator[int]:
    """Yield lines that may be commands and stand between the diffs of two files.

    One that cuts a hunk short is no such line.
    """
    commands = (number for number in range(first, last) if raw[number].startswith(b"/"))
    for number in islice(commands, TRIED):
        if diff.find(raw[:number], first).damage is None:
            yield number
