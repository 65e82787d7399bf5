"""One mail as the rest of stackhog sees it, whatever its bytes were."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from email.message import Message as Mail

from bot.mail import body, diff, headers, mime, subject
from bot.mail.headers import Address
from bot.mail.subject import Label

_SUBJECT = re.compile(rb"(?im)^subject:(.*(?:\n[ \t].*)*)")
TOO_LONG = f"the mail has {body.LINES:,} lines or more, the rest of them was not looked at"
_DIFFSTAT = re.compile(
    r"(?m)^ (\d{1,9}) files? changed\b"
    r"(?:, (\d{1,9}) insertions?\(\+\))?(?:, (\d{1,9}) deletions?\(-\))?"
)
_SEPARATOR = re.compile(r"(?m)^---[ \t]*$")


@dataclass(frozen=True)
class Message:
    """A mail; addresses are decoded, ids are without angle brackets, all on one line."""

    message_id: str
    identified: bool  # False: it had no Message-ID, this one is made from its content
    sender: Address
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    subject: str
    label: Label
    references: tuple[str, ...]  # ancestors, the parent last
    list_id: str
    date: datetime  # timezone-aware
    above: str  # the body above the diff: commit message, notes, diffstat
    diff: bytes  # exactly as sent, transfer encoding undone; b"" when there is none
    below: str  # what follows the diff: base-commit, signature, list footer
    damage: str | None  # what is wrong with the diff

    @property
    def lines(self) -> tuple[str, ...]:
        """The body as mailed, decoded."""
        whole = self.above + headers.as_text(self.diff) + self.below
        return tuple(whole.removesuffix("\n").split("\n"))

    @property
    def has_diffstat(self) -> bool:
        """Whether a diffstat announces a diff."""
        return _DIFFSTAT.search(self.above) is not None


def may_be_patch(raw: bytes) -> bool:
    """Tell from the subject alone, cheaply, whether a raw mail may be a patch or a cover."""
    head = raw[: headers.LIST_LIMIT].replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    found = _SUBJECT.search(head)
    if not found:
        return False
    value = found[1][: headers.LINE_LIMIT]
    if b"patch" not in value.lower() and b"=?" not in value:
        return False
    return subject.parse(headers.decoded(headers.as_text(value))).is_patch


def parse(raw: bytes) -> Message:
    """Read one raw mail; never fails, what is missing or broken gets a stand-in.

    Of very many lines the first are read; the rest is damage to the diff.
    """
    unified = raw.replace(b"\r\n", b"\n")  # as git mailsplit does
    mail = mime.parsed(body.first_lines(unified))
    content, charset = body.text_of(mail)
    lines = content.removesuffix(b"\n").split(b"\n")
    found = diff.find(lines)
    first, last = (found.first, found.last) if found.last > found.first else (len(lines),) * 2
    above = body.decoded(_joined(lines[:first]), charset)
    long = max(unified.count(b"\n"), content.count(b"\n")) >= body.LINES
    short = TOO_LONG if long else _shortened(found, above, signed=diff.ends_signed(lines, last))
    title = headers.text(mail, "Subject")
    ids = headers.message_ids(mail, "Message-ID") or _bare_id(mail)
    return Message(
        message_id=ids[0] if ids else hashlib.sha256(unified).hexdigest()[:40] + "@no-id.invalid",
        identified=bool(ids),
        sender=headers.sender(mail),
        to=headers.addresses(mail, "To"),
        cc=headers.addresses(mail, "Cc"),
        subject=title,
        label=subject.parse(title),
        references=_ancestors(mail, ids),
        list_id=headers.text(mail, "List-Id"),
        date=headers.date(mail),
        above=above,
        diff=_joined(lines[first:last]),
        below=body.decoded(_joined(lines[last:]), charset),
        damage=found.damage or short,
    )


def _shortened(found: diff.Diff, above: str, *, signed: bool) -> str | None:
    """Return what a diff has less of than its diffstat says, as half a sentence.

    A diff that has more was edited after the diffstat was made, and so was one of which
    only lines are gone, unless the mail ends without a signature.
    """
    stats = _DIFFSTAT.findall(_SEPARATOR.split(above)[-1])
    if not stats or not found.files:
        return None
    files, added, removed = (int(number or 0) for number in stats[-1])
    if found.files < files:
        return f"there is the diff of {found.files} of the {files} files in its diffstat"
    if not signed and (found.added < added or found.removed < removed):
        return "there are fewer changed lines in the diff than in its diffstat"
    return None


def _bare_id(mail: Mail) -> tuple[str, ...]:
    """Return a Message-ID that was written without its angle brackets."""
    value = headers.text(mail, "Message-ID").strip("<>")
    whole = 0 < headers.size(value) < headers.LINE_LIMIT - 1  # the value was not cut
    return (value,) if whole and " " not in value else ()


def _ancestors(mail: Mail, own: tuple[str, ...]) -> tuple[str, ...]:
    """Return References with In-Reply-To last, each once, without the mail itself."""
    known = headers.message_ids(mail, "References")
    parent = headers.message_ids(mail, "In-Reply-To")[:1]
    ordered = dict.fromkeys((*parent, *reversed(known)))
    return tuple(one for one in reversed(ordered) if one not in own)


def _joined(lines: list[bytes]) -> bytes:
    return b"\n".join((*lines, b""))
