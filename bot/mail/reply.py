"""The reply: one plain-text mail that reads like a review.

What it is made of is data that came in a mail or out of a hostile build, so that
nothing goes into a header or a line without having been made printable.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, formataddr, getaddresses, parseaddr

from bot.contract import (
    Apply,
    BuildResult,
    Finding,
    KernelConfig,
    Outcome,
    PatchText,
    Severity,
    StackResult,
)
from bot.mail import quote, wire
from bot.mail.headers import Address, printable
from bot.mail.series import Series
from bot.mail.wording import WIDTH, is_inline, said, wrapped
from policies.schema import ReplyGate

POLICY = wire.POLICY.clone(linesep="\n")
ANCESTORS = 20  # of References, the first and the last of them: RFC 5322, 3.6.4 lets us trim
NAME = 60  # characters of a person's name
ALSO = 30  # findings that are named alone
TRIED = 8  # places where a base was looked for
HOW = {
    Apply.THREE_WAY: "a three-way merge",
    Apply.OFFSET: "an offset",
    Apply.AM: "git am -3",
}


@dataclass(frozen=True)
class Run:
    """What was run, and on what."""

    tree: str
    source: str  # of the tree: a URL, "debian:PACKAGE VERSION", or a path here
    base_reason: str
    config: KernelConfig
    build: BuildResult
    stack: StackResult | None  # None: frames were not compared
    headline: str  # one sentence
    findings: tuple[Finding, ...]
    key: str  # what makes this run different from another one of the same series
    booted: tuple[str, ...] = ()  # what the boots reached, a sentence each
    boot_lines: tuple[str, ...] = ()  # commands that boot the kernel without the bot
    before: tuple[str, ...] = ()  # what became of the findings of the version before
    muted: tuple[str, ...] = ()  # findings that are not told, a sentence each
    names: Mapping[Finding, str] = field(default_factory=dict)  # what findings are muted by
    also: tuple[str, ...] = ()  # findings that are named alone, the weightiest first
    below: tuple[PatchText, ...] = ()  # prerequisite patches, that are applied first
    tried: tuple[str, ...] = ()  # where a base was looked for in vain, half a sentence each


@dataclass(frozen=True)
class Asker:
    """Who asked for the run by mail; that mail is answered."""

    address: Address
    message_id: str
    references: tuple[str, ...]  # of that mail
    subject: str


@dataclass(frozen=True)
class Sender:
    """Who we are, and who hears from us."""

    address: str  # "Name <mail>"
    gate: ReplyGate  # who besides the author, where `to` says nothing
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    asker: Asker | None = None


def compose(series: Series, run: Run, sender: Sender, date: datetime) -> EmailMessage:
    """Return the reply to a series; the same arguments give the same mail."""
    mail = EmailMessage(policy=POLICY)
    lead, asker = series.lead, sender.asker
    subject = printable(asker.subject if asker else lead.subject)
    parent = asker.message_id if asker else lead.message_id
    ancestors = asker.references if asker else lead.references
    mail["From"] = sender.address
    if to := _formatted(sender.to or [series.submitter]):
        mail["To"] = to
    if carbon := _formatted(sender.cc if sender.to else _carbon(series, sender)):
        mail["Cc"] = carbon
    mail["Subject"] = subject if subject.lower().startswith("re:") else f"Re: {subject}"
    mail["Date"] = format_datetime(date)
    mail["Message-ID"] = f"<{message_id(series, run, sender)}>"
    if wanted := _ids(parent):
        mail["In-Reply-To"] = wanted
    if chain := _ids(*_trimmed(ancestors), parent):
        mail["References"] = chain
    mail["Auto-Submitted"] = "auto-replied"  # RFC 3834, section 5
    mail.set_content("\n".join(_body(series, run, asker)) + "\n", charset="utf-8", cte="8bit")
    return mail


def message_id(series: Series, run: Run, sender: Sender) -> str:
    """Return the reply's id, derived from series, version and run: a retry is the same mail."""
    asked_in = (sender.asker.message_id,) if sender.asker else ()
    words = "\0".join((series.id, str(series.version), run.key, *asked_in))
    digest = hashlib.sha256(words.encode()).hexdigest()[:32]
    return f"stackhog-{digest}@{parseaddr(sender.address)[1].rpartition('@')[2] or 'localhost'}"


def _ids(*ids: str) -> str:
    """Return Message-IDs as a header has them, without those that cannot stand in one."""
    plain = (one for one in ids if one.isascii() and one.isprintable() and not set(" <>") & {*one})
    return " ".join(f"<{one}>" for one in plain)


def _trimmed(ancestors: tuple[str, ...]) -> tuple[str, ...]:
    if len(ancestors) <= ANCESTORS:
        return ancestors
    return (ancestors[0], *ancestors[1 - ANCESTORS :])


def _formatted(addresses: Iterable[Address]) -> str:
    return ", ".join(
        formataddr((_name(one), one.email)) for one in addresses if wire.valid(one.email)
    )


def _name(address: Address) -> str:
    return "" if address.name == address.email else printable(address.name)[:NAME].strip()


def _carbon(series: Series, sender: Sender) -> list[Address]:
    """Return who gets a copy: of all whom the series went to, those the policy names."""
    if sender.gate.cc == "none":
        return []
    mails = [series.lead, *(patch.message for patch in series.patches)]
    everybody = [address for mail in mails for address in (*mail.to, *mail.cc)]
    own = {email.lower() for _, email in getaddresses([sender.address])}
    seen = {series.submitter.email.lower(), *own}
    found = []
    for address in everybody:
        wanted = sender.gate.cc == "all" or sender.gate.is_list(address.email)
        if wanted and address.email.lower() not in seen:
            seen.add(address.email.lower())
            found.append(address)
    return found


def _body(series: Series, run: Run, asker: Asker | None) -> Iterator[str]:
    yield from wrapped(run.headline)
    yield ""
    if run.before:
        yield from wrapped(" ".join(run.before))
        yield ""
    if asker:
        yield from wrapped(f"{printable(asker.address.name)[:NAME]} asked for this run.")
        yield ""
    yield from _what_was_run(series, run)
    for patch in series.patches:
        own = [f for f in run.findings if f.patch == patch.index]
        if own:
            yield from _about_patch(series, patch.index, own, run)
    yield from _listed("Also found:", run.also, ALSO)
    if run.build.not_compiled:
        yield ""
        yield "Not tested, because it was not compiled:"
        for one in run.build.not_compiled:
            yield from _item(f"{one.file}: {one.reason}")
    yield from _listed("Found, and not told here:", run.muted, ALSO)
    yield from _listed("Where its base was looked for in vain:", run.tried, TRIED)
    if run.build.misfit and not series.base_commit:
        yield ""
        yield from wrapped('"git format-patch --base=auto" would name the base it is made for.')
    yield ""
    yield from _reproduce(series, run)
    named = [run.names[finding] for finding in run.findings if finding in run.names]
    if named:
        yield ""
        yield from wrapped(
            "To hear no more of a finding in later versions, answer this mail with a line such as "
            f'"/mute {named[0]} and why".'
        )
    yield ""
    yield "-- "
    yield "stackhog, a bot that measures what patches do to the kernel stack."
    yield "Frames are what gcc reports with -fstack-usage, return address included."


def _listed(title: str, items: tuple[str, ...], most: int) -> Iterator[str]:
    if items:
        yield ""
        yield title
        for item in items[:most]:
            yield from _item(printable(item))
        if len(items) > most:
            yield f"- and {len(items) - most} more"


def _item(text: str) -> list[str]:
    return wrapped(f"- {text}", later="  ")


def _what_was_run(series: Series, run: Run) -> Iterator[str]:
    build, count = run.build, len(series.patches)
    what = f"The {count} patches were" if count > 1 else "The patch was"
    release = f"Linux {build.kernel_release}, " if build.kernel_release else ""
    base = f"{run.tree} ({release}commit {build.base_commit[:12]}, {run.base_reason})"
    if not is_tried(build):
        yield from wrapped(f"{what} to be applied to {base}. Nothing was built.")
        yield from _listed("To be applied first:", tuple(_below(run)), ALSO)
        return
    built = "the kernel was built after each of them" if count > 1 else "the kernel built with it"
    if build.broken_patch is not None:
        several = f"{built}, up to patch {build.broken_patch}"
        built = several if count > 1 else "a build with it was tried"
    yield from wrapped(
        f"{what} applied to {base}, and {built}: {run.config.arch}, configuration "
        f'"{run.config.name}", {build.compiler}.'
    )
    yield from wrapped(" ".join(_odd_ways(build)))
    if run.stack is not None:
        yield from wrapped(_counted(run.stack))
    for sentence in run.booted:
        yield from wrapped(sentence)
    yield from _listed("Applied first, because the series needs it:", tuple(_below(run)), ALSO)
    if build.enabled:
        names = ", ".join(f"CONFIG_{one.symbol}" for one in build.enabled)
        yield from wrapped(f"Switched on for the files that this series touches: {names}.")


def _below(run: Run) -> Iterator[str]:
    """Name the patches that go below the series, and say of one that it does not fit."""
    unmet = run.build.unmet
    for number, patch in enumerate(run.below, 1):
        why = f" (does not apply: {unmet.reason})" if unmet and unmet.index == number else ""
        yield f"{patch.subject}{why}"


def is_tried(build: BuildResult) -> bool:
    """Whether a kernel with the patches was made, or at least begun."""
    if build.refusal or build.misfit or build.unmet:
        return False
    return bool(build.patches) or build.outcome is Outcome.PASSED


def _odd_ways(build: BuildResult) -> Iterator[str]:
    """Say which patches did not simply fit."""
    for way, words in HOW.items():
        numbers = [str(patch.index) for patch in build.patches if patch.applied is way]
        if numbers:
            yield f"Patch{'es' if len(numbers) > 1 else ''} {', '.join(numbers)} needed {words}."


def _counted(stack: StackResult) -> str:
    """Sum up what the comparison of frames gave."""
    both = [
        (f.before, f.after) for f in stack.frames if f.before is not None and f.after is not None
    ]
    grew = [after - before for before, after in both if after > before]
    shrank = sum(after < before for before, after in both)
    most = f" (at most by {max(grew)} bytes)" if grew else ""
    again = (
        f"the {stack.objects} objects that were" if stack.objects != 1 else "the object that was"
    )
    return (
        f"Of {stack.functions} functions in {again} compiled again, "
        f"{len(grew) or 'none'} grew{most} and {shrank or 'none'} shrank."
    )


def _about_patch(series: Series, index: int, own: list[Finding], run: Run) -> Iterator[str]:
    message = next(p.message for p in series.patches if p.index == index)
    if series.total > 1 or series.cover:
        yield ""
        yield from wrapped(f"Patch {index}/{series.total}, {printable(message.label.title)}:")
    found, last = quote.hunks(message.diff), None
    # what has no place in the patch comes last, unless it is why nothing else is here
    for finding in sorted(own, key=lambda one: not (one.file or one.severity is Severity.FAIL)):
        place = quote.place(finding, found, run.stack.spans if run.stack else ())
        yield ""
        if place is not None and is_inline(finding):
            whole = len(place.hunk.lines) <= quote.MOST
            key = (place.hunk, () if whole else place.around)
            if key != last:  # two findings in one place are answered under one quotation
                yield from quote.quoted(place)
                yield ""
            last = key
        yield from said(finding, place, run.names.get(finding, ""))


def _reproduce(series: Series, run: Run) -> Iterator[str]:
    arch = f"ARCH={run.config.arch}"
    yield from wrapped(f"To see this without the bot, in {_where(run)}:")
    yield ""
    for patch in run.below[:ALSO]:
        yield f"  b4 shazam -P _ {printable(patch.message_id)}"
    yield f"  b4 shazam {printable(series.id)}"
    if not is_tried(run.build):
        return
    yield f"  make {arch} {run.config.base}"
    options = [*run.config.options, *(f"CONFIG_{one.symbol}=y" for one in run.build.enabled)]
    # an option and its value stay on one line
    words = " ".join(_option(option).replace(" ", "\0") for option in dict.fromkeys(options))
    rows = textwrap.wrap(words, WIDTH - 6, break_on_hyphens=False, break_long_words=False)
    lines = [line.replace("\0", " ") for line in rows]
    yield "  ./scripts/config \\"
    yield from (f"    {line} \\" for line in lines[:-1])
    yield from (f"    {line}" for line in lines[-1:])
    yield f"  make {arch} olddefconfig"
    if not run.findings:
        yield f"  make {arch} {run.config.target}"
    else:
        yield ""
        yield "and then the make lines above."
    if run.boot_lines:
        yield ""
        yield from wrapped("To boot it under stress, with stackhog or with QEMU alone:")
        yield ""
        for line in run.boot_lines:
            yield from _long(line)


def _long(line: str) -> Iterator[str]:
    """Print a long command on several lines that can still be pasted."""
    lines = textwrap.wrap(line, WIDTH, break_on_hyphens=False, break_long_words=False)
    for number, part in enumerate(lines):
        yield "  " + ("  " if number else "") + part + (" \\" if number < len(lines) - 1 else "")


def _where(run: Run) -> str:
    """Name the tree so that somebody else finds it; a path of this machine helps nobody."""
    commit = run.build.base_commit[:12]
    if run.source.startswith("debian:"):
        return f"Debian's {run.source.removeprefix('debian:')}"
    if "://" in run.source and not run.source.startswith("file:"):
        return f"{run.source} at commit {commit}"
    return f"a tree of {run.tree} at commit {commit}"


def _option(line: str) -> str:
    """Return an option as scripts/config takes it: -e X, -d X, --set-val X value."""
    if line.startswith("# CONFIG_"):
        return f"-d {line.removeprefix('# CONFIG_').partition(' ')[0]}"
    name, _, value = line.removeprefix("CONFIG_").partition("=")
    return f"-e {name}" if value == "y" else f"--set-val {name} {value}"
