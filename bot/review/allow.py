"""Which series a command of a mail means, and whether it is obeyed: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from bot.mail.commands import MOST, VERBS, Command
from bot.mail.commit import commit
from bot.mail.message import Message
from bot.mail.series import Series
from bot.mail.signed import Signed, Unsigned
from bot.review import maintainers
from bot.review.maintainers import Maintainers, Responsible

STEPS = 200  # mails that are looked at on the way up a thread


class Answer(StrEnum):
    """What the sender hears of the judgement itself; a run is answered in its thread."""

    NONE = "none"
    PRIVATE = "private"  # at most once a mail: the reason, and the help


@dataclass(frozen=True)
class Judged:
    """Whether a command is obeyed, and why or why not in one line."""

    allowed: bool
    reason: str
    answer: Answer = Answer.NONE
    again: bool = False  # it could not be told; the same mail is to be judged again later


@dataclass(frozen=True)
class Facts:
    """What is known of a command's mail when it is judged."""

    signature: Signed | Unsigned
    series: Series | None  # that the command means
    robot: str | None = None  # why the mail is a machine's
    replayed: str | None = None  # why it is an old one sent again
    maintainers: Maintainers | None = None  # of the series' tree
    no_maintainers: str = "MAINTAINERS is not known"  # why there are none
    operators: Collection[str] = ()  # addresses that may do everything


@dataclass(frozen=True)
class Names:
    """What there is to be named in the arguments of /test."""

    profiles: Collection[str]
    configs: Collection[str]


def members(found: Iterable[Series]) -> dict[str, Series]:
    """Return the series that each of their mails belongs to, by Message-ID; the oldest wins."""
    known: dict[str, Series] = {}
    for one in found:
        letters = [one.cover] if one.cover else []
        for letter in (*letters, *(patch.message for patch in one.patches)):
            known.setdefault(letter.message_id, one)
    return known


def meant(
    command: Command,
    mail: Message,
    known: Mapping[str, Series],
    parents: Mapping[str, tuple[str, ...]] | None = None,
) -> Series | None:
    """Return the series that a command means: the one it names, else the one its mail answers.

    That is the nearest ancestor that belongs to one, whichever version and superseded or not.
    ``known`` are series by the Message-IDs of their mails; ``parents`` the references of
    other mails, the parent last, for threads of which References tell only a part.
    """
    named = command.get("message_id")
    references = {**(parents or {}), mail.message_id: mail.references}
    for step in _upwards(named or mail.message_id, references):
        if step in known:
            return known[step]
    return None


def _upwards(start: str, references: Mapping[str, tuple[str, ...]]) -> Iterable[str]:
    """Yield a mail and its ancestors, the nearest first."""
    done: dict[str, None] = {}
    waiting = [start]
    while waiting and len(done) < STEPS:
        step = waiting.pop(0)
        if step not in done:
            done[step] = None
            yield step
            waiting = [*reversed(references.get(step, ())[-STEPS:]), *waiting][: 2 * STEPS]


def checked(command: Command, names: Names) -> Command:
    """Return a command with the problem that it names a profile or configuration there is not."""
    for key, there in (("profile", names.profiles), ("config", names.configs)):
        given = command.get(key)
        if given is not None and given not in there and command.problem is None:
            known = ", ".join(sorted(there))
            return replace(command, problem=f"there is no {key} {given}; there are {known}")
    return command


def judge(command: Command, facts: Facts) -> Judged:
    """Decide over one command."""
    signature = facts.signature
    unheard = _unheard(command, facts)
    if unheard or isinstance(signature, Unsigned):
        return unheard or _ignored("who sent the mail is not proven")
    if command.problem:
        return _refused(command.problem)
    if command.verb == "help":
        return Judged(allowed=True, reason="everybody may ask for help", answer=Answer.PRIVATE)
    if facts.series is None:
        return _refused(_nowhere(command))
    if not signature.subject and command.message_id in members([facts.series]):
        return _refused("the command is in the patch mail itself, whose Subject is not signed")
    return _by_role(signature.address, facts, facts.series)


def _unheard(command: Command, facts: Facts) -> Judged | None:
    """Return the judgement over a command that is not even answered, None where it is heard."""
    signature = facts.signature
    if not command.addressed:
        return _ignored("the bot is neither in To nor in Cc")
    if facts.robot:
        return _ignored(f"the mail is a machine's: {facts.robot}")
    if isinstance(signature, Unsigned):
        said = "cannot be told now" if signature.temporary else "is not proven"
        ignored = _ignored(f"who sent the mail {said}: {signature.reason}")
        return replace(ignored, again=signature.temporary)
    if facts.replayed:
        return _ignored(f"the mail is a replay: {facts.replayed}")
    return None


def _ignored(reason: str) -> Judged:
    return Judged(allowed=False, reason=reason)


def _refused(reason: str) -> Judged:
    return Judged(allowed=False, reason=reason, answer=Answer.PRIVATE)


def _nowhere(command: Command) -> str:
    named = command.get("message_id")
    if named:
        return f"no patch series with the mail <{named}> is known"
    return "the mail answers no patch series that is known; name one by its Message-ID"


def _by_role(address: str, facts: Facts, series: Series) -> Judged:
    """Tell what someone has to do with a series."""
    role: str | None = None
    if address in {one.strip().lower() for one in facts.operators}:
        role = "is on the operator's list"
    elif address == series.submitter.email.lower():
        role = "sent the series"
    elif address in _authors(series):
        role = "is the author of a patch of the series"
    elif facts.maintainers is None:
        return _refused(f"{address} did not send the series, and {facts.no_maintainers}")
    else:
        person = responsible(facts.maintainers, series).person(address)
        role = f"is {person.role} of {person.section}" if person else None
    if role is None:
        return _refused(f"{address} is no author of the series, nor in MAINTAINERS for its files")
    return Judged(allowed=True, reason=f"{address} {role}")


def _authors(series: Series) -> frozenset[str]:
    return frozenset(commit(patch.message).author.email.lower() for patch in series.patches)


def responsible(known: Maintainers, series: Series) -> Responsible:
    """Return who is responsible for the files that a series touches."""
    diffs = (patch.message.diff.decode("utf-8", "replace") for patch in series.patches)
    diff = "\n".join(diffs)[: maintainers.DIFF_LIMIT]
    return known.of(maintainers.paths(diff), diff)


def help_text() -> str:
    """Return what the bot answers to /help and to what it does not understand, as lines."""
    return HELP


HELP = f"""\
Commands stand at the start of a line, in a reply to a patch or a cover
letter, with the bot in To or Cc. The first {MOST} of a mail count.

  /test                       test the series that the mail answers
  /test build stack stress    only these jobs; the build is always made
  /test profile=P config=C base=B
                              stress profile, kernel configuration,
                              commit or tree to apply the series to
  /test MESSAGE-ID            another series; a lore link will do
  /test fresh                 run again, even if there is a result
  /cancel                     stop what was asked for
  /mute FINDING [reason]      do not report a finding again, nor in
                              later versions
  /unmute FINDING             report it again
  /help                       this text

The series' author, the authors of its patches, and M: and R: of
MAINTAINERS for the files it touches may ask. The mail needs a valid DKIM
signature of the sender's own domain over From, Date, To, Cc, In-Reply-To
and References.
"""
assert all(f"/{verb}" in HELP for verb in VERBS)  # noqa: S101 - a verb without help is a bug
