"""What is said in private: why a command was not obeyed, and how to ask."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, formataddr, parseaddr

from bot.mail.commands import Command
from bot.mail.headers import Address, printable
from bot.mail.message import Message
from bot.mail.reply import POLICY
from bot.mail.wording import WIDTH
from bot.review.allow import help_text


def refusal(
    mail: Message, refused: Sequence[tuple[Command, str]], sender: str, date: datetime
) -> EmailMessage:
    """Return one answer to the commands of a mail that were not obeyed, each with its reason.

    Its Message-ID follows from that of the mail: it is never answered twice.
    """
    letter = _answer(mail, refused[0][0].sender, sender, date, "refused")
    letter.set_content("\n".join(_refusals(refused)) + "\n", charset="utf-8", cte="8bit")
    return letter


def failure(mail: Message, to: Address, reason: str, sender: str, date: datetime) -> EmailMessage:
    """Return the answer to a /test that could not be done, for a reason that is theirs."""
    letter = _answer(mail, to, sender, date, "failed")
    lines = [*_wrapped("The run that you asked for was not made:"), "", *_wrapped(reason, "  ")]
    letter.set_content("\n".join(lines) + "\n", charset="utf-8", cte="8bit")
    return letter


def _answer(mail: Message, to: Address, sender: str, date: datetime, kind: str) -> EmailMessage:
    letter = EmailMessage(policy=POLICY)
    subject = printable(mail.subject)
    words = "\0".join((kind, mail.message_id))
    host = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    letter["From"] = sender
    name = "" if to.name == to.email else printable(to.name)
    letter["To"] = formataddr((name, printable(to.email)))
    letter["Subject"] = subject if subject.lower().startswith("re:") else f"Re: {subject}"
    letter["Date"] = format_datetime(date)
    letter["Message-ID"] = f"<stackhog-{hashlib.sha256(words.encode()).hexdigest()[:32]}@{host}>"
    letter["In-Reply-To"] = f"<{mail.message_id}>"
    letter["References"] = " ".join(f"<{one}>" for one in (*mail.references, mail.message_id))
    letter["Auto-Submitted"] = "auto-replied"  # RFC 3834, section 5
    return letter


def _refusals(refused: Sequence[tuple[Command, str]]) -> Iterator[str]:
    told = [(command, reason) for command, reason in refused if command.verb != "help"]
    for command, reason in told:
        yield f"> /{command.verb}{_given(command)}"
        yield ""
        yield from _wrapped(f"{reason[:1].upper()}{reason[1:]}.")
        yield ""
    yield from help_text().splitlines()


def _given(command: Command) -> str:
    words = [value if name in {"jobs", "message_id", "finding", "reason"} else f"{name}={value}"
             for name, value in command.args if name != "fresh"]  # fmt: skip
    if command.get("fresh"):
        words.append("fresh")
    return "".join(f" {word}" for word in words)


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        printable(text), WIDTH, initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
