"""A call chain as plain text: what a maintainer reads in the mail and on the terminal.

Drawn like ftrace's stack_trace, but from the system call down, since the reader follows a
path: bytes so far, the frame, the function, how it is reached. Frames that the change
moved carry the difference; what is folded away keeps its bytes in a line of its own.

Names come out of a hostile build: only printable ASCII is shown, so that a letter is a
column everywhere, and nothing that does not fit can push a number away.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from bot.contract import Chain, Depth, Hop

WIDTH = 76  # columns
NAME = 30  # columns of a function's name where something follows it
LONGEST = 48  # letters of a name within a sentence
COLUMNS = "  depth  frame  function"
LARGEST = 6  # frames that are never folded
GONE = 6  # frames that are named of those no longer on the path
TELLING = 3  # letters of an owner without which it is not worth beginning
CLONES = (".constprop", ".isra", ".part", ".cold", ".localalias")  # what gcc appends to a name


def headline(chain: Chain) -> str:
    """Say what became of a chain in one sentence."""
    before, after = chain.before, chain.after
    name = _name(chain)
    shown = after or before
    if shown is None:
        return f"{name}: no path leads through all of its waypoints."
    of = f"of {chain.budget_bytes:,}"
    said = f"{shown.witness_bytes:,} {of} bytes"
    way = f"the path {_ends(shown)}"
    if after is None:
        return f"{name}: {way} cannot be taken any more; it was {said} deep."
    if before is None:
        return f"{name}: {way} can be taken now, {said} deep."
    if before.held and not after.held:
        clause = spoken(before.held[0])
        return f"{name}: {way} can be taken now, {said} deep; before, a condition held it: {clause}."  # noqa: E501 # fmt: skip
    if after.held and not before.held:
        return f"{name}: {way} is held by a condition now; it would be {said} deep."
    held = ", and a condition still holds it" if after.held else ""
    return f"{name}: the deepest stack {_ends(after)} {_moved(before, after)}{said}{held}."


def table(chain: Chain, limit: int = 30) -> tuple[str, ...]:
    """Return the chain in at most ``limit`` lines of at most 76 columns.

    The side after the change is shown, or the one before where there is no other.
    """
    limit = max(0, limit)
    shown, other = (chain.after, chain.before) if chain.after else (chain.before, None)
    if shown is None:
        return ("no path leads through all of its waypoints",)[:limit]
    marks = changes(shown.hops, other.hops) if other else {}
    notes = _first([*_notes(shown, other)], max(0, min(limit // 3, limit - 3)))
    room = limit - 2 - len(notes)
    kept = _kept(chain, shown.hops, marks, room)
    rows = _rows(shown.hops, marks, kept)
    return (_summary(chain, shown, other), COLUMNS, *rows, *notes)[:limit]


def pairs(hops: Sequence[Hop], others: Sequence[Hop]) -> Mapping[int, int]:
    """Match the frames of two paths, in order, by the names of their functions.

    A name is the same without what gcc appended to it, where no other frame has all of it.
    """
    found: dict[int, int] = {}
    taken: set[int] = set()
    for key in (_whole, _plain):
        free: dict[str, list[int]] = {}
        for number in reversed(range(len(others))):
            if number not in taken:
                free.setdefault(key(others[number]), []).append(number)
        for number, hop in enumerate(hops):
            if number not in found and free.get(key(hop)):
                found[number] = free[key(hop)].pop()
                taken.add(found[number])
    return found


def changes(hops: Sequence[Hop], others: Sequence[Hop]) -> Mapping[int, int | None]:
    """Return what each frame that differs had on the other side, by number; None: nothing."""
    paired = pairs(hops, others)
    had = {n: others[paired[n]].frame if n in paired else None for n in range(len(hops))}
    return {n: was for n, was in had.items() if was != hops[n].frame}


def waypoints(chain: Chain, hops: Sequence[Hop]) -> Mapping[int, str]:
    """Return the waypoints that the hops themselves tell, by the number of the hop.

    A waypoint is found that is named like its function, like a word of it, or after the
    field that is called through; one with a name of its own ("direct reclaim") is not.
    """
    found: dict[int, str] = {}
    start = 0
    for name in chain.waypoints:
        for number in range(start, len(hops)):
            if _is_at(name, hops[number]):
                found[number] = name
                start = number + 1
                break
    return found


def is_indirect(hop: Hop) -> bool:
    """Whether a function is reached through a pointer."""
    how = hop.how.removeprefix("tail call, ")
    return not how.startswith(("direct", "start", "tail call", "asm")) and not is_machine(hop)


def is_machine(hop: Hop) -> bool:
    """Whether a frame is the machine's, not a function's: "(entry)", "(interrupt)"."""
    return hop.function.startswith("(")


def reached(hop: Hop) -> str:
    """Say how a hop is reached, if there is more to it than a call in the function above."""
    how = clean(hop.how)
    if how in {"direct", "start"}:
        return f"via {clean(hop.inlined[-1])}" if hop.inlined else ""
    tail, how = ("tail, ", how.removeprefix("tail call, ")) if "tail call, " in how else ("", how)
    if how.startswith("field "):  # "field a_ops.writepage of x" is "->writepage of x" in C
        field, of, owner = how.removeprefix("field ").partition(" of ")
        # a record without a name is "<skbuff.h:887>", with a dot of its own
        record, dot, name = field.rpartition(".")
        how = f"->{name}{of}{owner}" if dot and " " not in record else how
    return tail + how


def spoken(clause: str) -> str:
    """Return a condition as a person reads it."""
    return clean(clause).replace("|", " or ").replace("&", " and ")


def clean(text: str) -> str:
    """Return text in which every letter takes a column."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


def cut(text: str, width: int) -> str:
    """Shorten a name: what gcc appended goes first, then the end."""
    if len(text) > width and "." in text:
        text = text.partition(".")[0] + ".."
    return text if len(text) <= width else text[: max(0, width - 2)] + ".."


def _whole(hop: Hop) -> str:
    return hop.function


def _plain(hop: Hop) -> str:
    name, _, rest = hop.function.partition(".")
    return name if f".{rest}".startswith(CLONES) else hop.function


def _is_at(name: str, hop: Hop) -> bool:
    if name.startswith("->"):
        field = hop.how.partition(" of ")[0]
        return is_indirect(hop) and field.endswith("." + name.removeprefix("->"))
    return _plain(hop) == name or name in _plain(hop).split("_")


def _name(chain: Chain) -> str:
    name = f"{chain.profile}, {chain.name}" if chain.name else chain.profile
    return cut(clean(name), LONGEST)


def _ends(side: Depth) -> str:
    """Name the functions that a path leads from and to."""
    named = [cut(clean(hop.function), LONGEST) for hop in side.hops if not is_machine(hop)]
    if not named:
        return "through no function"
    return f"of {named[0]}()" if len(named) == 1 else f"from {named[0]}() to {named[-1]}()"


def _moved(before: Depth, after: Depth) -> str:
    growth = after.witness_bytes - before.witness_bytes
    verb = "grows" if growth > 0 else "shrinks"
    return f"{verb} by {abs(growth):,} bytes, {before.witness_bytes:,} to " if growth else "stays at "  # noqa: E501 # fmt: skip


def _summary(chain: Chain, shown: Depth, other: Depth | None) -> str:
    bytes_ = f"{shown.witness_bytes:,} of {chain.budget_bytes:,} bytes"
    bound = "" if shown.upper_bytes == shown.witness_bytes else f", at most {shown.upper_bytes:,}"
    if chain.after is None:
        was = " before; it cannot be reached now"
    else:
        was = _was(shown, other) if other else ""
    said = f": {bytes_}{was}{bound}"
    return _fit(cut(clean(chain.name or chain.profile), max(8, WIDTH - len(said))) + said)


def _was(shown: Depth, other: Depth) -> str:
    if other.held and not shown.held:
        return " (held by a condition before)"
    if other.witness_bytes == shown.witness_bytes:
        return " (as before)"
    return f" ({other.witness_bytes:,} before)"


def _notes(shown: Depth, other: Depth | None) -> Iterator[str]:
    gone = _gone(shown, other) if other else []
    if gone:
        named = ", ".join(f"{cut(clean(hop.function), NAME)} {hop.frame:,}" for hop in gone[:GONE])
        more = f" and {len(gone) - GONE} more" if len(gone) > GONE else ""
        yield from _wrapped(f"no longer on it: {named}{more}")
    for clause in shown.held:
        yield from _wrapped(f"held: {spoken(clause)}")
    if shown.upper_bytes > shown.witness_bytes:
        for cycle in shown.cycles:
            if "in full" in cycle:
                yield from _wrapped(clean(cycle))
    if any(hop.dynamic for hop in shown.hops):
        yield from _wrapped("+: part of this frame has no size known at compile time")


def _gone(shown: Depth, other: Depth) -> list[Hop]:
    """Return the frames that only the other path has, the largest first."""
    left = set(range(len(other.hops))) - set(pairs(shown.hops, other.hops).values())
    gone = [other.hops[n] for n in sorted(left) if other.hops[n].frame]
    return sorted(gone, key=lambda hop: -hop.frame)


def _wrapped(text: str) -> list[str]:
    lines = textwrap.wrap(text, WIDTH - 2, subsequent_indent="  ", break_on_hyphens=False)
    return [f"  {line}" for line in lines]


def _first(lines: list[str], most: int) -> list[str]:
    """Return the first lines, and see to it that nobody takes them for all."""
    if len(lines) <= most or not most:
        return lines[:most]
    return [*lines[: most - 1], f"{lines[most - 1][: WIDTH - 3]} .."]


def _kept(
    chain: Chain, hops: Sequence[Hop], marks: Mapping[int, int | None], room: int
) -> frozenset[int]:
    """Return the hops that are shown: all that fit, the most telling where they do not."""
    if len(hops) <= room:
        return frozenset(range(len(hops)))
    numbers = range(len(hops))
    largest = sorted(numbers, key=lambda n: (-hops[n].frame, n))
    order = [len(hops) - 1, 0]
    order += sorted(marks, key=lambda n: (-abs(hops[n].frame - (marks[n] or 0)), n))
    order += [*waypoints(chain, hops), *largest[:LARGEST]]
    order += [n for n in largest if is_indirect(hops[n])]
    order += [n for n in largest if hops[n].dynamic]
    kept: set[int] = set()
    left = room - 1  # one line folds them all
    for number in order:
        price = _price(kept, number, len(hops))
        if number not in kept and price <= left:
            kept.add(number)
            left -= price
    while left >= 0:  # then what tells most bytes a line: neighbours come cheap
        offers = [(n, _price(kept, n, len(hops))) for n in numbers if n not in kept]
        offers = [(n, price) for n, price in offers if price <= left]
        if not offers:
            break
        number, price = max(offers, key=lambda one: (_worth(hops[one[0]], one[1]), -one[0]))
        kept.add(number)
        left -= price
    return frozenset(kept)


def _price(kept: set[int], number: int, total: int) -> int:
    """Return how many lines more it takes to show a hop: it may split a fold, or end one."""
    above = number == 0 or number - 1 in kept
    below = number == total - 1 or number + 1 in kept
    return 2 - above - below


def _worth(hop: Hop, price: int) -> float:
    return hop.frame / price if price else float("inf")


def _rows(
    hops: Sequence[Hop], marks: Mapping[int, int | None], kept: frozenset[int]
) -> Iterator[str]:
    deep = max([7, *(len(f"{hop.depth:,}") for hop in hops)])
    folded: list[Hop] = []
    for number, hop in enumerate(hops):
        if number not in kept:
            folded.append(hop)
            continue
        if folded:
            yield _fold(folded, deep)
            folded = []
        yield _row(hop, deep, _mark(hop, marks[number]) if number in marks else "")
    if folded:
        yield _fold(folded, deep)


def _fold(hops: Sequence[Hop], deep: int) -> str:
    size = sum(hop.frame for hop in hops)
    plus = "+" if any(hop.dynamic for hop in hops) else " "
    what = "1 more frame" if len(hops) == 1 else f"{len(hops)} more frames"
    return _fit(f"{hops[-1].depth:{deep},} {size:6,}{plus}   ... {what}")


def _mark(hop: Hop, was: int | None) -> str:
    return "[new]" if was is None else f"[{hop.frame - was:+,d}, was {was:,}]"


def _row(hop: Hop, deep: int, mark: str) -> str:
    start = f"{hop.depth:{deep},} {hop.frame:6,}{'+' if hop.dynamic else ' '} "
    room = WIDTH - len(start)
    how = reached(hop)
    whole = "  ".join(one for one in (clean(hop.function), mark, how and f"<- {how}") if one)
    if len(hop.function) > NAME and len(whole) <= room:
        return start + whole
    if not mark and not how:
        return start + cut(clean(hop.function), room)
    name = cut(clean(hop.function), NAME)
    said = f"{mark}  " if mark else ""
    short = _reached(how, room - NAME - 2 - len(said))
    if how and not short:  # it fits only where the columns are given up
        short = _reached(how, room - len(name) - 2 - len(said))
        return _fit(start + f"{name}  {said}{short}".rstrip())
    return _fit(start + f"{name:<{NAME}}  {said}{short}".rstrip())


def _reached(how: str, room: int) -> str:
    """Return how a hop is reached in so many columns, without its owner if need be, or ""."""
    if not how or len(f"<- {how}") <= room:
        return f"<- {how}" if how else ""
    call, of, _ = how.partition(" of ")
    if len(f"<- {call}{of}") + TELLING + 2 <= room:
        return _cut_end(f"<- {how}", room)
    if of and len(f"<- {call}") <= room:
        return f"<- {call}"
    return _cut_end(f"<- {how}", room) if room >= NAME // 2 else ""


def _cut_end(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 2)] + ".."


def _fit(text: str) -> str:
    return _cut_end(text, WIDTH)
