"""Holds stacks that a running kernel showed against the call graph.

The input is what ftrace's stack tracer prints (``/sys/kernel/tracing/stack_trace``,
kernel/trace/trace_stack.c): return addresses from the deepest up, with the bytes between
one and the next. An entry's function called the one above it in the text, so that every
pair of neighbours must be an edge of the graph; its ``Size`` is its frame, return address
included. Only the deepest entry's frame says nothing: the tracer looks into its midst.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from bot.contract import TheirsError
from workers.stack.program import Program

ENTRY = re.compile(
    r"(?:\[[\s\d.]+\]\s*)?\s*(?P<number>\d+)\)\s+(?P<depth>\d+)\s+(?P<size>\d+)\s+"
    r"(?P<function>[\w.]+)(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?(?:\s+\[\w+\])?\s*$"
)
# lines of the tracer's text that are no entries
HEADER = re.compile(r"(?:\[[\s\d.]+\]\s*)?\s*(?:Depth\s+Size\s+Location.*|-+\s+-+\s+-+.*|#.*|)\s*$")
MOST_LESS = 64  # bytes by which pushed arguments or padding may make a frame smaller
MAX_TAILS = 6  # tail calls between two frames
# calls that no compiler made: (caller, callee) as regular expressions, with the reason
EXPLAINED: tuple[tuple[str, str, str], ...] = (
    (
        r"entry_\w+|asm_\w+|ret_from_fork\w*|secondary_startup\w*|common_interrupt_return|error_\w+",
        r".*",
        "entry code in assembler (arch/x86/entry) calls the first C function",
    ),
    (
        r".*",
        r"__(?:put|get)_user_nocheck_\d+",
        "a label inside of __put_user_N or __get_user_N (arch/x86/lib/putuser.S, getuser.S)",
    ),
    (
        r".*",
        r"asm_\w+|entry_\w+|error_entry|exc_\w+|sysvec_\w+|common_interrupt",
        "an exception or interrupt, which comes between any two instructions",
    ),
    (
        r".*",
        r"(?:stack_trace_call|ftrace_\w+|arch_ftrace_\w+|function_\w*trace\w*|trace_\w+|kprobe_ftrace\w*)",
        "the tracer's own frames, called by the instrumented entry of any function",
    ),
)


class DumpError(TheirsError):
    """A line is not what the stack tracer prints."""


@dataclass(frozen=True)
class Entry:
    """One line of a dump."""

    function: str
    depth: int  # bytes
    size: int  # bytes


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
            entries.append(Entry(found["function"], int(found["depth"]), int(found["size"])))
    if entries:
        dumps.append(Dump(tuple(entries)))
    return tuple(dumps)


def check(program: Program, dumps: Sequence[Dump]) -> Observed:
    """Hold dumps of a kernel against its graph."""
    graph = _Graph(program)
    pairs = Counter(pair for dump in dumps for pair in _pairs(dump))
    sizes = Counter((entry.function, entry.size) for dump in dumps for entry in dump.entries[1:])
    direct, tails, explained, missing = 0, [], [], []
    for (caller, callee), times in sorted(pairs.items()):
        if graph.calls(caller, callee):
            direct += 1
        elif via := graph.through_tails(caller, callee):
            tails.append(EdgeSeen(caller, callee, times, via))
        elif reason := _reason(caller, callee):
            explained.append(EdgeSeen(caller, callee, times, reason=reason))
        else:
            missing.append(EdgeSeen(caller, callee, times))
    known = {one: times for one, times in sizes.items() if graph.frames(one[0])}
    off = [
        FrameSeen(function, size, graph.frames(function), times)
        for (function, size), times in sorted(known.items())
        if not graph.fits(function, size)
    ]
    return Observed(
        len(dumps), len(pairs), direct, tuple(tails), tuple(explained), tuple(missing),
        len(known), len(known) - len(off), tuple(off), len(sizes) - len(known),
    )  # fmt: skip


def _pairs(dump: Dump) -> Iterator[tuple[str, str]]:
    for callee, caller in zip(dump.entries, dump.entries[1:], strict=False):
        yield caller.function, callee.function


def _reason(caller: str, callee: str) -> str:
    for callers, callees, reason in EXPLAINED:
        if re.fullmatch(callers, caller) and re.fullmatch(callees, callee):
            return reason
    return ""


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

    def frames(self, name: str) -> tuple[int, ...]:
        return tuple(sorted({self._program.functions[one].frame for one in self.ids(name)}))

    def fits(self, name: str, size: int) -> bool:
        """Whether a size can be a frame of the name; a dynamic frame may be larger."""
        for one in self.ids(name):
            function = self._program.functions[one]
            if size == function.frame or (function.kind == "d" and size >= function.frame):
                return True
            # arguments are pushed for some calls and not for others; padding may be less
            some = function.kind == "b" or function.aligned
            if some and function.frame - MOST_LESS <= size <= function.frame:
                return True
        return False


def as_json(found: Observed) -> Mapping[str, object]:
    """Return what was found as JSON data."""
    return asdict(found)


def as_text(found: Observed) -> Iterator[str]:
    """Yield what was found, every miss in a line."""
    there = found.edges - len(found.missing)
    share = 100 * there / found.edges if found.edges else 0.0
    yield (
        f"{found.dumps} stacks, {found.edges} different calls: {found.direct} in the graph, "
        f"{len(found.by_tail_calls)} through tail calls, {len(found.explained)} explained, "
        f"{len(found.missing)} missing ({share:.2f} % present)"
    )
    yield from _edges("missing", found.missing)
    yield from _edges("explained", found.explained)
    equal = 100 * found.frames_equal / found.frames if found.frames else 0.0
    yield (
        f"{found.frames} frames compared, {found.frames_equal} equal ({equal:.2f} %); "
        f"{found.frames_unknown} of functions without C source"
    )
    for one in found.frames_off:
        expected = " or ".join(map(str, one.expected))
        yield f"frame of {one.function}(): seen {one.seen}, expected {expected} ({one.times} times)"


def _edges(what: str, edges: Iterable[EdgeSeen]) -> Iterator[str]:
    for one in edges:
        reason = f": {one.reason}" if one.reason else ""
        yield f"{what}: {one.caller}() -> {one.callee}() ({one.times} times){reason}"
