"""A mail as it goes over the wire: ASCII headers, CRLF, no line too long, dots stuffed.

What is kept in the outbox is these bytes, so that what a person approved is what leaves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email import message_from_bytes
from email.header import Header
from email.headerregistry import Address, AddressHeader
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formataddr
from typing import cast

from bot.errors import OursError

LONGEST = 998  # octets of a line: RFC 5322, 2.1.1
NAME_LINE = 60  # characters of a line of an encoded name
FILLED = 72  # characters of a line of mailboxes, without what stands between them
IDS = ("in-reply-to", "references")
MAILBOXES = ("from", "to", "cc")
ENVELOPE = ("To", "Cc")
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_ENDS = re.compile(rb"\r\n|\r|\n")


class BadMailError(OursError):
    """A mail of ours that cannot be put on the wire as it is."""


class _Policy(EmailPolicy):
    """SMTP's policy, but what Python folds wrongly is put on lines here.

    Long Message-IDs, folded as text, become encoded words, which no archive takes for
    Message-IDs (RFC 2047, section 5). In a list of mailboxes Python encodes a comma behind
    a name beyond ASCII, which makes two recipients one, and loses the quotes of long names.
    """

    def fold_binary(self, name: str, value: str) -> bytes:
        """Put each Message-ID on a line of its own, and of mailboxes no half one on any."""
        fold = f"{self.linesep} "
        if name.lower() in IDS:
            text = fold.join(str(value).split())
        elif name.lower() in MAILBOXES:
            found = [self._mailbox(one) for one in self._known(name, value).addresses]
            text = f",{fold}".join(_filled(found, FILLED - len(name)))
        else:
            return super().fold_binary(name, value)
        return f"{name}: {text}{self.linesep}".encode("ascii")

    def _known(self, name: str, value: str) -> AddressHeader:
        """Return a header with its addresses: what was read is text until it is asked for."""
        if not hasattr(value, "addresses"):
            value = self.header_factory(name, "".join(value.splitlines()))
        return cast("AddressHeader", value)

    def _mailbox(self, one: Address) -> str:
        name = one.display_name
        if name.isascii():
            return formataddr((name, one.addr_spec))
        encoded = Header(name, "utf-8", maxlinelen=NAME_LINE).encode(linesep=self.linesep)
        return f"{encoded} <{one.addr_spec}>"


def _filled(found: Iterable[str], width: int) -> list[str]:
    """Return mailboxes as lines, as many on each as go into it."""
    lines: list[str] = []
    for one in found:
        if lines and len(lines[-1]) + len(one) <= width:
            lines[-1] += f", {one}"
        else:
            lines.append(one)
    return lines


POLICY = _Policy(linesep="\r\n", max_line_length=78, cte_type="8bit")


def wire(mail: EmailMessage) -> bytes:
    """Return a mail as bytes: the same mail gives the same bytes.

    To and Cc lose what mail cannot be sent to: one bad address must not cost the others theirs.
    Raises BadMailError when it has more than one text, or headers that cannot be written.
    """
    text = _text(mail)
    clean = _copy(mail)
    body = text.encode("utf-8", "replace")
    long = any(len(line) > LONGEST for line in body.split(b"\n"))
    clean.set_content(text, charset="utf-8", cte="quoted-printable" if long else "8bit")
    return _bytes(clean)


def quoted_printable(raw: bytes) -> bytes:
    """Return a mail of ``wire`` so that it passes servers without 8BITMIME (RFC 6152)."""
    if raw.isascii():
        return raw
    mail = parsed(raw)
    mail.set_content(_text(mail), charset="utf-8", cte="quoted-printable")
    return _bytes(mail)


def readdressed(raw: bytes, keep: frozenset[str]) -> bytes:
    """Return a mail of ``wire`` whose To and Cc name nobody but these addresses, in lower case."""
    mail = parsed(raw)
    for name in ENVELOPE:
        kept = [one for one in _addresses(mail, name) if one.addr_spec.lower() in keep]
        del mail[name]
        if kept:
            mail[name] = kept
    return _bytes(mail)


def recipients(mail: EmailMessage) -> tuple[str, ...]:
    """Return whom To and Cc name, as they stand there, valid or not."""
    return tuple(one.addr_spec for name in ENVELOPE for one in _addresses(mail, name))


def valid(address: str) -> bool:
    """Return whether an address is one, in ASCII: nothing that could end a line or a command."""
    return len(address) <= 254 and _ADDRESS.fullmatch(address) is not None  # noqa: PLR2004 - RFC 5321


def stuffed(raw: bytes) -> bytes:
    """Return what is written after DATA, without the dot at its end (RFC 5321, 4.5.2)."""
    lines = _ENDS.sub(b"\r\n", raw)
    whole = lines if lines.endswith(b"\r\n") else lines + b"\r\n"
    return re.sub(rb"(?m)^\.", b"..", whole)


def parsed(raw: bytes) -> EmailMessage:
    """Return a mail of ``wire``."""
    mail = message_from_bytes(raw, policy=POLICY)
    assert isinstance(mail, EmailMessage)  # noqa: S101 - for the type: the policy makes them so
    return mail


def _text(mail: EmailMessage) -> str:
    if mail.get_content_type() != "text/plain":
        raise BadMailError(f"a mail of {mail.get_content_type()} is not sent: make it text/plain")
    found = str(mail.get_content()).replace("\0", "?").replace("\r\n", "\n")
    return found.replace("\r", "\n").encode("utf-8", "replace").decode()


def _copy(mail: EmailMessage) -> EmailMessage:
    """Return the headers that are ours to send, without what is of the body."""
    copy = EmailMessage(policy=POLICY)
    for name, value in mail.items():
        if name.lower() in {"bcc", "mime-version"} or name.lower().startswith("content-"):
            continue
        if name.lower() in IDS:
            ids = [one for one in str(value).split() if one.isascii() and one.isprintable()]
            if ids:
                copy[name] = " ".join(ids)
        elif name.title() in ENVELOPE:
            if kept := [one for one in _addresses(mail, name) if valid(one.addr_spec)]:
                copy[name] = kept
        elif name.title() == "From":
            copy[name] = _addresses(mail, name)
        else:
            copy[name] = str(value)
    return copy


def _addresses(mail: EmailMessage, name: str) -> list[Address]:
    """Return mailboxes as the header was parsed: as text, a comma in a name splits them."""
    return [one for value in mail.get_all(name, []) for one in value.addresses]


def _bytes(mail: EmailMessage) -> bytes:
    """Write a mail, and read it again: what came out must be what went in."""
    try:
        raw = mail.as_bytes(policy=POLICY)
    except (ValueError, LookupError, TypeError, IndexError, AttributeError) as error:
        raise BadMailError(f"a mail cannot be written: {error}") from error
    head = raw.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in _ENDS.split(head) if line[:1] not in b" \t"]
    if not head.isascii() or names != [name.encode() for name in mail.keys()]:  # noqa: SIM118
        raise BadMailError("a header of a mail would be written as something else")
    return raw
