"""Mail from a folder on an IMAP server (RFC 3501), woken by IDLE (RFC 2177).

The folder is opened read-only (EXAMINE) and mail is peeked at: nothing is marked as seen,
nothing is deleted. The server is the operator's own and is believed as far as it keeps to the
protocol; what it says wrongly ends the connection, never the program.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, LoginError

from bot.errors import OursError, StackhogError, TheirsError
from bot.mail import sources
from bot.mail.following import Fetched
from bot.mail.refusal import left_out

LOG = logging.getLogger(__name__)

WINDOW = 50_000  # UIDs asked for at once: imaplib reads no line above 1,000,000 bytes
SIZES = 200  # mails whose size is asked for at once
RENEW = 9 * 60.0  # seconds of one IDLE; RFC 2177 says below 29 minutes, many a NAT forgets sooner
PAUSE = 5.0  # seconds after a connection broke in IDLE: a server that always drops is not hammered
SAID = 200  # characters of a server's answer that are repeated

# what imaplib and IMAPClient raise when a server is gone or talks nonsense
BROKEN = (
    IMAPClientError, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
    RecursionError, MemoryError,
)  # fmt: skip
_LATER = re.compile(r"\[(UNAVAILABLE|INUSE|SERVERBUG|LIMIT)\b", re.I)  # RFC 5530, 3


class Security(StrEnum):
    """How the connection is protected."""

    TLS = "tls"  # from the first byte, port 993
    STARTTLS = "starttls"  # asked for before anything else, port 143
    PLAIN = "plain"  # not at all, port 143


class ImapRefusedError(TheirsError):
    """The settings do not open the folder; asking again would not help."""


class ImapBrokenError(OursError):
    """The server cannot be reached, or not for now."""


@dataclass(frozen=True)
class Account:
    """Whose folder on which server; without the password."""

    host: str
    user: str
    folder: str = "INBOX"
    port: int = 0  # 0: the usual one
    security: Security = Security.TLS
    plain_abroad: bool = False  # a plain connection may leave this machine
    ca: Path | None = None  # certificates to trust, PEM; None: the system's
    timeout: float = 30.0  # seconds to connect, and for each answer

    @property
    def where(self) -> int:
        """The port."""
        return self.port or (993 if self.security is Security.TLS else 143)

    @property
    def local(self) -> bool:
        """Whether the host is this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True)
class _Folder:
    """What EXAMINE says; two are equal when no mail came in between."""

    validity: int
    next: int  # the UID that the next mail gets at the least
    exists: int = field(compare=False)


class Imap:
    """The mail of one folder; a bot.mail.following.Source. Not for several threads.

    The cursor is ``{"uidvalidity": …, "uid": …}`` of the last mail. A server that gives out
    another UIDVALIDITY has numbered anew: everything is read again.
    """

    def __init__(self, account: Account, password: str) -> None:
        if account.security is Security.PLAIN and not (account.local or account.plain_abroad):
            raise ImapRefusedError(
                f"a plain connection would carry the password to {account.host} for all to read: "
                "set `imap_security` to tls or starttls"
            )
        self._account = account
        self._password = password
        self._client: _Client | None = None
        self._read: _Folder | None = None  # the folder as follow has read it to its end
        self._warned = (0, 0)  # UIDVALIDITY and UID of the last mail left out

    @property
    def name(self) -> str:
        """Protocol, user, host, port and folder."""
        one = self._account
        host = f"[{one.host}]" if ":" in one.host else one.host
        return f"imap://{one.user}@{host}:{one.where}/{one.folder}"

    def follow(self, cursor: str) -> Iterator[Fetched]:
        """Yield the mails with a higher UID than the cursor's, one by one, lowest UID first.

        Raises ImapBrokenError, and ImapRefusedError when login or folder is refused.
        """
        try:
            yield from self._since(*_marked(cursor))
        except StackhogError:
            self._drop()
            raise
        except BROKEN as error:
            self._drop()
            raise self._broken(error) from error

    def wait(self, seconds: float) -> None:
        """Return when mail came since the last follow, at the latest after so many seconds.

        Without a connection, or an IDLE on the server's side, the time is slept away. A
        connection that breaks ends the waiting soon; the next follow makes a new one.
        """
        until = time.monotonic() + seconds
        try:
            client = self._client
            if client is None or not client.has_capability("IDLE"):
                time.sleep(max(seconds, 0))
                return
            while (left := until - time.monotonic()) > 0:
                # asked again each time: a mail that came after follow is told here or in the IDLE
                if self._examine(client) != self._read or _grown(client, min(left, RENEW)):
                    return
        except BROKEN as error:
            LOG.info("%s: the connection broke while waiting (%s)", self.name, self._said(error))
            self._drop()
            time.sleep(max(min(PAUSE, until - time.monotonic()), 0))

    def close(self) -> None:
        """Log out; the next follow connects again."""
        if self._client is not None:
            with suppress(*BROKEN):
                self._client.logout()
        self._drop()

    def _since(self, validity: int, uid: int) -> Iterator[Fetched]:
        self._read = None
        client, folder = self._open()
        if validity != folder.validity:
            uid = 0
        for found, size in _sizes(client, folder, uid):
            raw = b"" if size > sources.MAIL_LIMIT else _fetch(client, found)
            if max(size, len(raw)) > sources.MAIL_LIMIT:
                self._leave_out(folder.validity, found)
            elif raw:
                yield Fetched(raw, json.dumps({"uidvalidity": folder.validity, "uid": found}))
        self._read = folder

    def _leave_out(self, validity: int, uid: int) -> None:
        """Warn, once as long as no later mail moves the cursor on."""
        if (validity, uid) > self._warned or validity != self._warned[0]:
            left_out(f"{self.name}: mail {uid}", sources.MAIL_LIMIT)
            self._warned = validity, uid

    def _open(self) -> tuple[_Client, _Folder]:
        """Return a connection with the folder open, the last one if it still holds."""
        if self._client is not None:
            try:
                return self._client, self._examine(self._client)
            except BROKEN:
                self._drop()  # it slept too long, or the folder is gone: the new one will tell
        self._client = client = self._connect()
        try:
            return client, self._examine(client)
        except IMAPClientAbortError:
            raise
        except IMAPClientError as error:
            raise self._refused(error, "does not open the folder", "sources") from error

    def _examine(self, client: _Client) -> _Folder:
        said = client.select_folder(self._account.folder, readonly=True)
        exists = said[b"EXISTS"]
        following = said.get(b"UIDNEXT") or max([0, *client.search(["*"])] if exists else [0]) + 1
        return _Folder(said.get(b"UIDVALIDITY", 0), following, exists)

    def _connect(self) -> _Client:
        account = self._account
        context = None if account.security is Security.PLAIN else self._context()
        client = _Client(account, context)
        try:
            if account.security is Security.STARTTLS:
                client.starttls(context)
            self._login(client)
        except BaseException:
            with suppress(*BROKEN):
                client.shutdown()
            raise
        return client

    def _context(self) -> ssl.SSLContext:
        ca = self._account.ca
        try:
            return ssl.create_default_context(cafile=None if ca is None else str(ca))
        except OSError as error:
            raise ImapRefusedError(
                f"{ca} holds no certificates ({error.strerror or error}): mend `imap_ca`"
            ) from error

    def _login(self, client: _Client) -> None:
        try:
            if client.has_capability("AUTH=PLAIN"):  # takes any password, LOGIN only ASCII
                client.plain_login(self._account.user, self._password)
            elif self._password.isascii() and self._password.isprintable():
                client.login(self._account.user, self._password)
            else:
                raise ImapRefusedError(
                    f"{self.name}: the server takes only passwords of ASCII characters: "
                    "set another one in `imap_password_file`"
                )
        except LoginError as error:
            if isinstance(error.__context__, IMAPClientAbortError):
                raise error.__context__ from None  # cut off: that says nothing of the password
            names = "sources` and `imap_password_file"
            raise self._refused(error, "refuses the login", names) from None

    def _refused(self, error: Exception, what: str, setting: str) -> StackhogError:
        said = self._said(error)
        if _LATER.search(said):
            return ImapBrokenError(f"{self.name}: the server {what} for now ({said}): wait")
        return ImapRefusedError(f"{self.name}: the server {what} ({said}): check `{setting}`")

    def _broken(self, error: Exception) -> ImapBrokenError:
        said = self._said(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            return ImapBrokenError(
                f"{self.name}: the server's certificate is not trusted ({said}): "
                "check the host in `sources`, or name the issuer's certificate in `imap_ca`"
            )
        return ImapBrokenError(
            f"{self.name} cannot be read ({said}): "
            "check host and port in `sources`, and `imap_security`, or wait for the server"
        )

    def _said(self, error: Exception) -> str:
        """Return an error's words: one line, of bounded length, without the password."""
        text = str(error)[: 10 * SAID] or type(error).__name__
        text = "".join(one if one.isprintable() else " " for one in text)
        return " ".join(text.replace(self._password or "\0", "…").split())[:SAID]

    def _drop(self) -> None:
        """Close the connection without a word."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(*BROKEN):
                client.shutdown()


class _Client(IMAPClient):  # type: ignore[misc] # has no type information
    """IMAPClient, mended in two places; connects at once."""

    def __init__(self, account: Account, context: ssl.SSLContext | None) -> None:
        implicit = account.security is Security.TLS
        super().__init__(
            account.host, account.where, ssl=implicit, ssl_context=context, timeout=account.timeout
        )
        self._imap.debug = 0  # else each mail is written out for a log that nobody reads
        self._look = False

    def idle(self) -> None:
        self._look = True
        super().idle()

    def _poll_socket(self, sock: object, timeout: float | None = None) -> object:
        # what came in one packet with the server's "+" lies in imaplib's buffer, where polling
        # the socket does not see it: the first look of each IDLE is at the buffer
        if self._look:
            self._look = False
            return [sock]
        return super()._poll_socket(sock, timeout)


def _marked(cursor: str) -> tuple[int, int]:
    """Return UIDVALIDITY and UID of a cursor; one that cannot be read is the beginning."""
    try:
        read = json.loads(cursor)
        return int(read["uidvalidity"]), int(read["uid"])
    except (ValueError, TypeError, KeyError):
        return 0, 0


def _sizes(client: _Client, folder: _Folder, uid: int) -> Iterator[tuple[int, int]]:
    """Yield UID and size in bytes of the mails above a UID, lowest first."""
    if not folder.exists:
        return
    first = max(uid + 1, min(client.search(["1"]), default=0))  # UIDs may begin at millions
    for start in range(first, folder.next, WINDOW):
        end = min(start + WINDOW, folder.next) - 1
        # a server that knows no mail in the range may answer with the last one all the same
        found = sorted(
            {one for one in client.search(["UID", f"{start}:{end}"]) if start <= one <= end}
        )
        for at in range(0, len(found), SIZES):
            sizes = client.fetch(found[at : at + SIZES], ["RFC822.SIZE"])
            yield from ((one, sizes[one].get(b"RFC822.SIZE", 0)) for one in sorted(sizes))


def _fetch(client: _Client, uid: int) -> bytes:
    """Return a mail, empty when it was expunged meanwhile, of one byte more than the limit."""
    # a part, since some servers only guess sizes
    said = client.fetch([uid], [f"BODY.PEEK[]<0.{sources.MAIL_LIMIT + 1}>"]).get(uid, {})
    raw = next((value for key, value in said.items() if key.startswith(b"BODY[]")), b"")
    return raw if isinstance(raw, bytes) else b""


def _grown(client: _Client, seconds: float) -> bool:
    """Wait in an IDLE; return whether the server tells of mail."""
    client.idle()
    told = client.idle_check(timeout=0)
    if not told:
        told = client.idle_check(timeout=seconds)
    told += client.idle_done()[1]
    return any(len(one) > 1 and one[1] == b"EXISTS" for one in told)
