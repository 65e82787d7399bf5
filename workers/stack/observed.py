"""Holds stacks that a running kernel showed against the call graph.

The input is what ftrace's stack tracer prints (``/sys/kernel/tracing/stack_trace``,
kernel/trace/trace_stack.c): return addresses from the deepest up, with the bytes between
one and the next. An entry's function called the one above it in the text, so that every
pair of neighbours must be an edge of the graph; its ``Size`` is its frame, return address
included. Only the deepest entry's frame says nothing: the tracer looks into its midst.

The tracer unwinds, then searches the stack upwards for each return address. It takes the
first place that holds it, which may be a copy (``_RET_IP_`` as an argument or a variable,
or what an earlier call left in bytes that are not in use): then one frame seems too small,
and the next one too large by as much.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import NamedTuple

from bot.contract import TheirsError
from workers.stack.program import Program

ENTRY = re.compile(
    r"(?:\[[\s\d.]+\]\s*)?\s*(?P<number>\d+)\)\s+(?P<depth>\d+)\s+(?P<size>\d+)\s+"
    r"(?P<function>[\w.]+)(?:\+0x(?P<offset>[0-9a-f]+)/0x[0-9a-f]+)?(?:\s+\[\w+\])?\s*$"
)
# lines of the tracer's text that are no entries
HEADER = re.compile(r"(?:\[[\s\d.]+\]\s*)?\s*(?:Depth\s+Size\s+Location.*|-+\s+-+\s+-+.*|#.*|)\s*$")
MOST_LESS = 64  # bytes by which pushed arguments or padding may make a frame smaller
MOST_PUSHED = 48  # bytes that the processor pushes in front of an exception's entry, aligned
MAX_TAILS = 6  # tail calls between two frames


class Explanation(NamedTuple):
    """Why a pair of neighbours needs no edge; the sides are regular expressions."""

    callers: str
    callees: str
    assembler: bool  # a side that is not just any function must be without C source
    reason: str


INTERRUPTS = r"asm_\w+|error_entry|handle_exception|common_interrupt_return"
EXPLAINED = (
    Explanation(
        r"entry_\w+|asm_\w+|ret_from_fork\w*|secondary_startup\w*|common_interrupt_return|"
        r"error_\w+|paranoid_\w+|handle_exception|rewind_stack_\w+|\w+_thunk",
        r".*",
        True,  # noqa: FBT003 - the fields have names
        "entry code or a thunk in assembler (arch/x86/entry) calls a C function",
    ),
    Explanation(
        r".*",
        r"__(?:put|get)_user_nocheck_\d+",
        True,  # noqa: FBT003
        "a label inside of __put_user_N or __get_user_N (arch/x86/lib/putuser.S, getuser.S)",
    ),
    Explanation(
        r".*",
        INTERRUPTS,
        True,  # noqa: FBT003
        "an exception or interrupt, which comes between any two instructions",
    ),
    Explanation(
        r".*",
        r"stack_trace_call|check_stack|stack_trace_save|arch_stack_walk|ftrace_(?:regs_)?call(?:er)?|"
        r"ftrace_ops_assist_func|arch_ftrace_ops_list_func|ftrace_trampoline|0x[0-9a-f]+",
        False,  # noqa: FBT003
        "the tracer's own frames, called by the instrumented entry of any function",
    ),
)
NO_RETURN = "a call that does not return ended a function, the next function's name is printed"
COPY = "a copy of the return address further down, which the tracer found first"
INTERRUPTED = "interrupted there: below lies what the processor pushed"


class DumpError(TheirsError):
    """A line is not what the stack tracer prints."""


@dataclass(frozen=True)
class Entry:
    """One line of a dump."""

    function: str
    depth: int  # bytes
    size: int  # bytes
    offset: int = -1  # bytes from the function's start; -1 where the text has none


@dataclass(frozen=True)
class Dump:
    """One stack, deepest function first."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class EdgeSeen:
    """A caller and a callee that were seen, and how often; ``via`` are tail calls between."""

    caller: str
    callee: str
    times: int
    via: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class FrameSeen:
    """A frame that is not what the compiler said, in bytes."""

    function: str
    seen: int
    expected: tuple[int, ...]
    times: int
    reason: str = ""


@dataclass(frozen=True)
class Observed:
    """What a set of dumps says about the graph."""

    dumps: int
    edges: int  # different pairs of caller and callee
    direct: int
    by_tail_calls: tuple[EdgeSeen, ...]
    explained: tuple[EdgeSeen, ...]
    missing: tuple[EdgeSeen, ...]
    frames: int  # different pairs of function and size that could be compared
    frames_equal: int
    frames_off: tuple[FrameSeen, ...]
    frames_unknown: int  # of functions without C source
    frames_explained: tuple[FrameSeen, ...] = ()
    different: int = 0  # stacks, by their functions and sizes


def parse(text: str) -> tuple[Dump, ...]:
    """Return the dumps in a text, which may hold many.

    Raises DumpError with the line's number.
    """
    dumps: list[Dump] = []
    entries: list[Entry] = []
    for number, line in enumerate(text.splitlines(), start=1):
        found = ENTRY.match(line)
        if found is None and not HEADER.match(line):
            raise DumpError(
                f"line {number} is not what ftrace's stack tracer prints: {line[:80]!r}"
            )
        if entries and (found is None or found["number"] == "0"):
            dumps.append(Dump(tuple(entries)))
            entries = []
        if found:
            offset = int(found["offset"], 16) if found["offset"] else -1
            entries.append(
                Entry(found["function"], int(found["depth"]), int(found["size"]), offset)
            )
    if entries:
        dumps.append(Dump(tuple(entries)))
    return tuple(dumps)


def check(program: Program, dumps: Sequence[Dump]) -> Observed:
    """Hold dumps of a kernel against its graph."""
    graph = _Graph(program)
    pairs = Counter(pair for dump in dumps for pair in _pairs(dump))
    surely = {(caller, callee) for caller, callee, misnamed in pairs if not misnamed}
    direct, tails, explained, missing = 0, [], [], []
    for (caller, callee), times in sorted(_summed(pairs).items()):
        if graph.calls(caller, callee):
            direct += 1
        elif via := graph.through_tails(caller, callee):
            tails.append(EdgeSeen(caller, callee, times, via))
        elif reason := _reason(graph, caller, callee, misnamed=(caller, callee) not in surely):
            explained.append(EdgeSeen(caller, callee, times, reason=reason))
        else:
            missing.append(EdgeSeen(caller, callee, times))
    known, unlike = _compared(graph, dumps)
    off = tuple(one for one in unlike if not one.reason)
    return Observed(
        len(dumps), direct + len(tails) + len(explained) + len(missing), direct, tuple(tails),
        tuple(explained), tuple(missing), len(known), len(known) - len(unlike), off,
        len(_sizes(dumps)) - len(known), tuple(one for one in unlike if one.reason),
        len({_shape(dump) for dump in dumps}),
    )  # fmt: skip


def _shape(dump: Dump) -> tuple[tuple[str, int], ...]:
    return tuple((entry.function, entry.size) for entry in dump.entries)


def _misnamed(entry: Entry) -> bool:
    """Whether an address is right behind a function: no call stands before its first byte."""
    return entry.offset == 0


def _pairs(dump: Dump) -> Iterator[tuple[str, str, bool]]:
    """Yield (caller, callee, whether one of the names is of the next function)."""
    callee_misnamed = False
    for callee, caller in pairwise(dump.entries):
        misnamed = _misnamed(caller)
        yield caller.function, callee.function, misnamed or callee_misnamed
        callee_misnamed = misnamed


def _summed(pairs: Mapping[tuple[str, str, bool], int]) -> Mapping[tuple[str, str], int]:
    found: Counter[tuple[str, str]] = Counter()
    for (caller, callee, _), times in pairs.items():
        found[caller, callee] += times
    return found


def _reason(graph: _Graph, caller: str, callee: str, *, misnamed: bool) -> str:
    for one in EXPLAINED:
        sides = ((one.callers, caller), (one.callees, callee))
        if all(_is(graph, pattern, name, one.assembler) for pattern, name in sides):
            return one.reason
    return NO_RETURN if misnamed else ""


def _is(graph: _Graph, pattern: str, name: str, assembler: bool) -> bool:  # noqa: FBT001
    if pattern == ".*":
        return True
    return bool(re.fullmatch(pattern, name)) and not (assembler and graph.ids(name))


def _sizes(dumps: Iterable[Dump]) -> Counter[tuple[str, int]]:
    return Counter(
        (entry.function, entry.size)
        for dump in dumps
        for entry in dump.entries[1:]
        if not _misnamed(entry)
    )


def _compared(
    graph: _Graph, dumps: Sequence[Dump]
) -> tuple[set[tuple[str, int]], Sequence[FrameSeen]]:
    """Return the different frames that could be compared, and those that are not as expected."""
    known = {one for one in _sizes(dumps) if graph.frames(one[0])}
    reasons: dict[tuple[str, int], Counter[str]] = {}
    for dump in dumps:
        for entry, reason in _unlike(graph, dump.entries):
            reasons.setdefault((entry.function, entry.size), Counter())[reason] += 1
    unlike = [
        # one that nothing explains outweighs those that something does
        FrameSeen(function, size, graph.frames(function), said[min(said)], min(said))
        for (function, size), said in sorted(reasons.items())
    ]
    return known, unlike


def _unlike(graph: _Graph, entries: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
    """Yield the frames of a stack that are not as expected, with the reason, "" for none.

    A copy begins with a frame that is too small and ends with one that is too large, by as
    many bytes. Less would explain any wrong frame beside one that may vary.
    """
    shifts = {0}  # bytes that the place found for a return address may be too low
    pending: list[Entry] = []  # from the one that is too small on
    for callee, entry in pairwise(entries):
        expected = () if _misnamed(entry) else graph.sizes(entry.function, entry.size)
        fits = not expected or (entry.size in expected and not graph.bare(entry, expected))
        if fits and not pending:
            continue
        if not pending and _interrupts(graph, callee) and entry.size <= _most(expected):
            yield entry, INTERRUPTED
            continue
        pending += [entry] if expected else []
        shifts = {size + shift - entry.size for size in expected for shift in shifts}
        closed = 0 in shifts and entry.size > max(expected)
        shifts = {one for one in shifts if one > 0}
        if closed or fits or not shifts:
            yield from _settled(graph, pending, COPY if closed else "")
            shifts, pending = {0}, []
    yield from _settled(graph, pending, "")


def _interrupts(graph: _Graph, callee: Entry) -> bool:
    return _is(graph, INTERRUPTS, callee.function, assembler=True)


def _most(expected: Sequence[int]) -> int:
    """Return the largest frame in bytes that a function shows where it was interrupted."""
    return max(expected) + MOST_PUSHED


def _settled(graph: _Graph, pending: Iterable[Entry], reason: str) -> Iterator[tuple[Entry, str]]:
    for one in pending:
        sizes = graph.sizes(one.function, one.size)
        if one.size not in sizes or (reason and graph.bare(one, sizes)):
            yield one, reason


class _Graph:
    """The program by the names that kallsyms has: static functions may share one."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._ids: dict[str, list[str]] = {}
        for one in program.functions:
            self._ids.setdefault(one.partition("@")[0], []).append(one)
        for alias in program.aliases:
            self._ids.setdefault(alias.partition("@")[0], []).append(program.canonical(alias))

    def ids(self, name: str) -> Sequence[str]:
        """Return the functions of a name; ``f.cold`` is a part of ``f``."""
        return self._ids.get(name, []) or self._ids.get(name.removesuffix(".cold"), [])

    def calls(self, caller: str, callee: str) -> bool:
        wanted = {*self.ids(callee), callee}
        return any(
            edge.callee in wanted for one in self.ids(caller) for edge in self._program.edges(one)
        )

    def through_tails(self, caller: str, callee: str) -> tuple[str, ...]:
        """Return the functions that a call passes by tail calls on its way, () if it does not."""
        wanted = {*self.ids(callee), callee}
        ways: dict[str, tuple[str, ...]] = {
            edge.callee: (edge.callee,)
            for one in self.ids(caller)
            for edge in self._program.edges(one)
        }
        for _ in range(MAX_TAILS):
            further: dict[str, tuple[str, ...]] = {}
            for at, way in sorted(ways.items()):
                for edge in self._program.edges(at):
                    if not edge.tail:
                        continue
                    if edge.callee in wanted:
                        return tuple(one.partition("@")[0] for one in way)
                    if edge.callee not in ways:
                        further.setdefault(edge.callee, (*way, edge.callee))
            ways = further
        return ()

    def bare(self, entry: Entry, expected: Sequence[int]) -> bool:
        """Whether a frame that may vary shows a return address alone: then it is in doubt."""
        return entry.size <= self._program.pointer_bytes < max(expected)

    def frames(self, name: str) -> tuple[int, ...]:
        """Return the frames of a name's functions in bytes, sorted; () without C source."""
        known = self._program.functions
        return tuple(sorted({known[one].frame for one in self.ids(name) if one in known}))

    def sizes(self, name: str, seen: int) -> tuple[int, ...]:
        """Return every size in bytes that a frame of the name may have.

        A dynamic frame may be larger than any: then ``seen`` is one of them.
        """
        found: set[int] = set()
        step = self._program.pointer_bytes
        for one in self.ids(name):
            function = self._program.functions.get(one)
            if function is None:
                continue
            # arguments are pushed for some calls and not for others; padding may be less
            less = MOST_LESS if function.kind == "b" or function.aligned else 0
            least = max(function.frame - less, step)
            found.update(range(function.frame, least - 1, -step))
            found.update(range(function.frame, function.frame + function.transient + 1, step))
            if function.kind == "d" and seen >= function.frame:
                found.add(seen)
        return tuple(sorted(found))


def as_json(found: Observed) -> Mapping[str, object]:
    """Return what was found as JSON data."""
    return asdict(found)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "none"


def as_text(found: Observed) -> Iterator[str]:
    """Yield what was found, every miss in a line."""
    there = found.direct + len(found.by_tail_calls)
    yield (
        f"{found.dumps} stacks ({found.different} different), {found.edges} different calls: "
        f"{found.direct} in the graph, {len(found.by_tail_calls)} through tail calls, "
        f"{len(found.explained)} explained, {len(found.missing)} missing "
        f"({_share(there, there + len(found.missing))} of those that need an edge are present)"
    )
    yield from _edges("missing", found.missing)
    yield from _edges("explained", found.explained)
    yield (
        f"{found.frames} frames compared, {found.frames_equal} equal "
        f"({_share(found.frames_equal, found.frames)}), {len(found.frames_explained)} explained, "
        f"{len(found.frames_off)} not; {found.frames_unknown} of functions without C source"
    )
    yield from _frames(found.frames_off)
    yield from _frames(found.frames_explained)


def _edges(what: str, edges: Iterable[EdgeSeen]) -> Iterator[str]:
    for one in edges:
        reason = f": {one.reason}" if one.reason else ""
        yield f"{what}: {one.caller}() -> {one.callee}() ({one.times} times){reason}"


def _frames(frames: Iterable[FrameSeen]) -> Iterator[str]:
    for one in frames:
        expected = " or ".join(map(str, one.expected))
        reason = f": {one.reason}" if one.reason else ""
        yield (
            f"frame of {one.function}(): seen {one.seen}, expected {expected} "
            f"({one.times} times){reason}"
        )
