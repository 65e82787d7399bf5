"""Where mail comes from: mbox, maildir, a single mail, a public-inbox v2 repository, a pipe.

A source hands out raw mails one by one and never holds more than one of them.
"""

from __future__ import annotations

import io
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from bot.mail.refusal import NotMailError, left_out

MAIL_LIMIT = 25 * 1024 * 1024  # bytes of one mail; a larger one is left out with a warning
PIECE = 1 << 20  # longest part of a line that is read at once
PIPE_LIMIT = 2 << 30  # bytes taken from a pipe; nobody can see beforehand how much will come
STDIN = Path("-")
HEAD = 1 << 16  # what is looked at to tell what a file is
BOM = b"\xef\xbb\xbf"  # what some editors put above UTF-8

_TIME = re.compile(rb"\d\d:\d\d")
_YEAR = re.compile(rb"\d{4}")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")  # RFC 5322, 3.6.8
_MAIL_FIELD = re.compile(rb"(?im)^(from|subject|message-id)[ \t]*:")
_QUOTED_FROM = re.compile(rb"(?m)^>(>*From )")  # mboxrd adds one ">", mboxo likewise to "From "
_PACKED = {b"\x1f\x8b": "gzip -d", b"\xfd7zXZ": "xz -d", b"BZh": "bzip2 -d", b"PK\x03\x04": "unzip"}


def messages(path: Path) -> Iterator[bytes]:
    """Yield the raw mails at a path, always in the same order, without mbox escapes.

    ``-`` is standard input. Raises NotMailError when there are none or the path cannot be read.
    """
    try:
        if path == STDIN:
            yield from read_stdin(sys.stdin.buffer)
            return
        if not path.exists():
            raise NotMailError(path, "does not exist", "check the path")
        yield from _directory(path) if path.is_dir() else _file(path)
    except OSError as error:
        raise NotMailError(path, "cannot be read", error.strerror or str(error)) from error


def _directory(path: Path) -> Iterator[bytes]:
    if any((path / name).is_dir() for name in ("cur", "new")):
        return _maildir(path)
    from bot.mail import inbox  # noqa: PLC0415 - pygit2 only where there is a repository

    epochs = inbox.epochs(path)
    if not epochs:
        raise NotMailError(
            path,
            "is neither a maildir (no cur/ or new/) nor a public-inbox v2 repository",
            "give an mbox file, a maildir, an .eml file or the git repository",
        )
    return inbox.mails(path, epochs, MAIL_LIMIT)


def _maildir(path: Path) -> Iterator[bytes]:
    """Yield the mails of cur/ and new/ by file name; tmp/ holds what is being delivered."""
    files = [file for name in ("cur", "new") for file in (path / name).glob("[!.]*")]
    mails = sorted((file for file in files if file.is_file()), key=lambda file: file.name)
    if not mails:
        raise NotMailError(path, "is a maildir without mail", "fetch mail into it first")
    for file in mails:
        with file.open("rb") as stream:
            content = stream.read(MAIL_LIMIT + 1)
        if len(content) <= MAIL_LIMIT:
            yield content.removeprefix(BOM)
        else:
            left_out(str(file), MAIL_LIMIT)


def _file(path: Path) -> Iterator[bytes]:
    kind = path.stat().st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):  # to read it may never end
        what = "socket" if stat.S_ISSOCK(kind) else "device"
        raise NotMailError(path, f"is a {what}, not a file", "save the mail in a file first")
    with path.open("rb") as stream:
        yield from _stream(path, stream)


def read_stdin(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the raw mails of standard input or another pipe: one mail, or an mbox.

    Takes at most PIPE_LIMIT bytes. Raises NotMailError when there is more, or no mail.
    """
    return _stream(Path("standard input"), stream)


def _stream(path: Path, stream: IO[bytes]) -> Iterator[bytes]:
    buffered = io.BufferedReader(stream, HEAD) if isinstance(stream, io.RawIOBase) else stream
    start = buffered.tell() if buffered.seekable() else None
    read = buffered.read(HEAD)
    head = read.removeprefix(BOM)
    mbox = _is_mbox(path, head)
    if start is None:
        buffered = io.BufferedReader(_Pipe(path, head, buffered), HEAD)
    else:
        buffered.seek(start + len(read) - len(head))
    yield from split(buffered, str(path)) if mbox else _single(path, buffered)


class _Pipe(io.RawIOBase):
    """A stream that cannot go back: first what was read of it, then the rest, in bounds."""

    def __init__(self, path: Path, head: bytes, rest: IO[bytes]) -> None:
        super().__init__()
        self._path, self._head, self._rest = path, io.BytesIO(head), rest
        self._left = PIPE_LIMIT

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what is passed
        size = len(buffer)
        data = self._head.read(size) or self._rest.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise NotMailError(
                self._path, f"sends more than {PIPE_LIMIT >> 30} GiB", "save it in a file first"
            )
        buffer[: len(data)] = data
        return len(data)


def _is_mbox(path: Path, head: bytes) -> bool:
    """Tell an mbox (True) from a single mail (False); anything else is refused."""
    if not head.strip():
        raise NotMailError(path, "is empty", "give a file that holds mail")
    for magic, unpack in _PACKED.items():
        if head.startswith(magic):
            raise NotMailError(path, "is compressed", f"unpack it with `{unpack}` first")
    start = head.lstrip(b"\r\n")
    if is_from_line(start.partition(b"\n")[0]):
        return True
    fields = start.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    if _FIELD.match(fields) and _MAIL_FIELD.search(fields):
        return False
    kind = "holds binary data" if b"\0" in head else "is text without mail headers"
    way_out = "give an mbox file, a maildir or a mail saved with headers"
    raise NotMailError(path, f"is no mailbox, it {kind}", way_out)


def _single(path: Path, stream: IO[bytes]) -> Iterator[bytes]:
    content = stream.read(MAIL_LIMIT + 1)
    if len(content) > MAIL_LIMIT:
        raise NotMailError(
            path, f"is one mail of more than {MAIL_LIMIT >> 20} MiB", "no patch is that large"
        )
    yield content.lstrip(b"\r\n")


@dataclass(frozen=True)
class Span:
    """One mail of an mbox; before the first one, what is above its From_ line."""

    raw: bytes  # without From_ line and escapes; empty: nothing there, or above MAIL_LIMIT
    size: int  # bytes, without From_ line
    start: int  # bytes before it in the stream, where its From_ line is
    end: int  # where the next one begins
    last: bool  # no other begins below it: more of it may come


def split(stream: IO[bytes], name: str = "mbox") -> Iterator[bytes]:
    """Yield the mails of an mboxrd or mboxo, reading line by line."""
    for number, span in enumerate(spans(stream)):
        if span.size > MAIL_LIMIT:
            left_out(f"{name}: mail {number}", MAIL_LIMIT)
        elif span.raw:
            yield span.raw


def spans(stream: IO[bytes]) -> Iterator[Span]:
    """Yield where the mails of an mboxrd or mboxo lie, and what they are.

    A From_ line counts only above a header: some writers escape none in the body.
    """
    parts: list[bytes] = []
    size = start = place = 0
    held = b""  # a From_ line, until the line below it is known
    fresh = True  # at the start of a line, not within one longer than PIECE
    for line in iter(partial(stream.readline, PIECE), b""):
        if held and _FIELD.match(line):
            end = place - len(held)
            yield Span(_joined(parts, size), size, start, end, last=False)
            parts, size, start = [], 0, end
        elif held:
            parts.append(held)
            size += len(held)
        place += len(line)
        held = line if fresh and is_from_line(line) else b""
        fresh = line.endswith(b"\n")
        if held:
            continue
        size += len(line)
        if size <= MAIL_LIMIT:
            parts.append(line)
        else:
            parts.clear()  # too large: it is only measured from here on
    yield Span(_joined(parts, size), size, start, place - len(held), last=True)


def is_from_line(line: bytes) -> bool:
    """Tell a separator as git does (is_from_line() in builtin/mailsplit.c): a time, a year."""
    if not line.startswith(b"From ") or len(line) >= PIECE:
        return False
    time = _TIME.search(line, 5)
    return time is not None and _YEAR.search(line, time.end()) is not None


def _joined(parts: list[bytes], size: int) -> bytes:
    mail = b"".join(parts) if size <= MAIL_LIMIT else b""
    for blank in (b"\r\n", b"\n"):  # the empty line that mbox puts below each mail
        if mail.endswith(b"\n" + blank):
            mail = mail.removesuffix(blank)
            break
    if not mail.strip():
        return b""
    return _QUOTED_FROM.sub(rb"\1", mail) if b"\n>" in mail else mail
