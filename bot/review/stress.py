"""What boots of base and patched kernel say of a series, judged by the profile's gates.

Exact sensors fail on any breach that the base does not show as well; noisy counters are
never judged. A run that did not reach what its profile asks for says nothing but that.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bot.contract import (
    Boot,
    ConsoleReport,
    Ending,
    Finding,
    FindingKind,
    Severity,
    StackSeen,
    StressResult,
    StressRun,
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
WITHOUT_HOOK = frozenset({Filesystem.XFS})  # as in workers/stress/job.py, which a test compares
OOM = "oom-kill"
SHOWN = 16  # lines of evidence
WRITERS = ("pageout", "shrink_folio_list", "shrink_page_list")  # stacks are compared below these


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
    calls = [line for line in lines[start:] if not line.strip().startswith("?")]
    return tuple(calls[:SHOWN])


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


def _none(base: Sequence[Boot]) -> str:
    if not base:
        return ""
    writes = sum(dict(boot.metrics).get(Metric.KSWAPD_FILE_WRITES, 0) for boot in base)
    return f"on the base it gave none while kswapd gave {writes}; "


def _data(case: _Case) -> Iterator[Finding]:
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


def _reduced(stack: StackSeen, without: frozenset[str]) -> tuple[str, ...]:
    names = (name.partition(".")[0] for name, _, _ in stack.frames)
    return tuple(name for name in names if name not in without)


def _below(stack: StackSeen) -> StackSeen:
    """Return the part of a stack from the function that writes pages down to its end."""
    for place, (name, _, _) in enumerate(stack.frames):
        if name.partition(".")[0] in WRITERS:
            frames = stack.frames[: place + 1]
            return StackSeen(depth=sum(size for _, _, size in frames), frames=frames)
    return stack


def _deeper(case: _Case) -> Iterator[Finding]:
    """Yield the chain of functions that grew most, among those seen on both kernels.

    A frame is as large in every boot of one kernel, so that nothing here is noise; where
    one function calls the other from several places, the deepest on the base is held
    against the shallowest on the patched kernel.
    """
    run = case.run
    without = frozenset(run.new_functions) | frozenset(run.gone_functions)
    base: dict[tuple[str, ...], StackSeen] = {}
    for one in _all_stacks(run.base):
        key = _reduced(one, without)
        base[key] = max(base.get(key, one), one, key=lambda s: s.depth)
    patched: dict[tuple[str, ...], StackSeen] = {}
    for one in _all_stacks(run.patched):
        key = _reduced(one, without)
        patched[key] = min(patched.get(key, one), one, key=lambda s: s.depth)
    grown = [(patched[key].depth - base[key].depth, key) for key in patched if key in base]
    most, key = max(grown, default=(0, ()))
    if most < run.profile.gates.stack_bytes:
        return
    old, new = base[key], patched[key]
    said = (
        f"{case.where} the stack {_spoken(key)} was {new.depth} bytes deep where it is "
        f"{old.depth} on the base, through the same functions: {most} bytes more "
        f"({len(grown)} chains were compared):"
    )
    head = f"the stack is {most} bytes deeper in a running kernel"
    yield case.finding(
        FindingKind.STACK_DEEPER, (head, said, _table(old, new)), functions=_grown(old, new),
        before=old.depth, after=new.depth,
    )  # fmt: skip


def _table(old: StackSeen, new: StackSeen) -> tuple[str, ...]:
    """Return the frames, the outermost first, with what they were where they differ."""
    before = {name.partition(".")[0]: size for name, _, size in old.frames}
    lines = []
    for name, _, size in reversed(new.frames):
        was = before.get(name.partition(".")[0])
        note = "" if was == size else "  new" if was is None else f"  was {was}"
        lines.append(f"{size:6} {name}{note}")
    return tuple(lines[-2 * SHOWN :])


def _all_stacks(boots: Iterable[Boot]) -> Iterator[StackSeen]:
    for boot in boots:
        for stack in boot.stacks:
            yield stack
            yield _below(stack)


def _spoken(key: tuple[str, ...]) -> str:
    return f"from {key[-1]}() down to {key[0]}()" if key else "of reclaim"


def _grown(old: StackSeen, new: StackSeen) -> tuple[str, ...]:
    """Return the functions by which the stack grew, the most first."""
    before = {name.partition(".")[0]: size for name, _, size in old.frames}
    grown = {name: size - before.get(name.partition(".")[0], 0) for name, _, size in new.frames}
    return tuple(sorted((n for n, more in grown.items() if more > 0), key=lambda n: (-grown[n], n)))


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
    wanted = dict(run.profile.exposure)
    if run.filesystem in WITHOUT_HOOK:
        wanted.pop(Metric.KSWAPD_FILE_WRITES, None)
    done = [dict(boot.metrics) for boot in run.patched if boot.ending is Ending.DONE]
    if not done:
        return "no boot came to its end"
    least = min((_short(one, wanted) for one in done), key=len)
    return ", ".join(least)


def _short(reached: dict[Metric, int], wanted: dict[Metric, int]) -> list[str]:
    return [
        f"{reached.get(metric, 0)} of {least} {NAMES[metric]}"
        for metric, least in sorted(wanted.items())
        if reached.get(metric, 0) < least
    ]


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
