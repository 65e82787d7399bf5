"""What a reply says of one finding, in the words of a reviewer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from bot.contract import IN_GUESTS, Finding, FindingKind
from bot.mail import quote
from bot.mail.headers import printable

WIDTH = 72
TAIL = 12  # characters at the end of a word that is shortened
LINK = 300  # characters of a link that is not
EVIDENCE = 34  # lines of a stack or a trace
QUOTED = 12  # lines of a misfit or of gcc that are repeated


def wrapped(text: str, indent: str = "", later: str = "") -> list[str]:
    """Return a text as lines of a mail, those after the first indented by ``later`` as well.

    A word longer than a line is shortened: names of functions come out of hostile builds.
    """
    most = WIDTH - len(indent) - max(len(later), 2)
    words = printable(text).split()
    words = [word if len(word) <= most else _shortened(word, most) for word in words]
    return textwrap.wrap(
        " ".join(words), WIDTH, initial_indent=indent, subsequent_indent=indent + later,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _shortened(word: str, most: int) -> str:
    """Return a long word with its middle left out; what can be pasted stays whole."""
    if "://" in word and len(word) <= LINK:
        return word
    return f"{word[: most - TAIL - 3]}...{word[-TAIL:]}"


def is_inline(finding: Finding) -> bool:
    """Whether a finding is told under the hunk that it is about."""
    return finding.kind is not FindingKind.REFUSED and finding.file != ""


def said(finding: Finding, place: quote.Place | None, name: str = "") -> Iterator[str]:
    """Say one finding; ``name`` is what it is muted by, put behind its first sentence."""
    tag = f" [{name}]" if name else ""
    match finding.kind:
        case FindingKind.REFUSED:
            where = f" ({finding.file})" if finding.file else ""
            yield from wrapped(f"This patch was not tested: {finding.text[0]}{where}.")
        case FindingKind.DOES_NOT_APPLY:
            yield from _misfit(finding)
        case FindingKind.DOES_NOT_BUILD:
            yield "The build breaks with this patch:"
            yield from _compiler(finding)
        case FindingKind.WARNING:
            yield f"This brings a new warning{tag}:"
            yield from _compiler(finding)
        case FindingKind.CHAIN_GREW | FindingKind.CHAIN_REACHED:
            yield from _chain(finding, tag)
        case FindingKind.GUARD_LOST:
            yield from _guard(finding, tag)
        case _ if finding.kind in IN_GUESTS:
            yield from _booted(finding, tag)
        case _:
            yield from wrapped(f"{_sentence(finding, place)}{tag}")
    if finding.reproduce and finding.kind is not FindingKind.DOES_NOT_APPLY:
        yield ""
        yield from command(finding.reproduce)


def _booted(finding: Finding, tag: str) -> Iterator[str]:
    """Tell what a running kernel showed: a sentence, then its own lines."""
    sentence = printable(finding.text[1])
    end = sentence[-1:] if sentence.endswith(":") else ""
    yield from wrapped(f"{sentence.removesuffix(end) if end else sentence}{tag}{end}")
    if len(finding.text) > 2:  # noqa: PLR2004 - headline and sentence come first
        yield ""
        yield from (f"  {clean(line)}".rstrip() for line in finding.text[2 : 2 + EVIDENCE])


def command(line: str) -> Iterator[str]:
    """Print a command line so that it fits the page and can still be pasted."""
    shown = "".join(c if c.isprintable() else "?" for c in line)
    for part in shown.split(" && "):
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


def _chain(finding: Finding, tag: str) -> Iterator[str]:
    sentence, others, *lines = finding.text
    yield from wrapped(f"{sentence[:1].upper()}{sentence[1:]}.{tag} {others}".strip())
    if lines:
        yield ""
        yield from (f"  {clean(line)}".rstrip() for line in lines)


def _guard(finding: Finding, tag: str) -> Iterator[str]:
    callee, clause, reason = finding.text
    what = "made an indirect call" if callee == "*" else f"called {callee}()"
    yield from wrapped(
        f"{finding.function}() {what} only under this condition, and now does so without{tag}:"
    )
    yield ""
    for number, way in enumerate(clause.split("|")):
        words = clean(way.replace("&", " and "))
        yield from wrapped(f"or {words}" if number else words, indent="     " if number else "  ")
    yield ""
    yield from wrapped(f"{reason[:1].upper()}{reason[1:]}.")


def _misfit(finding: Finding) -> Iterator[str]:
    reason, *lines = finding.text
    yield from wrapped(f"This does not apply: {reason}.")
    expected = [line[1:] for line in lines if line.startswith("-")]
    there = "\n".join(line[1:] for line in lines if line.startswith("+")).rstrip().splitlines()
    if expected:
        yield ""
        yield "What stands there instead:"
        yield ""
        yield from (f"  {clean(line)}".rstrip() for line in there[:QUOTED] or ["(end of the file)"])


def _compiler(finding: Finding) -> Iterator[str]:
    yield ""
    yield from (f"  {clean(line)}".rstrip() for line in finding.text[:QUOTED])
    if len(finding.text) > QUOTED:
        yield "  [ ... ]"


def clean(line: str) -> str:
    """Return a line of evidence, printable and not too long."""
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in line)[: quote.WIDEST]
