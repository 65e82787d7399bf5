"""Archives over HTTP alone: lore or any other public-inbox, followed, or asked for a thread."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import IO
from urllib.parse import quote, urlsplit

from bot.errors import OursError, TheirsError
from bot.mail import message, sources, web
from bot.mail.following import Fetched
from bot.mail.headers import printable
from bot.mail.refusal import left_out

HOUR = 3600
NEAR = HOUR / 3  # seconds that each look reads again: servers of an archive lag, clocks differ
FAR = 36 * HOUR  # the same once in OFTEN: what an archive took in late has the time of its mail
OFTEN = 6 * HOUR
STEP = 72 * HOUR  # of mail that is asked for at once
LEAST = HOUR  # of mail that is asked for when an answer is too large
SEEN = 2000  # mails that are remembered: about what the largest list has in a day
LIMIT = 256 << 20  # bytes of one answer
THREAD = 64 << 20  # bytes of one thread
NOT_THERE = (300, 400, 404, 410, 414)  # 300: there are similar ids


class NotOnLoreError(TheirsError):
    """The archive has no mail with this Message-ID."""


class LoreUnreachableError(OursError):
    """The archive does not answer."""


def thread(url: str, message_id: str, fallbacks: Sequence[str] = ()) -> bytes:
    """Return the mailbox of the thread in which a mail is.

    ``fallbacks`` are further hosts, scheme://host, that serve the same archive; they are asked
    first, as liblore does. Raises NotOnLoreError, LoreUnreachableError.
    """
    wanted = message_id.strip().strip("<>")
    parts = urlsplit(url)
    name = quote(wanted, safe="", errors="replace")
    with tempfile.TemporaryFile() as file:
        try:
            answer = _thread(url.rstrip("/"), name, fallbacks, file)
            if answer.status in NOT_THERE:  # on a list of its own, to which the host redirects
                host = f"{parts.scheme}://{parts.netloc}"
                found = web.ask("GET", f"{host}/{name}/", fallbacks=fallbacks)
                if found.status == web.OK:
                    path = urlsplit(found.url).path.rstrip("/")
                    answer = _thread(host + path.removesuffix(f"/{name}"), name, fallbacks, file)
        except web.UnreachableError as error:
            raise LoreUnreachableError(str(error)) from error
        if answer.status in NOT_THERE:
            raise NotOnLoreError(
                f"{web.shown(url)} has no mail <{printable(wanted)[:200]}>: "
                "check the Message-ID, or give a mailbox"
            )
        _check(answer, file)
        file.seek(0)
        return file.read()


def _thread(url: str, name: str, fallbacks: Sequence[str], file: IO[bytes]) -> web.Answer:
    return web.ask("GET", f"{url}/{name}/t.mbox.gz", file, limit=THREAD, fallbacks=fallbacks)


def _check(answer: web.Answer, file: IO[bytes]) -> None:
    """Raise LoreUnreachableError for what is no mailbox."""
    where = web.shown(answer.url)
    if answer.status != web.OK:
        raise LoreUnreachableError(f"{where} does not answer: it says {answer.status}")
    file.seek(0)
    start = file.readline(sources.PIECE)
    if start and not sources.is_from_line(start.rstrip(b"\r\n")):
        raise LoreUnreachableError(f"{where} answers with no mailbox: check the address")


@dataclass(frozen=True)
class _Read:
    """What was read of an archive."""

    at: float  # POSIX time up to which
    far: float  # when FAR was read again
    seen: tuple[str, ...]  # digests of the last Message-IDs, oldest first

    def cursor(self) -> str:
        return json.dumps({"at": int(self.at), "far": int(self.far), "seen": self.seen})


@dataclass(frozen=True, order=True)
class _Place:
    """Where a mail is in an answer."""

    written: float
    start: int
    end: int
    digest: str


class Lore:
    """An archive that is asked over HTTP for what it received since a time.

    ``since`` is the first such time; None: three days ago. Fallbacks are as for thread(). When
    ``stop`` is set, wait() returns. The cursor is the time up to which was read, with the mails
    seen last: some time is read again with each look, and what is in it is not handed out again.
    """

    def __init__(
        self,
        url: str,
        since: datetime | None = None,
        fallbacks: Sequence[str] = (),
        stop: threading.Event | None = None,
    ) -> None:
        self._url, self._fallbacks = url.rstrip("/"), tuple(fallbacks)
        self._since, self._stop = since, stop or threading.Event()
        self._known = False  # there is an archive at this URL
        # how far was read when the last cursor handed out was this: looks may bring nothing
        self._last: tuple[str, _Read] | None = None

    @property
    def name(self) -> str:
        """What its cursor is kept under."""
        return f"lore:{web.shown(self._url)}"

    def follow(self, cursor: str) -> Iterator[Fetched]:
        """Yield what came since the cursor, oldest first. Raises LoreUnreachableError."""
        now = datetime.now(UTC).timestamp()
        state, begin = self._begin(cursor, now)
        steps = _steps(begin, now)
        while steps:
            first, end = steps.pop()
            with tempfile.TemporaryFile() as file:
                if not self._asked(first, end, now, file):
                    middle = (first + (end or now)) / 2
                    steps += [(middle, end), (first, middle)]
                    continue
                fresh = _unseen(file, state.seen, web.shown(self._url))
                state = _after(state, end or now, fresh)
                for number, one in enumerate(fresh, 1):
                    # the last one of a step carries the cursor behind all of them
                    cursor = state.cursor() if number == len(fresh) else cursor
                    yield Fetched(_cut(file, one), cursor)
            self._last = (cursor, state)

    def wait(self, seconds: float) -> None:
        """Wait so many seconds, or for the stop: the archive does not tell of new mail."""
        self._stop.wait(seconds)

    def _begin(self, cursor: str, now: float) -> tuple[_Read, float]:
        """Return what was read, and the time from which to read on."""
        read = self._last[1] if self._last and self._last[0] == cursor else _kept(cursor)
        if read is None:
            return _Read(0, now, ()), self._since.timestamp() if self._since else now - STEP
        if now - read.far >= OFTEN:
            return replace(read, far=now), read.at - FAR
        return read, read.at - NEAR

    def _asked(self, begin: float, end: float | None, now: float, file: IO[bytes]) -> bool:
        """Write what the archive received in a time; False where that is too much at once."""
        try:
            self._ask(begin, end, file)
        except web.TooMuchError as error:
            if (end or now) - begin <= LEAST:
                raise LoreUnreachableError(str(error)) from error
            return False
        except web.UnreachableError as error:
            raise LoreUnreachableError(str(error)) from error
        return True

    def _ask(self, begin: float, end: float | None, file: IO[bytes]) -> None:
        # rt: is the time of receipt, by which liblore looks for new mail too
        query = quote(f"rt:{int(begin)}..{'' if end is None else int(end)}", safe="")
        url = f"{self._url}/?x=m&q={query}"
        answer = web.ask("POST", url, file, limit=LIMIT, fallbacks=self._fallbacks)
        if answer.status != web.NOT_FOUND:
            _check(answer, file)
        elif not self._known:  # nothing came, or there is no such archive
            help_ = f"{self._url}/_/text/help/"
            answer = web.ask("GET", help_, fallbacks=self._fallbacks)
            if answer.status != web.OK:
                raise LoreUnreachableError(
                    f"{web.shown(self._url)} is no archive that can be searched "
                    f"(it says {answer.status}): check `sources`"
                )
        self._known = True


def _kept(cursor: str) -> _Read | None:
    try:
        kept = json.loads(cursor)
        return _Read(float(kept["at"]), float(kept["far"]), tuple(map(str, kept["seen"])))
    except (ValueError, KeyError, TypeError):
        return None  # the beginning, or of another version of this program


def _steps(begin: float, now: float) -> list[tuple[float, float | None]]:
    """Return the times to ask for, the first one last; the last has no end: clocks differ."""
    steps: list[tuple[float, float | None]] = []
    while begin + STEP < now:
        steps.append((begin, begin + STEP))
        begin += STEP
    return [*steps, (begin, None)][::-1]


def _unseen(file: IO[bytes], seen: Sequence[str], where: str) -> list[_Place]:
    """Return where the mails are that are new, oldest first."""
    known = set(seen)
    found = []
    file.seek(0)
    for number, span in enumerate(sources.spans(file)):
        if span.size > sources.MAIL_LIMIT:
            left_out(f"{where}: mail {number}", sources.MAIL_LIMIT)
        elif span.raw:
            parsed = message.parse(span.raw)
            digest = hashlib.sha256(parsed.message_id.encode(errors="replace")).hexdigest()[:12]
            if digest not in known:
                known.add(digest)
                found.append(_Place(parsed.date.timestamp(), span.start, span.end, digest))
    return sorted(found)


def _after(state: _Read, at: float, fresh: Sequence[_Place]) -> _Read:
    seen = (*state.seen, *(one.digest for one in fresh))
    return replace(state, at=max(state.at, at), seen=seen[-SEEN:])


def _cut(file: IO[bytes], one: _Place) -> bytes:
    file.seek(one.start)
    return next(sources.split(io.BytesIO(file.read(one.end - one.start))))
