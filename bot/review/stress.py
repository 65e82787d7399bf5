"""What boots of base and patched kernel say of a series, judged by the profile's gates.

Exact sensors fail on any breach that the base does not show as well; noisy counters are
never judged. A run that did not reach what its profile asks for says nothing but that.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bot.contract import (
    WRITERS,
    Boot,
    ConsoleReport,
    Ending,
    Finding,
    FindingKind,
    Severity,
    StackSeen,
    StressResult,
    StressRun,
    plain,
)
from bot.review.rank import lower_by_chance
from bot.review.touched import Touched, culprit
from policies.stress import Filesystem, Metric

STANDSTILLS = frozenset({Ending.STALLED, Ending.HUNG, Ending.SPUN, Ending.SLOW})
ODD = frozenset(
    {Ending.KILLED, Ending.EARLY, Ending.FORGED, Ending.FLOODED, Ending.DEAF, Ending.SETUP}
)
DIRECTORIES = {
    Filesystem.EXT4: "fs/ext4/", Filesystem.EXT2: "fs/ext2/", Filesystem.VFAT: "fs/fat/",
    Filesystem.XFS: "fs/xfs/",
}  # fmt: skip
OOM = "oom-kill"
DIRECT = frozenset({"try_to_free_pages", "try_to_free_mem_cgroup_pages"})  # mm/vmscan.c
KERNEL_RIP = "RIP: 0010:"  # of the kernel's code segment, arch/x86/kernel/process_64.c
SHOWN = 16  # lines of evidence


@dataclass(frozen=True)
class _Case:
    """One run, with what the series touches."""

    run: StressRun
    touched: tuple[Touched, ...]
    command: str
    last: int  # number of the last patch

    @property
    def where(self) -> str:
        return f"Under the stress profile {self.run.profile.name} on {self.run.filesystem}"

    def finding(
        self,
        kind: FindingKind,
        text: tuple[str, str, tuple[str, ...]],
        *,
        functions: Sequence[str] = (),
        before: int | None = None,
        after: int | None = None,
    ) -> Finding:
        head, said, evidence = text
        head = f"{head} ({self.run.profile.name} on {self.run.filesystem})"
        named = culprit(functions, self.touched, DIRECTORIES[self.run.filesystem])
        function = named.function if named else next(iter(functions), None)
        return Finding(
            kind=kind, severity=Severity.FAIL, patch=named.patch if named else self.last,
            # without a line it is quoted where the other findings of its function are
            file=named.file if named else "", line=None,
            function=function, before=before, after=after, text=(head, said, *evidence),
            reproduce=self.command,
        )  # fmt: skip


def find(
    result: StressResult, touched: tuple[Touched, ...], last: int, image: str
) -> Iterator[Finding]:
    """Yield the findings of a stress result; ``last`` is the number of the last patch.

    The same crash is told once, whatever the runs in which it happened.
    """
    told: set[str] = set()
    for run in result.runs:
        case = _Case(run, touched, command((run,), image), last)
        for finding, key in _of_run(case):
            if key not in told:
                told.add(key)
                yield finding


def command(runs: Sequence[StressRun], image: str) -> str:
    """Return the command that repeats runs."""
    profiles = dict.fromkeys(run.profile.name for run in runs)
    filesystems = dict.fromkeys(run.filesystem for run in runs)
    words = [f"--profile {one}" for one in profiles] + [
        f"--filesystem {one}" for one in filesystems
    ]
    return f"stackhog stress {image} {' '.join(words)}"


def _of_run(case: _Case) -> Iterator[tuple[Finding, str]]:
    reported = False
    for finding, key in _reports(case):
        reported = True
        yield finding, key
    if not reported:
        yield from _endings(case)
    for judge in (_direct_writes, _data, _kills, _deeper, _efficiency):
        for finding in judge(case):
            yield finding, f"{finding.kind}\0{finding.function}\0{finding.patch}"


def _times(boots: Sequence[Boot], bad: int) -> str:
    if len(boots) == 1:
        return "in the one boot"
    return f"in {bad} of {len(boots)} boots"


# what the kernel said


def _reports(case: _Case) -> Iterator[tuple[Finding, str]]:
    run = case.run
    known = {one.fingerprint for boot in run.base for one in boot.reports}
    allowed = set(run.profile.gates.allow)
    seen: dict[str, ConsoleReport] = {}
    for boot in run.patched:
        for one in boot.reports:
            if one.fingerprint not in known and one.kind not in allowed:
                seen.setdefault(one.fingerprint, one)
    for fingerprint, one in seen.items():
        bad = sum(any(r.fingerprint == fingerprint for r in b.reports) for b in run.patched)
        kind = FindingKind.OOM_KILL if one.kind == OOM else FindingKind.KERNEL_REPORT
        functions = (*filter(None, (one.function,)), *_inlined(one), *one.stack)
        never = " and in none of the base" if run.base else ""
        said = f"{case.where} the kernel said, {_times(run.patched, bad)}{never}:"
        text = (one.title, said, (one.first, *_evidence(one)))
        yield case.finding(kind, text, functions=functions), fingerprint


def _inlined(report: ConsoleReport) -> tuple[str, ...]:
    """Return the functions that decoding found inlined into those of the trace, if any."""
    found = []
    for line in report.decoded:
        words = line.split()
        if len(words) > 1 and words[1].startswith("(") and words[0].isidentifier():
            found.append(words[0])
    return tuple(found)


def _evidence(report: ConsoleReport) -> tuple[str, ...]:
    lines = report.decoded or report.lines
    trace = [n for n, line in enumerate(lines) if "Call Trace" in line]
    start = trace[0] if trace else 0
    where = [line for line in lines if line.startswith(KERNEL_RIP)][:1]
    calls = [line for line in lines[start:] if not line.strip().startswith("?")]
    return tuple([*where, *calls][:SHOWN])


# how boots ended

ENDED = {
    Ending.STALLED: "stalled", Ending.HUNG: "hung", Ending.SPUN: "fell silent, spinning",
    Ending.SLOW: "did not end in time", Ending.EARLY: "left too early",
    Ending.FORGED: "told what cannot be", Ending.FLOODED: "flooded the host with output",
    Ending.DEAF: "made a sensor deaf", Ending.SETUP: "could not be prepared",
    Ending.KILLED: "lost a process of its workload",
}  # fmt: skip


def _endings(case: _Case) -> Iterator[tuple[Finding, str]]:
    run = case.run
    for family, kind in ((STANDSTILLS, FindingKind.STALL), (ODD, FindingKind.ODD_GUEST)):
        bad = [boot for boot in run.patched if boot.ending in family]
        if not bad or any(boot.ending in family for boot in run.base):
            continue
        head = f"the guest {ENDED[bad[0].ending]}"
        said = (
            f"{case.where} the guest {ENDED[bad[0].ending]} ({bad[0].problem}), "
            f"{_times(run.patched, len(bad))}{_ended_well(run.base)}."
        )
        yield case.finding(kind, (head, said, ())), f"{kind}\0{bad[0].ending}"


def _ended_well(base: Sequence[Boot]) -> str:
    if not base:
        return ""
    return f"; the base came to its end in {max(boot.seconds for boot in base):.0f} s"


# what reclaim did


def _direct(boots: Iterable[Boot]) -> int:
    return sum(one.count for boot in boots for one in boot.direct_writes)


def _direct_writes(case: _Case) -> Iterator[Finding]:
    run = case.run
    if not _direct(run.patched):
        yield from _unseen_writes(case)
    if not _direct(run.patched) or _direct(run.base):
        return
    bad = [boot for boot in run.patched if boot.direct_writes]
    most = max((one for boot in bad for one in boot.direct_writes), key=lambda one: one.count)
    entered = sum(dict(boot.metrics).get(Metric.DIRECT_RECLAIMS, 0) for boot in bad)
    said = (
        f"{case.where} direct reclaim gave {_direct(bad)} file pages to ->writepage, "
        f"{_times(run.patched, len(bad))} ({entered} entries); "
        f"{_none(run.base)}most of them, {most.count}, from:"
    )
    head = f"direct reclaim wrote {_direct(bad)} file pages"
    yield case.finding(
        FindingKind.DIRECT_WRITE, (head, said, most.stack[:SHOWN]), functions=most.stack,
        before=0 if run.base else None, after=_direct(bad),
    )  # fmt: skip


def _unseen_writes(case: _Case) -> Iterator[Finding]:
    """Yield writes that went past pageout(), and so past the tracepoint, but over the stack."""
    run = case.run
    own = run.profile.own.get(run.filesystem, ())

    def through(boots: Iterable[Boot]) -> list[StackSeen]:
        return [stack for boot in boots for stack in boot.stacks if _passes_by(stack, own)]

    seen = through(run.patched)
    if not seen or through(run.base):
        return
    names = tuple(name for name, _, _ in seen[0].frames)
    said = f"{case.where} direct reclaim was seen in functions that only ->writepage reaches:"
    yield case.finding(
        FindingKind.DIRECT_WRITE,
        ("direct reclaim was seen writing file pages", said, names[: 2 * SHOWN]), functions=names,
    )  # fmt: skip


def _passes_by(stack: StackSeen, own: Sequence[str]) -> bool:
    """Whether direct reclaim, below it what writes pages, below that one of ``own`` is on a stack.

    The other way round, a filesystem that allocates and so enters reclaim, is as it must be.
    """
    names = stack.functions
    writers = [place for place, name in enumerate(names) if name in WRITERS]
    if not writers or not DIRECT & set(names[writers[-1] :]):
        return False
    return any(fnmatchcase(name, one) for name, _, _ in stack.frames[: writers[0]] for one in own)


def _none(base: Sequence[Boot]) -> str:
    if not base:
        return ""
    writes = sum(dict(boot.metrics).get(Metric.KSWAPD_FILE_WRITES, 0) for boot in base)
    return f"on the base it gave none while kswapd gave {writes}; "


def _data(case: _Case) -> Iterator[Finding]:
    yield from _lost(case)
    run = case.run
    bad = [boot for boot in run.patched if boot.misread]
    if bad and not any(boot.misread for boot in run.base):
        times = sum(boot.misread for boot in bad)
        head = f"{times} times memory or a file held something else than was written"
        said = f"{case.where} {head}, {_times(run.patched, len(bad))}, and never on the base."
        yield case.finding(FindingKind.DATA_LOST, (head, said, ()), after=times)


def _lost(case: _Case) -> Iterator[Finding]:
    run = case.run
    bad = [boot for boot in run.patched if any(one.bad or one.unread for one in boot.verified)]
    if not bad or any(one.bad or one.unread for boot in run.base for one in boot.verified):
        return
    looked = [one for boot in bad for one in boot.verified]
    pages = sum(one.bad + one.unread for one in looked)
    said = (
        f"{case.where} {pages} of {sum(one.pages for one in looked)} pages were not on the disk "
        f"as they had been written, {_times(run.patched, len(bad))}, after fsync, umount and "
        f"mount{_all_there(run.base)}."
    )
    shown = tuple(f"page {line}" for one in looked for line in one.shown)
    head = f"{pages} pages lost what was written to them"
    yield case.finding(
        FindingKind.DATA_LOST, (head, said, shown[:SHOWN]), before=0 if run.base else None,
        after=pages,
    )  # fmt: skip


def _all_there(base: Sequence[Boot]) -> str:
    pages = sum(one.pages for boot in base for one in boot.verified)
    return f"; on the base all {pages} were" if pages else ""


def _kills(case: _Case) -> Iterator[Finding]:
    """Yield OOM kills that the counter knows and the console did not tell of."""
    run = case.run

    def count(boots: Iterable[Boot]) -> int:
        return sum(dict(boot.counters).get("oom_kill", 0) for boot in boots)

    told = any(one.kind == OOM for boot in run.patched for one in boot.reports)
    if count(run.patched) and not count(run.base) and not told:
        head = f"the OOM killer killed {count(run.patched)} processes"
        said = f"{case.where} {head}, and none on the base."
        yield case.finding(FindingKind.OOM_KILL, (head, said, ()))


# how deep the stack was

Edge = tuple[str, str]  # function, and the function that it calls


@dataclass(frozen=True)
class _Frame:
    """A function on a stack, with what it calls and where from."""

    function: str
    callee: str
    offset: int
    size: int  # with the frames of functions that only one of the kernels has, called from here

    @property
    def edge(self) -> Edge:
        return self.function, self.callee


@dataclass(frozen=True)
class _Without:
    """What is no frame on one of the kernels, and counts as its caller's."""

    functions: frozenset[str] = frozenset()
    calls: frozenset[Edge] = frozenset()


def _frames(stack: StackSeen, without: _Without) -> tuple[_Frame, ...]:
    """Return the frames of a stack, innermost first, those of ``without`` in their callers'."""
    found: list[_Frame] = []
    callee, more = "", 0
    for name, offset, size in stack.frames:
        function = plain(name)
        if function in without.functions or (function, callee) in without.calls:
            more += size
            continue
        found.append(_Frame(function, callee, offset, size + more))
        callee, more = function, 0
    return tuple(found)


class _Known:
    """The frames that were seen on one kernel."""

    def __init__(self, boots: Iterable[Boot], without: _Without) -> None:
        self.sizes: dict[Edge, dict[int, int]] = {}  # bytes by offset
        for boot in boots:
            for stack in boot.stacks:
                for frame in _frames(stack, without):
                    self.sizes.setdefault(frame.edge, {})[frame.offset] = frame.size

    def most(self, frame: _Frame) -> int | None:
        """Return what a frame takes here at most; None: the call was not seen.

        Code that did not change calls from the same offset, and is compared with itself.
        """
        sizes = self.sizes.get(frame.edge)
        return None if sizes is None else sizes.get(frame.offset, max(sizes.values()))

    def least(self, frame: _Frame) -> int:
        """Return what a frame takes here at least, wherever the function calls from."""
        return min(self.sizes[frame.edge].values())


def _deeper(case: _Case) -> Iterator[Finding]:
    """Yield the stack that grew most, call by call, against the same calls on the base.

    A frame is as large in every boot of one kernel, so that nothing here is noise. A call
    that was not seen on the base counts for nothing.
    """
    run = case.run
    one_sided = frozenset((*run.new_functions, *run.gone_functions))
    without = _Without(one_sided, frozenset(run.jumping_calls))
    base, patched = _Known(run.base, without), _Known(run.patched, without)
    grown = [
        (sum(_growth(frame, base, patched) for frame in _frames(stack, without)), stack)
        for boot in run.patched for stack in boot.stacks
    ]  # fmt: skip
    if not grown:
        return
    most, stack = max(
        grown, key=lambda one: (one[0], one[1].writes_pages, one[1].depth, one[1].frames)
    )
    if most < run.profile.gates.stack_bytes:
        return
    compared = len(base.sizes.keys() & patched.sizes.keys())
    said = (
        f"{case.where} the stack from {stack.frames[-1][0]}() down to {stack.frames[0][0]}() was "
        f"{stack.depth} bytes deep, {most} more than the same calls take on the base ({compared} "
        "calls were compared):"
    )
    head = f"the stack is {most} bytes deeper in a running kernel"
    yield case.finding(
        FindingKind.STACK_DEEPER, (head, said, _table(stack, base)),
        functions=_by_growth(stack, base), before=stack.depth - most, after=stack.depth,
    )  # fmt: skip


def _growth(frame: _Frame, base: _Known, patched: _Known) -> int:
    most = base.most(frame)
    if most is None or most == frame.size:
        return 0
    least = patched.least(frame)
    return min(frame.size, least) - most if least > most else min(0, frame.size - most)


def _was(stack: StackSeen, base: _Known) -> Iterator[tuple[str, int, int | None]]:
    """Yield function, bytes, and the bytes on the base: None where it was not seen there."""
    for frame, (name, _, size) in zip(_frames(stack, _Without()), stack.frames, strict=True):
        yield name, size, base.most(frame)


def _table(stack: StackSeen, base: _Known) -> tuple[str, ...]:
    """Return the frames, the outermost first, with what they were where they differ."""
    lines = []
    for name, size, was in _was(stack, base):
        lines.append(f"{size:6} {name}{f'  was {was}' if was not in {None, size} else ''}")
    return tuple(reversed(lines[: 2 * SHOWN]))


def _by_growth(stack: StackSeen, base: _Known) -> tuple[str, ...]:
    """Return the functions by which the stack grew, the most first; unseen ones grew in full."""
    seen = {function for function, _ in base.sizes}
    grown = {
        name: size - (was or 0) for name, size, was in _was(stack, base)
        if was is not None or plain(name) not in seen
    }  # fmt: skip
    more = (name for name in grown if grown[name] > 0)
    return tuple(sorted(more, key=lambda name: (-grown[name], name)))


# how well reclaim judged


def _shares(boots: Iterable[Boot]) -> list[float]:
    found = []
    for boot in boots:
        moved = dict(boot.counters)
        if boot.ending is Ending.DONE and moved.get("pgscan_file", 0) > 0:
            found.append(moved.get("pgsteal_file", 0) / moved["pgscan_file"])
    return found


def _efficiency(case: _Case) -> Iterator[Finding]:
    gates = case.run.profile.gates
    base, patched = _shares(case.run.base), _shares(case.run.patched)
    if not gates.efficiency or not base or not patched:
        return
    before, after = statistics.median(base), statistics.median(patched)
    chance = float(lower_by_chance(patched, base))
    if chance > gates.efficiency_error or after > before * (1 - gates.efficiency_drop):
        return
    said = (
        f"{case.where} reclaim stole {after:.1%} of the clean file pages that it scanned, where "
        f"it stole {before:.1%} on the base (medians of {len(patched)} and {len(base)} boots; "
        f"one-sided exact rank test, chance {chance:.1%}, at most {gates.efficiency_error:.0%})."
    )
    head = f"reclaim steals {after:.1%} of the clean pages that it scans, {before:.1%} on the base"
    yield case.finding(
        FindingKind.LESS_EFFICIENT,
        (head, said, ()),
        before=round(before * 1000),
        after=round(after * 1000),
    )


# what was seen of a run without findings


def missing(run: StressRun) -> str:
    """Return what a run did not reach, empty when one of its boots reached all."""
    done = [dict(boot.metrics) for boot in run.patched if boot.ending is Ending.DONE]
    if not done:
        return "no boot came to its end"
    least = min((_short(run, reached) for reached in done), key=len)
    return ", ".join(least)


def _short(run: StressRun, reached: dict[Metric, int]) -> list[str]:
    short = run.profile.short(run.filesystem, reached)
    return [f"{reached.get(one, 0)} of {least} {NAMES[one]}" for one, least in short.items()]


NAMES = {
    Metric.KSWAPD_FILE_WRITES: "file pages written by kswapd",
    Metric.SWAP_WRITES: "pages written to swap by reclaim",
    Metric.DIRECT_RECLAIMS: "entries of direct reclaim",
    Metric.CGROUP_RECLAIMS: "charges that reclaimed",
    Metric.FILE_SCANNED: "file pages scanned",
    Metric.PAGES_VERIFIED: "pages read back and compared",
    Metric.STACKS_SEEN: "different stacks below reclaim",
}


def exposure(run: StressRun) -> str:
    """Say what a run reached, in figures."""
    done = [dict(boot.metrics) for boot in run.patched if boot.ending is Ending.DONE]
    if not done:
        return "nothing"
    most = {metric: max(one.get(metric, 0) for one in done) for metric in Metric}
    return ", ".join(f"{most[m]:,} {NAMES[m]}" for m in NAMES if most[m])
