"""Archives over HTTP alone, by liblore: lore or any other public-inbox, followed or asked."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from liblore import LibloreError, RemoteError
from liblore.node import LoreNode

from bot.errors import OursError, TheirsError
from bot.mail import message, sources
from bot.mail.following import Fetched

NOT_FOUND = 404
OVERLAP = timedelta(hours=36)  # mail arrives late, and Date is what its sender's clock says
STEP = timedelta(days=3)  # that are asked for at once: an answer is held in memory
SEEN = 5000  # Message-IDs that are remembered: more than any list has in OVERLAP
LIMIT = 512 * 1024 * 1024  # bytes of one answer


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
    try:
        with LoreNode(url, follow_upstream=False, fallback_urls=list(fallbacks)) as node:
            return _bounded(url, node.get_mbox_by_msgid(wanted))
    except RemoteError as error:
        if error.status_code == NOT_FOUND:
            raise NotOnLoreError(
                f"{url} has no mail <{wanted}>: check the Message-ID, or give a mailbox"
            ) from error
        raise LoreUnreachableError(f"{url} does not answer: {error}") from error
    except LibloreError as error:
        raise LoreUnreachableError(f"{url} cannot be read: {error}") from error


def _bounded(url: str, content: bytes) -> bytes:
    if len(content) > LIMIT:
        raise LoreUnreachableError(f"{url} answers with more than {LIMIT >> 20} MiB: ask for less")
    return content


class Lore:
    """An archive that is asked over HTTP for what came since a time; ``since`` is the first.

    The cursor is the time up to which was read, by the mails' Date. OVERLAP is read again each
    time, and what was handed out before is left out.
    """

    def __init__(
        self, url: str, since: datetime | None = None, fallbacks: Sequence[str] = ()
    ) -> None:
        self._url, self._since, self._fallbacks = url.rstrip("/"), since, list(fallbacks)

    @property
    def name(self) -> str:
        """What its cursor is kept under."""
        return f"lore:{self._url}"

    def follow(self, cursor: str) -> Iterator[Fetched]:
        """Yield what came since the cursor, oldest first. Raises LoreUnreachableError."""
        kept = json.loads(cursor) if cursor else {}
        now = datetime.now(UTC)
        seen = dict.fromkeys(kept.get("seen", []))
        start = datetime.fromisoformat(kept["at"]) if kept else self._since or now - STEP
        begin = start - OVERLAP if kept else start
        while begin < now:
            end = min(begin + STEP, now + OVERLAP)
            for raw in self._between(begin, end):
                parsed = message.parse(raw)
                if parsed.message_id in seen:
                    continue
                seen[parsed.message_id] = None
                start = max(start, min(parsed.date.astimezone(UTC), now))
                yield Fetched(raw, _cursor(start, seen))
            begin = end

    def wait(self, seconds: float) -> None:
        """Sleep: the archive does not tell of new mail."""
        time.sleep(seconds)

    def _between(self, begin: datetime, end: datetime) -> Iterator[bytes]:
        query = f"dt:{begin:%Y%m%d%H%M%S}..{end:%Y%m%d%H%M%S}"
        try:
            with LoreNode(self._url, follow_upstream=False, fallback_urls=self._fallbacks) as node:
                found = _bounded(self._url, node.get_mbox_by_query(query))
        except RemoteError as error:
            if error.status_code == NOT_FOUND:
                return  # nothing came
            raise LoreUnreachableError(f"{self._url} does not answer: {error}") from error
        except LibloreError as error:
            raise LoreUnreachableError(f"{self._url} cannot be read: {error}") from error
        mails = list(sources.split(io.BytesIO(found), self._url))
        yield from sorted(mails, key=lambda raw: (message.parse(raw).date, raw))


def _cursor(at: datetime, seen: dict[str, None]) -> str:
    return json.dumps({"at": at.isoformat(), "seen": list(seen)[-SEEN:]})
