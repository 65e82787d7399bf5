"""What archives answer over HTTP, within bounds; by liblore, which tries one host after another.

liblore's own calls hold an answer in memory, packed and unpacked, however large; here it goes
to a file, and too much of it ends the reading.
"""

from __future__ import annotations

import base64
import gzip
import io
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from liblore import LibloreError
from liblore.node import LoreNode

from bot.errors import OursError

if TYPE_CHECKING:
    from requests import Response

OK, NOT_FOUND, GONE, BROKEN = 200, 404, 410, 500
MOVED = (301, 302, 303, 307, 308)
MOVES = 3  # redirects of one POST; of a GET requests follows them
PIECE = 1 << 16
LASTS = 600.0  # seconds of one answer; each read of it has liblore's own limit

# what requests (an OSError), urllib3, gzip and liblore raise when an answer is none
BAD = (LibloreError, OSError, EOFError, ValueError, zlib.error)


class UnreachableError(OursError):
    """A server does not answer, or not with what it was asked for."""


class TooMuchError(UnreachableError):
    """An answer is larger than it may be."""


@dataclass(frozen=True)
class Answer:
    """How a server answered."""

    status: int
    url: str  # what answered in the end, redirects followed
    kind: str  # Content-Type, without parameters


def shown(url: str) -> str:
    """Return a URL without user and password."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def login(url: str) -> tuple[str, str] | None:
    """Return user and password of a URL."""
    parts = urlsplit(url)
    if parts.username is None:
        return None
    return unquote(parts.username), unquote(parts.password or "")


def ask(
    method: str,
    url: str,
    into: IO[bytes] | None = None,
    *,
    limit: int = 0,
    fallbacks: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Ask for a URL; of a 200 that is wanted, unpack the gzip into a file, at most limit bytes.

    ``fallbacks`` are hosts, scheme://host, that serve the same; they are asked first, as liblore
    does. Raises UnreachableError, also for an answer of 500 and above; TooMuchError.
    """
    try:
        for _ in range(MOVES + 1):
            moved, answer = _asked(method, url, into, limit, fallbacks, headers or {})
            if not moved:
                break
            url, fallbacks = moved, ()
        else:
            raise UnreachableError(f"{shown(url)} redirects in circles: check the address")
    except BAD as error:
        raise UnreachableError(f"{shown(url)} does not answer: {_reason(error)}") from error
    if answer.status >= BROKEN:
        raise UnreachableError(f"{shown(url)} does not answer: it says {answer.status}")
    return answer


def _asked(
    method: str, url: str, into: IO[bytes] | None, limit: int, fallbacks: Sequence[str],
    headers: Mapping[str, str],
) -> tuple[str, Answer]:  # fmt: skip
    """Ask once; return where a POST is to go instead, or "", and the answer."""
    given = login(url)
    if given:  # in a header of its own: liblore logs hosts as they are
        secret = base64.b64encode(":".join(given).encode()).decode()
        headers = {**headers, "Authorization": f"Basic {secret}"}
    url = shown(url)
    parts = urlsplit(url)
    host = f"{parts.scheme}://{parts.netloc}"
    with LoreNode(host, follow_upstream=False, fallback_urls=list(fallbacks)) as node:
        node.set_user_agent("stackhog", version("stackhog"))
        reply = node.request(
            method, url, stream=True, allow_redirects=method == "GET",
            headers={"Accept-Encoding": "identity", **headers},
        )  # fmt: skip
        try:
            kind = str(reply.headers.get("Content-Type", "")).partition(";")[0].strip().lower()
            answer = Answer(reply.status_code, str(reply.url), kind)
            if answer.status in MOVED:
                return urljoin(answer.url, str(reply.headers.get("Location", ""))), answer
            if answer.status == OK and into is not None:
                _unpack(reply, answer, into, limit)
        finally:
            reply.close()
    return "", answer


def _unpack(reply: Response, answer: Answer, into: IO[bytes], limit: int) -> None:
    size = 0
    body = io.BufferedReader(_Body(reply.iter_content(PIECE)), PIECE)
    if not body.peek(1):
        raise UnreachableError(f"{shown(answer.url)} answers with nothing: it is asked again")
    try:
        with gzip.GzipFile(fileobj=body) as packed:
            while piece := packed.read(PIECE):
                size += len(piece)
                if size > limit:
                    raise TooMuchError(
                        f"{shown(answer.url)} answers with more than {limit >> 20} MiB: "
                        "ask for less"
                    )
                into.write(piece)
    except gzip.BadGzipFile as error:
        raise UnreachableError(
            f"{shown(answer.url)} answers with {answer.kind or 'something'} that is not packed as "
            "public-inbox does: check the address"
        ) from error


class _Body(io.RawIOBase):
    """What a server sends, read as it comes, for so long and no longer."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces, self._rest = pieces, b""
        self._until = time.monotonic() + LASTS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what is passed
        while not self._rest:
            if time.monotonic() > self._until:
                raise TimeoutError(f"it took more than {LASTS:g} s")
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _reason(error: BaseException) -> str:
    return shortened(str(error)) or type(error).__name__


def shortened(said: str) -> str:
    """Return the start of what a library or a server says, on one line."""
    return " ".join(said.split())[:300]
