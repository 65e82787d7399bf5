"""Judges the commands of mail at hand, wired together: sources, series, keys, MAINTAINERS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bot.errors import OursError, TheirsError
from bot.mail import commands, dns, headers, message, robots, signed, sources
from bot.mail.commands import Command
from bot.mail.message import Message
from bot.mail.series import Series, assemble
from bot.mail.signed import Resolve, Seen, Signed, Unsigned
from bot.review import allow, gitfiles, maintainers
from bot.review.allow import Facts, Judged, Names
from bot.review.maintainers import Maintainers
from bot.settings import Settings
from bot.verbs.wiring import worker_config
from policies import kernels, stress
from workers import trees

ON_ITS_WAY = timedelta(hours=1)  # from its Date until it came


@dataclass(frozen=True)
class Judgement:
    """A command, when its mail was sent, and what becomes of it."""

    date: datetime
    command: Command
    judged: Judged


@dataclass(frozen=True)
class _Letter:
    """A mail with commands, and what is known of who sent it."""

    mail: Message
    commands: tuple[Command, ...]
    robot: str | None
    signature: Signed | Unsigned


def judgements(
    paths: Sequence[Path],
    settings: Settings,
    keys: Path | None = None,
    maintainers_file: Path | None = None,
    tree: str | None = None,
) -> tuple[Judgement, ...]:
    """Return every command of the mail at some paths, judged; by date, Message-ID and line.

    Raises TheirsError where a path holds no mail or a file cannot be read.
    """
    resolve = _remembered(resolver(keys or settings.dkim_keys))
    letters, known = _read(paths, settings, resolve)
    owners, why_none = owners_of(settings, maintainers_file, tree)
    names = Names(stress.list_names(), kernels.list_names())
    seen: dict[str, Seen] = {}
    found: list[Judgement] = []
    for letter in letters:
        replay = _replay(letter, seen)
        for command in letter.commands:
            facts = Facts(
                letter.signature, allow.meant(command, letter.mail, known), letter.robot, replay,
                owners, why_none, settings.operators,
            )  # fmt: skip
            judged = allow.judge(allow.checked(command, names), facts)
            found.append(Judgement(letter.mail.date, command, judged))
    return tuple(sorted(found, key=_order))


def _order(one: Judgement) -> tuple[datetime, str, int]:
    return one.date, one.command.message_id, one.command.line


def as_json(one: Judgement) -> dict[str, object]:
    """Return a judgement in the shape of `stackhog commands --json`."""
    return {
        "message_id": one.command.message_id,
        "from": str(one.command.sender),
        "verb": one.command.verb,
        "args": commands.arguments_json(one.command),
        "line": one.command.line,
        "allowed": one.judged.allowed,
        "reason": one.judged.reason,
    }


def _read(
    paths: Sequence[Path], settings: Settings, resolve: Resolve
) -> tuple[list[_Letter], dict[str, Series]]:
    """Return the mails with commands in the order they come, and all series."""
    own = [one.email for one in headers.parse_addresses(settings.address)]
    letters: dict[str, _Letter] = {}

    def patches() -> Iterator[Message]:
        for path in paths:
            for raw in sources.messages(path):
                letter = _letter(raw, own, settings, resolve)
                if letter is not None:
                    _keep(letters, letter)
                if message.may_be_patch(raw):
                    yield message.parse(raw)

    known = allow.members(assemble(patches()))
    return list(letters.values()), known


def _letter(raw: bytes, own: Sequence[str], settings: Settings, resolve: Resolve) -> _Letter | None:
    found = commands.find(raw, own)
    if not found:
        return None
    mail = message.parse(raw)
    robot = robots.robot(raw, (*robots.KNOWN, *settings.robots), own)
    signature: Signed | Unsigned = Unsigned("it was not looked at")
    if found[0].addressed and robot is None:
        # as it was judged when it came: what is at hand is often older than a command may be
        came = min(mail.date + ON_ITS_WAY, datetime.now(UTC))
        signature = signed.check(raw, resolve, came, timedelta(days=settings.command_days))
    return _Letter(mail, found, robot, signature)


def _keep(letters: dict[str, _Letter], letter: _Letter) -> None:
    """Take note of a mail; of copies the one whose sender is proven (lists break signatures)."""
    other = letters.get(letter.mail.message_id)
    proven = isinstance(letter.signature, Signed)
    if other is None or (proven and isinstance(other.signature, Unsigned)):
        letters[letter.mail.message_id] = letter


def _replay(letter: _Letter, seen: dict[str, Seen]) -> str | None:
    if isinstance(letter.signature, Unsigned):
        return None
    found = signed.replayed(letter.signature, letter.mail.message_id, seen)
    first = Seen(letter.mail.message_id, letter.signature.form)
    seen.setdefault(letter.signature.fingerprint, first)
    return found


def resolver(keys: Path | None) -> Resolve:
    """Return what looks up keys: DNS, or a file in its place."""
    return dns.from_text(_text(keys)) if keys else dns.Resolver()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise TheirsError(f"{path} cannot be read ({error.strerror}): check the path") from error


def _remembered(resolve: Resolve) -> Resolve:
    """Return a resolver that asks each name once, also one that is not answered."""
    known: dict[str, bytes | OursError | None] = {}

    def asked(name: str) -> bytes | None:
        if name not in known:
            try:
                known[name] = resolve(name)
            except OursError as error:
                known[name] = error
        found = known[name]
        if isinstance(found, OursError):
            raise found
        return found

    return asked


def owners_of(
    settings: Settings, file: Path | None, tree: str | None
) -> tuple[Maintainers | None, str]:
    """Return MAINTAINERS of a file or a tree, else why there is none."""
    if file is not None:
        return maintainers.parse(_text(file)), ""
    config, name = worker_config(settings), tree or settings.tree
    found = trees.get(config, name) if tree else trees.find(config, name)
    if found is None:
        return None, f"there is no tree {name} to look into MAINTAINERS (see `stackhog tree`)"
    content = gitfiles.read(trees.repository(config, name), found.head, "MAINTAINERS")
    if content is None:
        return None, f"the tree {name} has no MAINTAINERS"
    return maintainers.parse(headers.as_text(content)), ""
