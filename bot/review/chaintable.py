"""A call chain as plain text: what a maintainer reads in the mail and on the terminal.

Drawn like ftrace's stack_trace, but from the system call down, since the reader follows a
path: bytes so far, the frame, the function, how it is reached. Frames that the change
moved carry the difference; what is folded away keeps its bytes in a line of its own.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from bot.contract import Chain, Depth, Hop

WIDTH = 76  # columns
NAME = 30  # columns of a function's name
COLUMNS = "  depth  frame  function"
LARGEST = 8  # frames that are never folded


def headline(chain: Chain) -> str:
    """Say what became of a chain in one sentence."""
    name = f"{chain.profile}, {chain.name}" if chain.name else chain.profile
    before, after, of = chain.before, chain.after, chain.budget_bytes
    if after is None:
        return f"{name}: the path cannot be taken any more."
    said = f"{after.witness_bytes:,} of {of:,} bytes"
    if before is None:
        return f"{name}: the path can be taken now, {said} deep."
    if before.held and not after.held:
        return f"{name}: the path can be taken now, {said} deep; before, a condition held it."
    if after.held and not before.held:
        return f"{name}: the path is held by a condition now; it would be {said} deep."
    growth = after.witness_bytes - before.witness_bytes
    if not growth:
        return f"{name}: the deepest stack stays at {said}."
    verb = "grows" if growth > 0 else "shrinks"
    return (
        f"{name}: the deepest stack {verb} by {abs(growth):,} bytes, "
        f"{before.witness_bytes:,} to {said}."
    )


def table(chain: Chain, limit: int = 30) -> tuple[str, ...]:
    """Return the chain in at most ``limit`` lines of at most 76 columns.

    The side after the change is shown, or the one before where there is no other.
    """
    shown, other = (chain.after, chain.before) if chain.after else (chain.before, None)
    if shown is None:
        return ("no path leads through all of its waypoints",)[:limit]
    notes = [*_notes(shown)]
    notes = notes[: max(0, limit // 3)]
    room = limit - 2 - len(notes)
    marks = _marks(shown.hops, other.hops if other else None)
    rows = [*_rows(shown.hops, marks, _kept(shown.hops, marks, max(room, 1)))]
    return (_summary(chain, shown, other), COLUMNS, *rows[:room], *notes)[:limit]


def _summary(chain: Chain, shown: Depth, other: Depth | None) -> str:
    name = chain.name or chain.profile
    was = _was(shown, other) if other else ""
    bound = "" if shown.upper_bytes == shown.witness_bytes else f", at most {shown.upper_bytes:,}"
    return _fit(f"{name}: {shown.witness_bytes:,} of {chain.budget_bytes:,} bytes{was}{bound}")


def _was(shown: Depth, other: Depth) -> str:
    if other.held and not shown.held:
        return " (held by a condition before)"
    if other.witness_bytes == shown.witness_bytes:
        return " (as before)"
    return f" ({other.witness_bytes:,} before)"


def _notes(shown: Depth) -> Iterator[str]:
    for clause in shown.held:
        yield from _wrapped(f"held: {clause.replace('|', ' or ').replace('&', ' and ')}")
    if shown.upper_bytes > shown.witness_bytes:
        for cycle in shown.cycles:
            if "in full" in cycle:
                yield from _wrapped(cycle)


def _wrapped(text: str) -> list[str]:
    lines = textwrap.wrap(text, WIDTH - 2, subsequent_indent="  ", break_on_hyphens=False)
    return [f"  {line}" for line in lines]


def _marks(hops: Sequence[Hop], others: Sequence[Hop] | None) -> Mapping[int, str]:
    """Return what to say of each hop whose frame differs on the other side, by number."""
    if others is None:
        return {}
    frames: dict[str, list[int]] = {}
    for hop in others:
        frames.setdefault(hop.function, []).append(hop.frame)
    marks = {}
    for number, hop in enumerate(hops):
        had = frames.get(hop.function)
        if not had:
            marks[number] = "new"
        elif (was := had.pop(0)) != hop.frame:
            marks[number] = f"{hop.frame - was:+d}, was {was}"
    return marks


def _kept(hops: Sequence[Hop], marks: Mapping[int, str], room: int) -> frozenset[int]:
    """Return the hops that are shown: all that fit, the most telling where they do not."""
    if len(hops) <= room:
        return frozenset(range(len(hops)))
    largest = sorted(range(len(hops)), key=lambda n: (-hops[n].frame, n))
    order = [0, len(hops) - 1, *sorted(marks), *largest[:LARGEST]]
    order += [n for n, hop in enumerate(hops) if hop.how.startswith(("field", "variable"))]
    kept: set[int] = set()
    for number in (*order, *largest):
        if number not in kept and _lines(kept | {number}, len(hops)) <= room:
            kept.add(number)
    return frozenset(kept)


def _lines(kept: set[int], total: int) -> int:
    """Return how many lines the kept hops and the folds between them take."""
    folds = sum(1 for n in range(total) if n not in kept and (n == 0 or n - 1 in kept))
    return len(kept) + folds


def _rows(hops: Sequence[Hop], marks: Mapping[int, str], kept: frozenset[int]) -> Iterator[str]:
    folded: list[Hop] = []
    for number, hop in enumerate(hops):
        if number not in kept:
            folded.append(hop)
            continue
        if folded:
            yield _fold(folded)
            folded = []
        yield _row(hop, marks.get(number, ""))
    if folded:
        yield _fold(folded)


def _fold(hops: Sequence[Hop]) -> str:
    size = sum(hop.frame for hop in hops)
    what = "1 more frame" if len(hops) == 1 else f"{len(hops)} more frames"
    return f"{hops[-1].depth:7,} {size:6,}    ... {what}"


def _row(hop: Hop, mark: str) -> str:
    name = _cut(_clean(hop.function), NAME)
    how = "" if hop.how in {"direct", "start"} else f"<- {_short(_clean(hop.how))}"
    said = "  ".join(one for one in (f"[{mark}]" if mark else "", how) if one)
    size = f"{hop.frame:,}{'+' if hop.dynamic else ''}"
    return _fit(f"{hop.depth:7,} {size:>6}  {name:<{NAME}}  {said}".rstrip())


def _short(how: str) -> str:
    """Return how a call goes as C spells it: "field a_ops.writepage of x" is "->writepage of x"."""
    tail, how = ("tail, ", how.removeprefix("tail call, ")) if "tail call, " in how else ("", how)
    if how.startswith("field "):
        record, _, rest = how.removeprefix("field ").partition(".")
        how = f"->{rest}" if rest and " " not in record else how
    return tail + how


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def _fit(text: str) -> str:
    return _cut(text, WIDTH)


def _clean(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
