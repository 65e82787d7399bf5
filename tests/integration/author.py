"""A person whose domain signs mail, and a maildir that it comes to."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

HEADERS = [b"from", b"date", b"to", b"cc", b"subject", b"in-reply-to", b"references", b"message-id"]


class Author:
    """Sends series and commands; ``keys`` is the file of the setting dkim_keys."""

    def __init__(self, maildir: Path, keys: Path, bot: str) -> None:
        self._maildir, self._bot, self._count = maildir, bot, 0
        for name in ("cur", "new", "tmp"):
            (maildir / name).mkdir(parents=True)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        text = "v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode()
        keys.write_text(f"key._domainkey.example.org {text}\n")
        self._pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )  # fmt: skip

    def deliver(self, raw: bytes) -> None:
        """Put a mail into the maildir, as an MTA does."""
        self._count += 1
        name = f"17{self._count:08}.M1.host"
        (self._maildir / "tmp" / name).write_bytes(raw)
        (self._maildir / "tmp" / name).rename(self._maildir / "new" / name)

    def ask(self, command: str, parent: str, name: str) -> None:
        """Send a signed command in reply to a mail; ``name`` is its Message-ID."""
        lines = [
            "From: A. Author <author@example.org>", f"To: {self._bot}",
            "Cc: linux-mm@lists.example.org", f"Date: {format_datetime(datetime.now(UTC))}",
            "Subject: Re: [PATCH] mm: change", f"Message-ID: <{name}>",
            f"In-Reply-To: <{parent}>", f"References: <{parent}>", "", command, "",
        ]  # fmt: skip
        raw = "\r\n".join(lines).encode()
        sealed = dkim.sign(raw, b"key", b"example.org", self._pem, include_headers=HEADERS)
        self.deliver(sealed + raw)
