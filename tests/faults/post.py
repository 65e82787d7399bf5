"""Lists and people: they send series and commands, take our mail, and keep an archive of it."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.letters import letter

BOT = "stackhog@bot.example.org"
AUTHOR = "A. Author <author@example.org>"
HEADERS = [b"from", b"date", b"to", b"cc", b"subject", b"in-reply-to", b"references", b"message-id"]
BODY = """Why it is so.

Signed-off-by: {who}
---
 mm/vmscan.c | 1 +

{diff}-- \n2.39.5
"""


class People:
    """Whoever writes into the maildir that the bot follows."""

    def __init__(self, maildir: Path, keys: Path) -> None:
        self.maildir, self._count = maildir, itertools.count(1)
        for name in ("cur", "new", "tmp"):
            (maildir / name).mkdir(parents=True)
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        text = "v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode()
        keys.write_text(f"key._domainkey.example.org {text}\n")

    def deliver(self, raw: bytes) -> None:
        """Put a mail into the maildir, as an MTA does."""
        name = f"17{next(self._count):08}.M1.host"
        (self.maildir / "tmp" / name).write_bytes(raw)
        (self.maildir / "tmp" / name).rename(self.maildir / "new" / name)

    def send(
        self, number: int, diff: Callable[[int], str], patches: int = 1, command: str = "/test"
    ) -> str:
        """Send a series and ask for a run of it; return the Message-ID of the question."""
        lead = f"series-{number}-1@example.org"
        for index in range(1, patches + 1):
            subject = f"[PATCH {index}/{patches}] mm: change {number}, part {index}"
            body = BODY.format(who=AUTHOR, diff=diff(number * 100 + index))
            self.deliver(
                letter(
                    subject, body, id=f"series-{number}-{index}@example.org", sender=AUTHOR,
                    parents=[] if index == 1 else [lead], minutes=number,
                    headers="To: linux-mm@lists.example.org\n",
                )
            )  # fmt: skip
        return self.ask(f"ask-{number}@example.org", lead, number, command)

    def ask(self, name: str, parent: str, number: int, command: str) -> str:
        """Send a signed command."""
        lines = [
            f"From: {AUTHOR}", f"To: {BOT}", "Cc: linux-mm@lists.example.org",
            f"Date: {format_datetime(datetime.now(UTC))}",
            f"Subject: Re: [PATCH] mm: change {number}", f"Message-ID: <{name}>",
            f"In-Reply-To: <{parent}>", f"References: <{parent}>", "", command, "",
        ]  # fmt: skip
        raw = "\r\n".join(lines).encode()
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )  # fmt: skip
        self.deliver(dkim.sign(raw, b"key", b"example.org", pem, include_headers=HEADERS) + raw)
        return name
