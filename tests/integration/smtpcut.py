"""SMTP on loopback: a real server, one that says what it is told, and a wire that can be cut."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

HOST = "127.0.0.1"
Hook = Callable[[str], str | None]


def ids(mails: list[tuple[str, list[str], bytes]]) -> list[str]:
    """Return the Message-IDs that arrived, sorted, each as often as it did."""
    return sorted(
        found[1].decode()
        for *_, raw in mails
        for found in re.finditer(rb"(?m)^Message-ID: <(.+)>", raw)
    )


@dataclass
class Post:
    """aiosmtpd on a free port, in a thread; ``mails`` is what it took responsibility for.

    ``hook`` is called with each stage (``MAIL``, ``RCPT address``, ``DATA``) and may return
    another answer than 250; it runs beside the server's loop and may wait.
    """

    hook: Hook = lambda _: None
    context: ssl.SSLContext | None = None
    implicit: bool = False
    login: tuple[str, str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    mails: list[tuple[str, list[str], bytes]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        serving = asyncio.run_coroutine_threadsafe(self._serve(), self._loop)
        self._server = serving.result(30)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(self, *_: object) -> None:
        for last in (self._server.close, self._loop.stop):  # neither may be called from here
            self._loop.call_soon_threadsafe(last)
        self._thread.join()

    async def _serve(self) -> asyncio.Server:
        starttls = None if self.implicit else self.context  # aiosmtpd knows of STARTTLS alone
        extra: dict[str, Any] = {"hostname": "post.example", **self.options}
        if self.login:
            extra |= {"authenticator": self._authenticate, "auth_required": True,
                      "auth_require_tls": starttls is not None}  # fmt: skip
        return await self._loop.create_server(
            lambda: SMTP(self, tls_context=starttls, loop=self._loop, **extra),
            HOST, 0, ssl=self.context if self.implicit else None,
        )  # fmt: skip

    def _authenticate(self, *words: object) -> AuthResult:
        given = words[-1]
        assert isinstance(given, LoginPassword)
        found = (given.login.decode(), given.password.decode())
        return AuthResult(success=found == self.login, handled=False)

    async def _ask(self, stage: str) -> str | None:
        return await self._loop.run_in_executor(None, self.hook, stage)

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, _: SMTP, __: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        said = await self._ask("MAIL")
        if said:
            return said
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        said = await self._ask(f"RCPT {address}")
        if said:
            return said
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802 - the same
        said = await self._ask("DATA")
        if said and not said.startswith("250"):
            return said
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append((str(envelope.mail_from), list(envelope.rcpt_tos), content))
        return said or "250 taken"


@dataclass(frozen=True)
class Cut:
    """Where a connection breaks: ``extra`` bytes after the end of the first match of ``marker``
    in what one side writes. What comes before is passed on, nothing after.
    """

    side: str  # "client" or "server"
    marker: bytes = b""
    extra: int = 0

    def at(self, seen: bytes) -> int | None:
        """Return how much of a side's bytes may pass, None as long as all may."""
        found = re.search(self.marker, seen, re.DOTALL)
        if found is None or len(seen) < found.end() + self.extra:
            return None
        return found.end() + self.extra


class Wire:
    """A TCP proxy that breaks as it is told; ``when`` is called right before it does."""

    def __init__(self, port: int, cut: Cut | None, when: Callable[[], None] = lambda: None) -> None:
        self._upstream, self._cut, self._when = port, cut, when
        self.passed = {"client": b"", "server": b""}
        self.cuts = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((HOST, self._upstream))
                self.passed = {"client": b"", "server": b""}
                for side, source, sink in (("client", client, server), ("server", server, client)):
                    threading.Thread(
                        target=self._pump, args=(side, source, sink), daemon=True
                    ).start()

    def _pump(self, side: str, source: socket.socket, sink: socket.socket) -> None:
        seen = b""
        with suppress(OSError):
            while True:
                mine = self._cut is not None and self._cut.side == side
                limit = self._cut.at(seen) if mine and self._cut else None
                whole = seen if limit is None else seen[:limit]
                with self._lock:
                    if self.cuts:  # nothing passes any more, least of all an answer to the last
                        return
                    self.cuts += limit is not None
                    sink.sendall(whole[len(self.passed[side]) :])
                    self.passed[side] = whole
                if limit is not None:
                    self._break(source, sink)
                    return
                more = source.recv(4096)
                if not more:
                    break
                seen += more
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _break(self, *ends: socket.socket) -> None:
        self._when()
        for one in ends:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
                # what is closed so sends RST: the other side learns that nothing comes any more
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.close()


class Script:
    """A server that answers each line with what is written for its first word.

    ``banner``, words of commands, and ``end`` for the end of the mail; what is missing gets 250.
    """

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self._answers = answers
        self.lines: list[bytes] = []
        self.ends = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                talk, _ = self._listener.accept()
                with talk, talk.makefile("rb") as file, suppress(OSError):
                    self._serve(talk, file)

    def _serve(self, talk: socket.socket, file: BinaryIO) -> None:
        talk.sendall(self._answers.get("banner", b"220 here\r\n"))
        inside = False
        for line in file:
            self.lines.append(line)
            if inside and line != b".\r\n":
                continue
            word = "end" if inside else line.split()[0].decode().upper()
            inside = False
            self.ends += word == "end"
            standard = b"354 go on\r\n" if word == "DATA" else b"250 OK\r\n"
            answer = self._answers.get(word, standard)
            talk.sendall(answer)
            inside = word == "DATA" and answer.startswith(b"354")
            if word == "QUIT":
                return
