"""From mail to commit: author, date, message and diff, by the rules of git mailinfo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from bot.mail import headers, subject
from bot.mail.headers import Address
from bot.mail.message import Message

# in-body headers, and the first line of `git format-patch` pasted into a mail
_INBODY = re.compile(r"(?i)^(from|subject|date):[ \t]*(\S.*)$")
_SEPARATOR = re.compile(r"^>?From [0-9a-f]{40} ")
# patchbreak() in git's mailinfo.c
_BREAK = re.compile(r"^(diff -|Index: |--- \S|---\s*$)")


@dataclass(frozen=True)
class Commit:
    """What a patch mail says about the commit it stands for."""

    author: Address
    date: datetime
    title: str
    message: str  # below the title, without notes; ends without a newline


def commit(message: Message) -> Commit:
    """Read author, date and message; in-body headers win over those of the mail."""
    lines = [line.rstrip() for line in message.above.split("\n")]
    inbody, start = _inbody(lines)
    end = next((n for n in range(start, len(lines)) if _BREAK.match(lines[n])), len(lines))
    authors = headers.parse_addresses(inbody.get("from", ""))
    title = inbody.get("subject")
    return Commit(
        author=authors[0] if authors else message.sender,
        date=headers.parse_date(inbody.get("date", "")) or message.date,
        title=subject.parse(title).title if title else message.label.title,
        message="\n".join(lines[start:end]).strip("\n").replace("\0", ""),
    )


def _inbody(lines: list[str]) -> tuple[dict[str, str], int]:
    """Return the in-body headers at the top of a mail, and the first line after them."""
    found: dict[str, str] = {}
    last = ""
    for number, line in enumerate(lines):
        named = _INBODY.match(line)
        if named and named[1].lower() not in found:
            last = named[1].lower()
            found[last] = headers.decoded(named[2][: headers.LINE_LIMIT])
        elif last and line.startswith((" ", "\t")):
            if len(found[last]) < headers.LINE_LIMIT:
                found[last] += " " + headers.decoded(line[: headers.LINE_LIMIT])
        elif found or (line and not _SEPARATOR.match(line)):
            return found, number
    return found, len(lines)
