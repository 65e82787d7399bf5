"""What a mail is, told from its headers and a look at its bytes, with the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from bot.mail import headers, subject
from bot.mail.message import Message

REPLY = re.compile(r"(?i)^\W*(re|aw|sv|antw|ref|回复|答复|fwd?|tr|wg)(\[\d+\])?\s*[::]")
PULL = re.compile(r"(?i)^\s*\[[^\]]*\bpull\b[^\]]*\]|^\s*(git )?pull( request)?\b\s*:")
_FIELD = re.compile(rb"(?im)^(subject|in-reply-to|references):(.*(?:\n[ \t].*)*)")
_DIFF = (b"\ndiff --git ", b"\n--- a/")


class Kind(StrEnum):
    """What a mail is to the series assembly."""

    PATCH = "patch"  # its subject says so; also a cover letter's
    LETTER = "letter"  # begins a thread or a part of it: it may be a cover without a number
    PULL = "pull"
    REPLY = "reply"
    OTHER = "other"


@dataclass(frozen=True)
class Sorted:
    """A mail's kind and the reason, one line."""

    kind: Kind
    reason: str

    @property
    def may_belong(self) -> bool:
        """Whether the mail may be a part of a series, so that it has to be parsed."""
        return self.kind in {Kind.PATCH, Kind.LETTER}


def sort(raw: bytes) -> Sorted:
    """Tell what a raw mail is, without parsing it; never fails."""
    head = raw[: headers.LIST_LIMIT].replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    fields = {name.lower(): value for name, value in reversed(_FIELD.findall(head))}
    value = fields.get(b"subject", b"")[: headers.LINE_LIMIT]
    title = headers.decoded(headers.as_text(value)) if value.strip() else ""
    has_diff = any(mark in raw for mark in _DIFF)
    if not title:
        return _letter(fields, "there is no subject", has_diff=has_diff)
    if PULL.match(title):
        return Sorted(Kind.PULL, "a pull request")
    if subject.parse(title).is_patch:
        return Sorted(Kind.PATCH, "its subject says [PATCH]")
    if REPLY.match(title):
        return Sorted(Kind.REPLY, "a reply with a diff in it" if has_diff else "a reply")
    return _letter(fields, "no [PATCH] in its subject", has_diff=has_diff)


def _letter(fields: dict[bytes, bytes], reason: str, *, has_diff: bool) -> Sorted:
    if has_diff:
        answers = b"in-reply-to" in fields
        return Sorted(Kind.REPLY if answers else Kind.OTHER, f"a diff, but {reason}")
    return Sorted(Kind.LETTER, reason)


def is_letter(message: Message) -> bool:
    """Whether a parsed mail may be a cover that no "0/n" announces."""
    counted = message.label.is_patch and message.label.counted
    talk = REPLY.match(message.subject) or PULL.match(message.subject)
    return not (counted or talk or message.diff)


def is_submission(message: Message) -> bool:
    """Tell a patch or a cover letter from talk under a patch's subject."""
    label = message.label
    return label.is_patch and bool(label.is_cover or message.diff or message.has_diffstat)
