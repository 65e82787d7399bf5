"""`stackhog watch` from a maildir to an SMTP server: real mail, real builds, the real outbox."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

import dkim
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.store.database import sqlite
from bot.store.tables import JobRow
from tests.integration.conftest import Desk, one_line
from tests.integration.test_build import BUFFER

BOT = "stackhog@bot.example.org"
AUTHOR = "A. Author <author@example.org>"
HEADERS = [b"from", b"date", b"to", b"cc", b"subject", b"in-reply-to", b"references", b"message-id"]


class Inbox:
    """What an SMTP server took."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.to: list[list[str]] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802 - aiosmtpd's names
        raw = envelope.original_content or b""
        mail = message_from_bytes(raw, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.to.append(sorted(envelope.rcpt_tos))
        return "250 taken"


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, int]]:
    taken = Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(taken, hostname="127.0.0.1", port=port)
    controller.start()
    yield taken, port
    controller.stop()


class Post:
    """A maildir that is watched, and a person whose domain signs."""

    def __init__(self, desk: Desk, port: int, sending: str) -> None:
        self.desk, self.count = desk, 0
        self.maildir = desk.home / "mail"
        for name in ("cur", "new", "tmp"):
            (self.maildir / name).mkdir(parents=True)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        text = "v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode()
        (desk.home / "keys").write_text(f"key._domainkey.example.org {text}\n")
        (desk.home / "stackhog.toml").write_text(
            f'address = "stackhog <{BOT}>"\ntree = "mini"\nkernel_config = "{desk.config}"\n'
            f'dkim_keys = "{desk.home / "keys"}"\nlore_url = "http://127.0.0.1:9/none"\n'
            f'sending = "{sending}"\nsmtp_host = "127.0.0.1"\nsmtp_port = {port}\n'
            'smtp_tls = "none"\nseries_minutes = 0\n'
        )

    def deliver(self, raw: bytes) -> None:
        self.count += 1
        (self.maildir / "new" / f"17000000{self.count:02}.M1.host").write_bytes(raw)

    def deliver_patch(self) -> str:
        """Deliver a series of one patch; return its Message-ID."""
        self.desk.repo.edit("mm: one", "mm/vmscan.c", *BUFFER)
        (self.mail,) = self.desk.repo.mails(self.desk.base)
        self.deliver(self.mail)
        return str(message_from_bytes(self.mail)["Message-ID"]).strip("<>")

    def ask(self, command: str, parent: str, name: str = "ask@example.org") -> None:
        """Deliver a mail with a command, signed by the author's domain."""
        lines = [
            f"From: {AUTHOR}", f"To: {BOT}", "Cc: linux-mm@lists.example.org",
            f"Date: {format_datetime(datetime.now(UTC))}", "Subject: Re: [PATCH] mm: one",
            f"Message-ID: <{name}>", f"In-Reply-To: <{parent}>", f"References: <{parent}>",
            "", command, "",
        ]  # fmt: skip
        raw = "\r\n".join(lines).encode()
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )  # fmt: skip
        self.deliver(dkim.sign(raw, b"key", b"example.org", pem, include_headers=HEADERS) + raw)

    def attempts(self) -> dict[str, int]:
        """Return how often a job of each kind was sent."""
        found = sqlite(self.desk.home / "state" / "data" / "store.db")
        with found.session() as session:
            rows = session.query(JobRow).order_by(JobRow.kind)
            return {row.kind: row.attempts for row in rows}

    def watch(self, runs: str = "asked") -> str:
        """Do one round; return what it says of itself."""
        return self.run("-v", "watch", "--once", "--run", runs, f"maildir:{self.maildir}")

    def run(self, *words: str) -> str:
        environment = {
            **self.desk.environment(), "STACKHOG_CONFIG": str(self.desk.home / "stackhog.toml"),
        }  # fmt: skip
        done = subprocess.run(
            self.desk.command(*words), env=environment, check=False, text=True,
            capture_output=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout if words[0] == "outbox" else done.stderr


def test_what_was_asked_for_by_mail_is_answered_by_mail(
    desk: Desk, inbox: tuple[Inbox, int]
) -> None:
    taken, port = inbox
    post = Post(desk, port, "send")
    lead = post.deliver_patch()
    assert "no rule" in post.watch() or taken.mails == []
    post.ask("/test build stack", lead)
    said = post.watch()
    assert "author@example.org asked for it" in said
    (answer,) = taken.mails
    assert answer["In-Reply-To"] == "<ask@example.org>"
    assert answer["To"] == '"A. Author" <author@example.org>'
    assert answer["Cc"] == "linux-mm@lists.example.org"
    assert taken.to == [["author@example.org", "linux-mm@lists.example.org"]]
    body = answer.get_content()
    assert body.startswith("stack: pageout() grows by")
    assert "A. Author asked for this run." in body
    assert "> +\tchar text[600];" in body
    post.watch()
    post.deliver(post.mail)
    post.watch()
    assert len(taken.mails) == 1


def test_a_second_command_gets_the_kept_result_and_a_mute_is_named(
    desk: Desk, inbox: tuple[Inbox, int]
) -> None:
    taken, port = inbox
    post = Post(desk, port, "send")
    lead = post.deliver_patch()
    post.ask("/test build stack", lead)
    post.watch()
    assert post.attempts() == {"build": 1, "stack": 1}
    name = taken.mails[0].get_content().partition('"/mute ')[2].partition(" ")[0].strip()
    post.ask(f"/mute {name} it goes away\r\n/test build stack", lead, "again@example.org")
    post.watch()
    assert post.attempts() == {"build": 1, "stack": 1}
    body = taken.mails[1].get_content()
    assert body.startswith("No findings that are not muted.")
    assert "it goes away" in body


def test_by_default_nothing_leaves_and_what_is_approved_does(
    desk: Desk, inbox: tuple[Inbox, int]
) -> None:
    taken, port = inbox
    post = Post(desk, port, "moderate")
    lead = post.deliver_patch()
    post.ask("/test build stack", lead)
    post.watch()
    assert taken.mails == []
    (held,) = json.loads(post.run("outbox", "list", "--json"))
    assert held["state"] == "held"
    post.run("outbox", "approve", str(held["id"]))
    post.run("outbox", "send")
    assert len(taken.mails) == 1


def test_a_watch_without_sources_says_what_is_missing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, None, tmp_path / "none", "")  # type: ignore[arg-type] # no repository
    done = desk.run("watch", "--once")
    assert done.returncode == 2
    assert "sources" in one_line(done.stderr)


def test_a_source_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path, None, tmp_path / "none", "")  # type: ignore[arg-type] # no repository
    done = desk.run("watch", "--once", "--run", "none", str(tmp_path / "nothing"))
    assert done.returncode == 3
    assert "is no public-inbox v2 archive: check `sources`" in done.stderr
