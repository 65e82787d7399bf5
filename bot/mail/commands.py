"""The commands in a mail: /test, /cancel, /mute, /unmute, /help at the start of a line.

Whether a command is obeyed is decided elsewhere (`bot.review.allow`): this says what the
mail asks for, and what is wrong with that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from bot.mail import headers, message, spoken
from bot.mail.headers import LINE_LIMIT, Address

VERBS = ("test", "cancel", "mute", "unmute", "help")
JOBS = ("build", "stack", "stress")
OPTIONS = ("profile", "config", "base")
MOST = 3  # commands of a mail that are obeyed
LISTED = 10  # that are told at all
REASON_LIMIT = 200  # characters of the reason of a /mute
SHOWN = 60  # characters of a word that is not understood
ID_LIMIT = 250  # characters of a Message-ID

# shorter words are how some sign their mail: "/M"
_COMMAND = re.compile(r"/([A-Za-z][A-Za-z-]{2,19})[.,:;!]?(?:\s+(.*))?")
# what may hold a command, to be told before a mail is taken apart
_HINT = re.compile(rb"\n[^\n/]{0,12}/[A-Za-z]|(?i:base64|quoted-printable|html|utf-?16)")
# first words of lines that are no commands: directories of every machine, and the talk of people
_DIRECTORIES = (
    "bin boot data dev efi etc home init lib lib64 lost media mnt nix opt proc root run sbin "
    "snap srv sys sysroot tmp usr var"
)
_TALK = "sarcasm irony joke rant snark sigh shrug tableflip facepalm"
_NO_COMMANDS = frozenset(f"{_DIRECTORIES} {_TALK}".split())
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_BASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,99}")
_FINDING = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,79}")
_ID = re.compile(r"[^\s<>@/?#\x00-\x20\x7f]{1,200}@[^\s<>@/?#\x00-\x20\x7f]{1,200}")
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Command:
    """One command of a mail; ``problem`` says as half a sentence what is wrong with it."""

    message_id: str
    sender: Address  # as From says, whoever wrote that
    verb: str  # one of VERBS, or what stands in its place
    args: Pairs  # of /test: jobs (spaces between), fresh, profile, config, base, message_id
    line: int  # in the decoded text, from 1
    addressed: bool  # the bot is in To or Cc
    problem: str | None = None

    def get(self, name: str) -> str | None:
        """Return an argument, None where it was not given."""
        return dict(self.args).get(name)


class _WrongError(ValueError):
    """Arguments that say nothing; its text is half a sentence."""


def find(raw: bytes, own: Collection[str]) -> tuple[Command, ...]:
    """Return the commands in a raw mail, at most LISTED; ``own`` are the bot's addresses.

    Never fails. Of a mail that is not addressed to one of ``own``, only lines count that begin
    with a known verb: others may be meant for somebody else.
    """
    if not _HINT.search(b"\n" + raw):
        return ()
    mail = spoken.parsed(raw)
    hit = [(number, found) for number, line in spoken.lines(mail) if (found := _match(line))]
    if not hit:
        return ()
    to_us = addressed((*headers.addresses(mail, "To"), *headers.addresses(mail, "Cc")), own)
    message_id = message.parse(raw).message_id
    sender = next(iter(headers.addresses(mail, "From")), headers.NOBODY)
    commands = []
    for number, (verb, rest) in hit:
        if verb in VERBS or to_us:
            args, problem = _arguments(verb, rest)
            commands.append(Command(message_id, sender, verb, args, number, to_us, problem))
    return _first(commands[:LISTED])


def addressed(to: Collection[Address], own: Collection[str]) -> bool:
    """Tell whether one of our addresses is among others; own+anything@ is own@."""
    ours = {one.strip().lower() for one in own}
    return any(ours & {one.email.lower(), _without_tag(one.email.lower())} for one in to)


def _without_tag(email: str) -> str:
    local, at, host = email.rpartition("@")
    return local.partition("+")[0] + at + host


def _first(commands: list[Command]) -> tuple[Command, ...]:
    problem = f"only the first {MOST} commands of a mail count"
    late = (replace(one, problem=one.problem or problem) for one in commands[MOST:])
    return (*commands[:MOST], *late)


def _match(line: str) -> tuple[str, str] | None:
    """Return verb and rest of a line that looks like a command."""
    found = _COMMAND.fullmatch(line) if line.startswith("/") else None
    if found is None or found[1].lower() in _NO_COMMANDS:
        return None
    return found[1].lower(), (found[2] or "").strip()


def _arguments(verb: str, rest: str) -> tuple[Pairs, str | None]:
    read = _READERS.get(verb)
    if read is None:
        known = ", ".join(f"/{one}" for one in VERBS)
        return (), f"there is no command /{verb}; there are {known}"
    if len(rest) > LINE_LIMIT:
        return (), f"the line is longer than {LINE_LIMIT} characters"
    try:
        return read(headers.printable(rest)), None
    except _WrongError as wrong:
        return (), str(wrong)


def _test(rest: str) -> Pairs:
    jobs: set[str] = set()
    found: dict[str, str] = {}
    for word in rest.split():
        if word.lower() in JOBS:
            jobs.add(word.lower())
        else:
            name, value = ("fresh", "yes") if word.lower() == "fresh" else _option(word)
            if found.setdefault(name, value) != value:
                raise _WrongError(f"there are two values for {name.replace('_', '-')}")
    if jobs:
        found["jobs"] = " ".join(job for job in JOBS if job in jobs)
    order = ("jobs", "fresh", *OPTIONS, "message_id")
    return tuple((name, found[name]) for name in order if name in found)


def _option(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    name = name.lower()
    if equals and name in OPTIONS:
        shape = _BASE if name == "base" else _NAME
        if not shape.fullmatch(value) or ".." in value:
            raise _WrongError(f"{_quoted(value)} cannot be a {name}")
        return name, value
    message_id = mail_named(word)
    if message_id is None:
        options = ", ".join(f"{one}=…" for one in OPTIONS)
        raise _WrongError(
            f"/test does not know {_quoted(word)}; it takes {', '.join(JOBS)}, fresh, {options}, "
            "a Message-ID or a lore link"
        )
    return "message_id", message_id


def mail_named(word: str) -> str | None:
    """Return the Message-ID that a word is, or that a link to an archive holds.

    Public-inbox serves a mail as HOST/LIST/MESSAGE-ID/, kernel.org's redirectors as
    lore.kernel.org/r/MESSAGE-ID and patch.msgid.link/MESSAGE-ID; "/" is escaped in all.
    """
    plain = word.strip("<>,.;()")
    if not plain.lower().startswith(("http://", "https://")):
        found = plain.removeprefix("id:").removeprefix("mid:")
        return found if len(found) <= ID_LIMIT and _ID.fullmatch(found) else None
    try:
        steps = urlsplit(plain).path.split("/")
    except ValueError:
        return None
    ids = (unquote(step) for step in steps if "@" in unquote(step))
    return next((one for one in ids if len(one) <= ID_LIMIT and _ID.fullmatch(one)), None)


def _cancel(rest: str) -> Pairs:
    if not rest:
        return ()
    message_id = mail_named(rest)
    if message_id is None:
        raise _WrongError(
            f"/cancel does not know {_quoted(rest)}; it takes a Message-ID or nothing"
        )
    return (("message_id", message_id),)


def _mute(rest: str) -> Pairs:
    finding, _, reason = rest.partition(" ")
    finding = finding.strip("[]")  # as the reply shows it
    if not _FINDING.fullmatch(finding):
        raise _WrongError(
            "/mute needs the name of a finding, as the reply has it, then a reason or none"
        )
    said = reason.strip()[:REASON_LIMIT]
    return (("finding", finding), ("reason", said)) if said else (("finding", finding),)


def _unmute(rest: str) -> Pairs:
    rest = rest.strip("[]")
    if not _FINDING.fullmatch(rest):
        raise _WrongError("/unmute needs the name of one finding, as the reply has it")
    return (("finding", rest),)


def _quoted(word: str) -> str:
    return f'"{word[:SHOWN]}"' + ("…" if len(word) > SHOWN else "")


_READERS: dict[str, Callable[[str], Pairs]] = {
    "test": _test, "cancel": _cancel, "mute": _mute, "unmute": _unmute, "help": lambda _: (),
}  # fmt: skip


def arguments_json(command: Command) -> dict[str, object]:
    """Return the arguments in the shape of `stackhog commands --json`."""
    found: dict[str, object] = dict(command.args)
    if "jobs" in found:
        found["jobs"] = str(found["jobs"]).split()
    if "fresh" in found:
        found["fresh"] = True
    return found
