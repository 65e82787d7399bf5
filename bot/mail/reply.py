"""The reply: one plain-text mail that reads like a review.

What it is made of is data that came in a mail or out of a hostile build, so that
nothing goes into a header or a line without having been made printable.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr, getaddresses, parseaddr

from bot.contract import (
    IN_GUESTS,
    Apply,
    BuildResult,
    Finding,
    FindingKind,
    KernelConfig,
    StackResult,
)
from bot.mail import quote
from bot.mail.headers import Address, printable
from bot.mail.series import Series
from policies.schema import ReplyGate

WIDTH = 72
EVIDENCE = 34  # lines of a stack or a trace
QUOTED = 12  # lines of a misfit or of gcc that are repeated
POLICY = SMTP.clone(max_line_length=78, linesep="\n")
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


@dataclass(frozen=True)
class Sender:
    """Who we are, and who besides the author hears from us."""

    address: str  # "Name <mail>"
    gate: ReplyGate


def compose(series: Series, run: Run, sender: Sender, date: datetime) -> EmailMessage:
    """Return the reply to a series; the same arguments give the same mail."""
    mail = EmailMessage(policy=POLICY)
    lead = series.lead
    subject = printable(lead.subject)
    mail["From"] = sender.address
    mail["To"] = _formatted([series.submitter])
    carbon = _carbon(series, sender)
    if carbon:
        mail["Cc"] = _formatted(carbon)
    mail["Subject"] = subject if subject.lower().startswith("re:") else f"Re: {subject}"
    mail["Date"] = format_datetime(date)
    mail["Message-ID"] = f"<{message_id(series, run, sender)}>"
    mail["In-Reply-To"] = f"<{lead.message_id}>"
    mail["References"] = " ".join(f"<{one}>" for one in (*lead.references, lead.message_id))
    mail["Auto-Submitted"] = "auto-replied"  # RFC 3834, section 5
    mail.set_content("\n".join(_body(series, run)) + "\n", charset="utf-8", cte="8bit")
    return mail


def message_id(series: Series, run: Run, sender: Sender) -> str:
    """Return the reply's id, derived from series, version and run: a retry is the same mail."""
    words = "\0".join((series.id, str(series.version), run.key))
    digest = hashlib.sha256(words.encode()).hexdigest()[:32]
    return f"stackhog-{digest}@{parseaddr(sender.address)[1].rpartition('@')[2] or 'localhost'}"


def _formatted(addresses: Iterable[Address]) -> str:
    return ", ".join(
        formataddr(("" if one.name == one.email else printable(one.name), printable(one.email)))
        for one in addresses
    )


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


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _body(series: Series, run: Run) -> Iterator[str]:
    yield from _wrapped(run.headline)
    yield ""
    yield from _what_was_run(series, run)
    for patch in series.patches:
        own = [f for f in run.findings if f.patch == patch.index]
        if own:
            yield from _about_patch(series, patch.index, own, run)
    if run.build.not_compiled:
        yield ""
        yield "Not tested, because it was not compiled:"
        for one in run.build.not_compiled:
            yield from textwrap.wrap(
                f"- {one.file}: {one.reason}", WIDTH, subsequent_indent="  ",
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    yield ""
    yield from _reproduce(series, run)
    yield ""
    yield "-- "
    yield "stackhog, a bot that measures what patches do to the kernel stack."
    yield "Frames are what gcc reports with -fstack-usage, return address included."


def _what_was_run(series: Series, run: Run) -> Iterator[str]:
    build, count = run.build, len(series.patches)
    what = f"The {count} patches were" if count > 1 else "The patch was"
    release = f"Linux {build.kernel_release}, " if build.kernel_release else ""
    base = f"{run.tree} ({release}commit {build.base_commit[:12]}, {run.base_reason})"
    if build.refusal or build.misfit:
        yield from _wrapped(f"{what} to be applied to {base}. Nothing was built.")
        return
    built = "the kernel was built after each of them" if count > 1 else "the kernel built with it"
    if build.broken_patch is not None:
        built += f", up to patch {build.broken_patch}" if count > 1 else ""
    yield from _wrapped(
        f"{what} applied to {base}, and {built}: {run.config.arch}, configuration "
        f'"{run.config.name}", {build.compiler}.'
    )
    yield from _wrapped(" ".join(_odd_ways(build)))
    if run.stack is not None:
        yield from _wrapped(_counted(run.stack))
    for sentence in run.booted:
        yield from _wrapped(sentence)
    if build.enabled:
        names = ", ".join(f"CONFIG_{one.symbol}" for one in build.enabled)
        yield from _wrapped(f"Switched on for the files that this series touches: {names}.")


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
        yield from _wrapped(f"Patch {index}/{series.total}, {printable(message.label.title)}:")
    found, last = quote.hunks(message.diff), None
    for finding in own:
        place = quote.place(finding, found, run.stack.spans if run.stack else ())
        yield ""
        if place is not None and _is_inline(finding):
            key = (place.hunk, place.around)
            if key != last:  # two findings in one place are answered under one quotation
                yield from quote.quoted(place)
                yield ""
            last = key
        yield from _said(finding, place)


def _is_inline(finding: Finding) -> bool:
    return finding.kind is not FindingKind.REFUSED and finding.file != ""


def _said(finding: Finding, place: quote.Place | None) -> Iterator[str]:
    match finding.kind:
        case FindingKind.REFUSED:
            where = f" ({finding.file})" if finding.file else ""
            yield from _wrapped(f"This patch was not tested: {finding.text[0]}{where}.")
        case FindingKind.DOES_NOT_APPLY:
            yield from _misfit(finding)
        case FindingKind.DOES_NOT_BUILD:
            yield "The build breaks with this patch:"
            yield from _compiler(finding)
        case FindingKind.WARNING:
            yield "This brings a new warning:"
            yield from _compiler(finding)
        case FindingKind.CHAIN_GREW | FindingKind.CHAIN_REACHED:
            yield from _chain(finding)
        case FindingKind.GUARD_LOST:
            yield from _guard(finding)
        case _ if finding.kind in IN_GUESTS:
            yield from _booted(finding)
        case _:
            yield from _wrapped(_sentence(finding, place))
    if finding.reproduce and finding.kind is not FindingKind.DOES_NOT_APPLY:
        yield ""
        yield from _command(finding.reproduce)


def _booted(finding: Finding) -> Iterator[str]:
    """Tell what a running kernel showed: a sentence, then its own lines."""
    yield from _wrapped(printable(finding.text[1]))
    if len(finding.text) > 2:  # noqa: PLR2004 - headline and sentence come first
        yield ""
        yield from (f"  {_clean(line)}".rstrip() for line in finding.text[2 : 2 + EVIDENCE])


def _command(line: str) -> Iterator[str]:
    """Print a command line so that it fits the page and can still be pasted."""
    for part in line.split(" && "):
        first, flags, rest = part.partition(" 'KCFLAGS=")
        if flags:
            yield f"  {first} \\"
            yield f"    {flags.strip()}{rest}"
        else:
            yield f"  {part}"


def _sentence(finding: Finding, place: quote.Place | None) -> str:
    name, before, after = f"{finding.function}()", finding.before, finding.after
    where = "here" if place is None or not place.through else "through this change"
    if finding.kind is FindingKind.CALL_NEW:
        call = (
            finding.text[0]
            if finding.text[0] == "indirect call"
            else f"call of {finding.text[0]}()"
        )
        return f"{name} gets a new {call}: {finding.text[1]}."
    if finding.kind is FindingKind.TARGET_NEW:
        return f"{finding.text[0]} can now be {name}: {finding.text[1]}."
    if finding.kind is FindingKind.FRAME_NEW:
        return f"The new function {name} takes {after} bytes of stack."
    change = f"from {before} to {after} bytes" if before is not None else f"{after} bytes at least"
    if finding.kind is FindingKind.FRAME_DYNAMIC:
        return (
            f"The frame of {name} ({change}) has a part whose size is not known at compile "
            "time, so nothing bounds how deep the stack gets below it."
        )
    growth = (after or 0) - (before or 0)
    return f"The stack frame of {name} grows by {growth} bytes {where}, {change}."


def _chain(finding: Finding) -> Iterator[str]:
    said, others, *lines = finding.text
    yield from _wrapped(f"{said[:1].upper()}{said[1:]}. {others}".strip())
    if lines:
        yield ""
        yield from (f"  {_clean(line)}".rstrip() for line in lines)


def _guard(finding: Finding) -> Iterator[str]:
    callee, clause, reason = finding.text
    what = "an indirect call" if callee == "*" else f"{callee}()"
    yield from _wrapped(
        f"{finding.function}() made {what} only under this condition, and now without:"
    )
    yield ""
    for number, way in enumerate(clause.split("|")):
        yield from _wrapped(
            f"{'   or ' if number else ''}{_clean(way.replace('&', ' and '))}", indent="  "
        )
    yield ""
    yield from _wrapped(f"{reason[:1].upper()}{reason[1:]}.")


def _misfit(finding: Finding) -> Iterator[str]:
    reason, *lines = finding.text
    yield from _wrapped(f"This does not apply: {reason}.")
    expected = [line[1:] for line in lines if line.startswith("-")]
    there = [line[1:] for line in lines if line.startswith("+")]
    if expected:
        yield ""
        yield "What stands there instead:"
        yield ""
        yield from (
            f"  {_clean(line)}".rstrip() for line in there[:QUOTED] or ["(end of the file)"]
        )


def _stripped(lines: list[str]) -> list[str]:
    """Drop empty lines at the end; nothing left is the end of the file."""
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines or ["(end of the file)"]


def _compiler(finding: Finding) -> Iterator[str]:
    yield ""
    yield from (f"  {_clean(line)}".rstrip() for line in finding.text[:QUOTED])
    if len(finding.text) > QUOTED:
        yield "  [ ... ]"


def _clean(line: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in line)[: quote.WIDEST]


def _reproduce(series: Series, run: Run) -> Iterator[str]:
    arch = f"ARCH={run.config.arch}"
    yield from _wrapped(f"To see this without the bot, in {_where(run)}:")
    yield ""
    yield f"  b4 shazam {printable(series.id)}"
    if run.build.misfit or run.build.refusal:
        return
    yield f"  make {arch} {run.config.base}"
    options = [*run.config.options, *(f"CONFIG_{one.symbol}=y" for one in run.build.enabled)]
    # an option and its value stay on one line
    words = " ".join(_option(option).replace(" ", "\0") for option in dict.fromkeys(options))
    wrapped = textwrap.wrap(words, WIDTH - 6, break_on_hyphens=False, break_long_words=False)
    lines = [line.replace("\0", " ") for line in wrapped]
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
        yield from _wrapped("To boot it under stress, with stackhog or with QEMU alone:")
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
