"""One mail over one SMTP connection, stage by stage (RFC 5321), by the standard library.

The end of the mail is a write of its own, after whoever watches was told and has noted it: before
that write the server cannot have the mail, after it the server may. That is what tells "safe
to try again" from "uncertain". This module keeps nothing and decides nothing about the next try.
"""

from __future__ import annotations

import base64
import contextlib
import smtplib
import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from io import BufferedReader
from ipaddress import ip_address
from typing import Protocol, Self

from bot.errors import OursError
from bot.mail import wire
from bot.mail.headers import as_text, printable

CHUNK = 16 * 1024  # of the content, between two looks at the stop switch
ANSWER = 64 * 1024  # bytes of one answer, all its lines
GO_ON = 354
QUIT = 5.0  # seconds that an answer to QUIT is worth
AUTH_WANTED = (530, 534, 535, 538)  # RFC 4954: our set-up is at fault, not the mail


class Tls(StrEnum):
    """How a connection is protected."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"


PORTS = {Tls.STARTTLS: 587, Tls.IMPLICIT: 465, Tls.NONE: 25}  # RFC 6409, RFC 8314, RFC 5321


class Answer(StrEnum):
    """What came of a dialogue."""

    ACCEPTED = "accepted"
    TEMPORARY = "temporary"  # 4xx, or cut before the end: safe to try again
    PERMANENT = "permanent"  # 5xx
    UNCERTAIN = "uncertain"  # cut between the end and its answer


@dataclass(frozen=True)
class Timeouts:
    """Seconds that the server may take; the defaults are RFC 5321, 4.5.3.2."""

    connect: float = 60
    command: float = 300
    data: float = 120
    block: float = 180
    end: float = 600


@dataclass(frozen=True)
class Server:
    """Whom we hand mail to; the password is in no text that is made of this."""

    host: str
    port: int
    tls: Tls
    user: str | None = None
    password: str = field(default="", repr=False)
    context: ssl.SSLContext | None = field(default=None, repr=False)  # None: the system's
    timeouts: Timeouts = Timeouts()

    def __post_init__(self) -> None:
        if not self.password.isascii():  # smtplib cannot send it
            raise OursError(
                "the password for SMTP has characters outside ASCII: choose another one"
            )
        if self.user and self.tls is Tls.NONE and not loopback(self.host):
            raise OursError(
                f"the password of {self.user} would go to {self.host} unencrypted: "
                "set smtp_tls to starttls or implicit"
            )


@dataclass(frozen=True)
class Envelope:
    """A mail as bytes of ``wire.wire``, with the addresses that the server is told."""

    sender: str
    recipients: tuple[str, ...]
    mail: bytes
    last: bool = False  # there is no next try: serve whom the server takes


@dataclass(frozen=True)
class Result:
    """What came of a dialogue, at which stage, in the server's words."""

    answer: Answer
    stage: str
    said: str
    refused: tuple[str, ...] = ()  # recipients who did not get it
    session: bool = False  # the server takes no mail of ours at all, whichever it is


class Watch(Protocol):
    """Who is told of each stage; whatever it raises ends the dialogue, and nothing is sent."""

    def stage(self, stage: str, said: str) -> None:
        """Take note of a stage that was passed."""

    def look(self) -> None:
        """Say whether to go on, within a stage."""

    def hand_over(self) -> None:
        """Take note that the server may have the mail once this returns."""


class _RefusedError(Exception):
    """A result that ends the dialogue early."""

    def __init__(self, answer: Answer, said: str, *, session: bool = False) -> None:
        self.answer, self.said, self.session = answer, said, session
        super().__init__(said)


class _Bounded:
    """The server's lines, whole ones; an answer that never ends is cut."""

    def __init__(self, file: BufferedReader) -> None:
        self._file, self.left = file, ANSWER

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(limit)
        self.left -= len(line)
        if self.left < 0:
            raise smtplib.SMTPServerDisconnected("an answer without an end")
        if line and not line.endswith(b"\n") and len(line) != limit:
            raise smtplib.SMTPServerDisconnected("closed in the middle of an answer")
        return line

    def peek(self) -> bytes:
        return self._file.peek()

    def close(self) -> None:
        self._file.close()


class _Bounding(smtplib.SMTP):
    """smtplib's client, with a bound on what one answer may hold."""

    file: _Bounded | None

    def getreply(self) -> tuple[int, bytes]:
        """Return code and text of the next answer."""
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        if self.file is None:
            self.file = _Bounded(self.sock.makefile("rb"))
        self.file.left = ANSWER
        return super().getreply()


class _Client(_Bounding):
    """Without TLS from the start."""


class _TlsClient(_Bounding, smtplib.SMTP_SSL):
    """With TLS from the start."""


class Dialogue:
    """A connection for one mail: ``with Dialogue(server) as talk: talk.deliver(…)``.

    Leaving it says QUIT, if there is anybody to say it to; nothing depends on that.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._client: _Bounding | None = None
        self._stage = "connect"
        self._handed = False
        plain = f"\0{server.user}\0{server.password}"  # AUTH PLAIN, RFC 4616
        spelled = (base64.b64encode(one.encode()).decode() for one in (plain, server.password))
        self._secrets = (server.password, *spelled) if server.password else ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._client is None:
            return
        if kind is None and self._client.sock is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._client.sock.settimeout(min(QUIT, self._server.timeouts.command))
                self._client.quit()
        self._client.close()

    def deliver(self, envelope: Envelope, watch: Watch) -> Result:
        """Hand one mail over; raises only what ``watch`` raises."""
        try:
            self._connect(watch)
            self._secure(watch)
            self._login(watch)
            return self._transfer(envelope, watch)
        except _RefusedError as error:
            return Result(error.answer, self._stage, error.said, session=error.session)
        except (OSError, smtplib.SMTPException) as error:
            if self._client is not None:
                self._client.close()  # no QUIT into the middle of something
            return self._cut(error)

    def _cut(self, error: Exception) -> Result:
        if isinstance(error, smtplib.SMTPResponseException):
            said = self._answer(error.smtp_code, error.smtp_error)
        else:
            said = self._clean(str(error) or type(error).__name__)
        if self._handed:
            return Result(Answer.UNCERTAIN, self._stage, f"no answer after the end: {said}")
        before = self._stage in {"connect", "ehlo", "tls", "auth"}
        return Result(Answer.TEMPORARY, self._stage, said, session=before)

    def _connect(self, watch: Watch) -> None:
        server, wait = self._server, self._server.timeouts.connect
        try:
            if server.tls is Tls.IMPLICIT:
                self._client = _TlsClient(
                    server.host, server.port, timeout=wait, context=self._context()
                )
            else:
                self._client = _Client(server.host, server.port, timeout=wait)
        except smtplib.SMTPConnectError as error:
            raise self._unwilling(error.smtp_code, error.smtp_error) from error
        watch.stage("connect", f"{server.host}:{server.port}")
        self._hello(watch)

    def _hello(self, watch: Watch) -> None:
        client = self._at("ehlo", self._server.timeouts.command)
        client.ehlo_or_helo_if_needed()
        watch.stage("ehlo", self._clean(client.ehlo_resp or client.helo_resp or b""))

    def _secure(self, watch: Watch) -> None:
        client = self._at("tls", self._server.timeouts.command)
        if self._server.tls is not Tls.STARTTLS:
            return
        client.starttls(context=self._context())
        assert isinstance(client.sock, ssl.SSLSocket)  # noqa: S101 - never go on without
        watch.stage("tls", str(client.sock.version()))
        self._hello(watch)

    def _login(self, watch: Watch) -> None:
        client = self._at("auth", self._server.timeouts.command)
        if not self._server.user:
            return
        code, said = client.login(self._server.user, self._server.password)
        watch.stage("auth", self._answer(code, said))

    def _transfer(self, envelope: Envelope, watch: Watch) -> Result:
        client = self._at("mail", self._server.timeouts.command)
        content, options = self._encoded(envelope.mail)
        self._expect(client.mail(envelope.sender, options), watch)
        refused = self._recipients(envelope, watch)
        client = self._at("data", self._server.timeouts.data)
        self._expect(client.docmd("DATA"), watch, GO_ON)
        client = self._at("content", self._server.timeouts.block)
        for start in range(0, len(content), CHUNK):
            client.send(content[start : start + CHUNK])
            watch.look()
        watch.stage("content", f"{len(content)} bytes written")
        watch.hand_over()
        self._undisturbed()
        client = self._at("end", self._server.timeouts.end)
        self._handed = True
        client.send(b".\r\n")
        code, said = client.getreply()
        return self._decided(code, said, refused)

    def _undisturbed(self) -> None:
        """Raise when the connection is known to be gone, or an answer lies there unasked for.

        What is known before the end is written costs no mail its certainty; and an answer too
        many would be taken for the one to the end.
        """
        client = self._at("content", 0)
        assert client.sock is not None  # noqa: S101 - else the content could not be written
        try:
            early = (client.file.peek() if client.file else b"") or client.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        if not early:
            raise smtplib.SMTPServerDisconnected("closed before the end")
        raise _RefusedError(Answer.TEMPORARY, "the server spoke out of turn")

    def _encoded(self, mail: bytes) -> tuple[bytes, list[str]]:
        """Return content and MAIL's options as this server's extensions have them."""
        client = self._known()
        eight = client.has_extn("8bitmime")
        raw = mail if eight else wire.quoted_printable(mail)
        options = ["BODY=8BITMIME"] if eight and not raw.isascii() else []
        if client.has_extn("size"):  # RFC 1870
            limit = client.esmtp_features["size"]
            if limit.isdecimal() and 0 < int(limit[:18]) < len(raw):
                raise _RefusedError(
                    Answer.PERMANENT, f"{len(raw)} bytes, and the server takes {limit}"
                )
            options.append(f"SIZE={len(raw)}")
        return wire.stuffed(raw), options

    def _recipients(self, envelope: Envelope, watch: Watch) -> tuple[str, ...]:
        """Name the recipients; return who is refused while others are not."""
        client = self._at("rcpt", self._server.timeouts.command)
        never: dict[str, str] = {}
        later: dict[str, str] = {}
        for recipient in envelope.recipients:
            code, raw = client.rcpt(recipient)
            said = f"{recipient}: {self._answer(code, raw)}"
            if code // 100 != 2:  # noqa: PLR2004 - RFC 5321, 4.2.1
                (never if code // 100 == 5 else later)[recipient] = said  # noqa: PLR2004 - the same
            watch.stage("rcpt", said)
        served = len(envelope.recipients) - len(never) - len(later)
        if later and not (envelope.last and served):
            self._reset()
            raise _RefusedError(Answer.TEMPORARY, "; ".join(later.values()))
        if not served:
            self._reset()
            raise _RefusedError(Answer.PERMANENT, "; ".join(never.values()))
        return (*never, *later)

    def _reset(self) -> None:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            self._known().rset()

    def _decided(self, code: int, raw: bytes, refused: tuple[str, ...]) -> Result:
        said = self._answer(code, raw)
        match code // 100:
            case 2:
                return Result(Answer.ACCEPTED, "end", said, refused)
            case 4:
                return Result(Answer.TEMPORARY, "end", said)
            case 5:
                return Result(Answer.PERMANENT, "end", said)
            case _:
                return Result(Answer.UNCERTAIN, "end", f"no answer that means anything: {said}")

    def _expect(self, answer: tuple[int, bytes], watch: Watch, wanted: int = 0) -> None:
        """Go on when the answer is the one that is wanted, by default any 2xx."""
        code, raw = answer
        said = self._answer(code, raw)
        watch.stage(self._stage, said)
        if code == wanted or (not wanted and code // 100 == 2):  # noqa: PLR2004 - RFC 5321, 4.2.1
            return
        if code in AUTH_WANTED:
            raise self._unwilling(code, raw)
        permanent = code // 100 == 5  # noqa: PLR2004 - the same
        raise _RefusedError(Answer.PERMANENT if permanent else Answer.TEMPORARY, said)

    def _unwilling(self, code: int, raw: bytes | str) -> _RefusedError:
        """Return the refusal of a server that takes nothing of ours: no mail is to blame."""
        return _RefusedError(Answer.TEMPORARY, self._answer(code, raw), session=True)

    def _at(self, stage: str, seconds: float) -> _Bounding:
        client = self._known()
        self._stage = stage
        if client.sock is not None:
            client.sock.settimeout(seconds)
        return client

    def _known(self) -> _Bounding:
        assert self._client is not None  # noqa: S101 - _connect comes first
        return self._client

    def _context(self) -> ssl.SSLContext:
        return self._server.context or ssl.create_default_context()

    def _answer(self, code: int, raw: bytes | str) -> str:
        return f"{code} {self._clean(raw)}".strip()

    def _clean(self, raw: bytes | str) -> str:
        """Return what the server said on one line; a server that repeats the password does not."""
        text = printable(raw if isinstance(raw, str) else as_text(raw[:ANSWER]))
        for secret in self._secrets:
            text = text.replace(secret, "(password)")
        return text


def loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
