"""What crosses the queue, and the words both sides use for it.

Requests and results are versioned pydantic models; a worker can execute a
request knowing nothing else, and the bot can read a result knowing nothing of
how it was made. Sizes are bytes and times are seconds everywhere.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

# the workers know the errors from here
from bot.errors import OursError as OursError
from bot.errors import StackhogError as StackhogError
from bot.errors import TheirsError as TheirsError
from policies.stress import Filesystem, Metric, Profile

VERSION: Literal[1] = 1


class Record(BaseModel):
    """Base of everything on the wire: frozen, strict about unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )


class Outcome(StrEnum):
    """How a job ended, in the only status vocabulary there is."""

    PASSED = "passed"
    FAILED = "failed"  # theirs: the patch is at fault
    BROKEN = "broken"  # ours: retried, shown to the operator, never mailed
    SKIPPED = "skipped"  # not tested, with the reason


class Queue(StrEnum):
    """The Celery queues, which are also the job kinds."""

    BUILD = "build"
    STACK = "stack"
    STRESS = "stress"


class PatchText(Record):
    """One patch of a series as a worker applies and commits it."""

    index: int  # 1-based, as in [PATCH index/total]
    message_id: str  # without angle brackets
    subject: str  # without its [PATCH …] brackets: the commit's first line
    author_name: str
    author_email: str
    date: datetime  # timezone-aware author date
    message: str  # commit message below the subject, trailers included, no "---" notes
    diff: bytes  # from the first "diff --git" or "--- " line on, as mailed


class KernelConfig(Record):
    """A kernel configuration as data: what `make olddefconfig` must end up with."""

    name: str  # e.g. "default"
    arch: str  # the kernel's ARCH= spelling, e.g. "x86_64"
    target: str  # make target of a full build, e.g. "bzImage"
    compiler: str  # CC=, e.g. "gcc"
    base: str  # make target the options are laid over, e.g. "tinyconfig"
    options: tuple[str, ...]  # "CONFIG_X=y" or "# CONFIG_X is not set", in order


class Limits(Record):
    """Limits frozen into a job by the plan."""

    wall_seconds: int
    memory_bytes: int
    processes: int
    file_bytes: int  # size of one file
    disk_bytes: int  # everything one build may write
    parallel: int  # make -j


class BuildRequest(Record):
    """Build a baseline and each patch of a series on top of it, in turn."""

    version: Literal[1] = VERSION
    tree: str  # name in `stackhog tree list`
    base: str  # commit id in that tree
    config: KernelConfig
    patches: tuple[PatchText, ...]
    limits: Limits
    image: bool = True  # link the kernel too; False stops after the objects
    prerequisites: tuple[PatchText, ...] = ()  # applied to the base first, and then part of it


class Apply(StrEnum):
    """Which way a patch went onto its base, in the order they are tried."""

    EXACT = "exact"  # libgit2, no offset
    THREE_WAY = "three-way"  # libgit2 merge from the pre-image blobs
    OFFSET = "offset"  # git apply --cached
    AM = "am"  # git am -3


class Misfit(Record):
    """Why a patch does not apply: theirs, with what stands there instead."""

    index: int
    file: str | None
    hunk: int | None  # 1-based within the file
    line: int | None  # where the hunk expects to be, 1-based, in the file as it stands
    expected: tuple[str, ...]  # the hunk's pre-image lines
    found: tuple[str, ...]  # what stands at that place instead
    reason: str  # one sentence


class Refusal(Record):
    """Why a patch was not even tried (absolute path, symlink, too large …)."""

    index: int
    file: str | None
    reason: str


class Warned(Record):
    """One compiler warning that the series brought."""

    index: int  # the patch after which it appears first
    file: str
    line: int
    flag: str  # "-Wunused-variable", or "" where gcc names none
    text: str  # gcc's message without location and flag
    lines: tuple[str, ...]  # gcc's own lines, as printed


class PatchBuilt(Record):
    """What building one patch gave."""

    index: int
    commit: str
    applied: Apply
    seconds: float
    objects: tuple[str, ...]  # objects compiled anew, relative to the object tree, sorted
    facts: str | None  # artifact: stack facts of these objects after this patch
    warnings: tuple[Warned, ...] = ()
    error: tuple[str, ...] = ()  # gcc's or make's own lines where the build broke


class NotCompiled(Record):
    """A touched file that no configuration here compiles."""

    file: str
    reason: str


class Enabled(Record):
    """A Kconfig symbol switched on for the series."""

    symbol: str  # without CONFIG_
    file: str  # the touched file that needs it


class BuildResult(Record):
    """What a build job answers."""

    version: Literal[1] = VERSION
    outcome: Outcome
    reason: str = ""
    base_commit: str = ""
    compiler: str = ""  # first line of `gcc --version`
    kernel_release: str = ""
    baseline: Literal["", "hit", "miss"] = ""  # whether it was there
    kernel_facts: str | None = None  # artifact: facts of the whole kernel before the series
    base_facts: str | None = None  # artifact: facts, before the series, of every object it rebuilt
    config_file: str | None = None  # artifact: the .config that was built
    image: str | None = None  # artifact: the linked kernel after the last patch
    vmlinux: str | None = None  # artifact: the same with symbols
    base_image: str | None = None  # artifact: the kernel before the series
    base_vmlinux: str | None = None  # artifact
    decoder: str | None = None  # artifact: scripts/decode_stacktrace.sh before the series
    patches: tuple[PatchBuilt, ...] = ()
    misfit: Misfit | None = None
    refusal: Refusal | None = None
    unmet: Misfit | None = None  # of a prerequisite, index from 1 among them; nothing was tested
    broken_patch: int | None = None  # index of the first patch that does not build
    enabled: tuple[Enabled, ...] = ()
    not_compiled: tuple[NotCompiled, ...] = ()
    steps: tuple[tuple[str, float], ...] = ()  # (what, seconds), in order
    gone: str = ""  # artifact that is no longer there: the build is to be done again


class FactsAfter(Record):
    """Facts of the objects that one patch rebuilt."""

    index: int
    facts: str  # artifact


class StackRequest(Record):
    """Compare the stack use of objects before and after each patch."""

    version: Literal[1] = VERSION
    base_facts: str
    after: tuple[FactsAfter, ...]  # in patch order
    kernel_facts: str | None = None  # artifact: facts of the whole kernel before the series
    arch: str = "x86_64"  # the kernel's ARCH= spelling


class Frame(Record):
    """A function's stack frame, in bytes, return address included."""

    function: str
    file: str  # source file, relative to the tree
    line: int
    before: int | None  # None: the function is new
    after: int | None  # None: the function is gone
    dynamic: bool  # gcc says the frame has a part of unknown size (alloca, VLA)
    patch: int  # index of the patch that changed it last
    object: str


class Call(Record):
    """A call from one function to another that appeared or went away."""

    caller: str
    callee: str
    file: str  # of the call site
    line: int
    added: bool
    patch: int
    object: str


class Span(Record):
    """Source lines of one function after a patch: where a finding can be quoted."""

    patch: int
    function: str
    file: str
    first: int
    last: int  # inclusive; the last line before the next function of the file


class Hop(Record):
    """One stack frame of a call chain, and how it was reached from the one before."""

    function: str
    file: str  # of the call site in the caller that led here; the definition for the first hop
    line: int
    frame: int  # bytes, return address included
    depth: int  # bytes of this frame and all before it
    how: str  # "start", "direct", "address_space_operations.writepage of ext4_aops", ...
    inlined: tuple[str, ...] = ()  # functions inlined into the caller that make the call, outermost
    dynamic: bool = False  # gcc says that the frame has a part of unknown size


class Depth(Record):
    """How deep one chain of waypoints gets in one kernel, in bytes."""

    witness_bytes: int  # a path that exists in the graph: its hops add up to this
    upper_bytes: int  # no path through these waypoints under this policy is deeper
    hops: tuple[Hop, ...]
    cycles: tuple[str, ...] = ()  # recursion met on the way, and what each adds to the upper bound
    held: tuple[str, ...] = ()  # guards that keep the chain from happening in this context
    cut: int = 0  # calls that left the scope and were followed no further than the callee's frame


class Chain(Record):
    """The deepest stack through the waypoints of a profile, before and after a series."""

    profile: str  # e.g. "direct-reclaim-writepage"
    name: str  # the branch: a filesystem, e.g. "ext4"; "" where there is only one
    waypoints: tuple[str, ...]
    before: Depth | None  # None: cannot be reached
    after: Depth | None
    budget_bytes: int  # the stack that the architecture gives
    patch: int = 0  # index of the patch that opened or closed it, else moved it furthest; 0: none
    moves: tuple[tuple[int, int], ...] = ()  # (patch, bytes) of each patch that moved it


class GuardChange(Record):
    """A condition that a call was under, or is now: ways apart by "|", their tests by "&"."""

    caller: str
    callee: str  # "*": an indirect call
    file: str  # of the call as it stands now
    line: int
    clause: str  # e.g. "!folio_is_file_lru()|current_is_kswapd()"
    gained: bool  # False: lost
    patch: int
    object: str


class TargetChange(Record):
    """A function that an indirect call can newly reach, or no longer."""

    field: str  # e.g. "address_space_operations.writepage", or a variable
    function: str
    variable: str  # what is initialised with it, e.g. "ext4_aops"; "" where it is assigned
    added: bool
    patch: int


class StackResult(Record):
    """What a stack job answers; net of the whole series, attributed to patches."""

    version: Literal[1] = VERSION
    outcome: Outcome
    reason: str = ""
    frames: tuple[Frame, ...] = ()
    calls: tuple[Call, ...] = ()
    spans: tuple[Span, ...] = ()  # of the functions named in frames and calls
    chains: tuple[Chain, ...] = ()
    guards: tuple[GuardChange, ...] = ()
    targets: tuple[TargetChange, ...] = ()
    functions: int = 0  # compared
    objects: int = 0  # compared
    gone: str = ""  # artifact that is no longer there: the build is to be done again


class Kernel(Record):
    """A kernel that can be booted."""

    image: str  # artifact: a bzImage
    vmlinux: str | None = None  # artifact: the same with symbols, to decode what it says


class StressRequest(Record):
    """Boot a kernel, and the one before the series, under each profile on each filesystem."""

    version: Literal[1] = VERSION
    patched: Kernel
    base: Kernel | None = None  # None: nothing to compare with
    runs: tuple[tuple[Profile, Filesystem], ...]
    decoder: str | None = None  # artifact: the tree's scripts/decode_stacktrace.sh


class Ending(StrEnum):
    """How a guest went, as the host saw it; no two of them can be mistaken for one another."""

    DONE = "done"  # right exit code, whole account, every sensor alive
    CRASHED = "crashed"  # the kernel said so, and did not reach the end
    STALLED = "stalled"  # the guest itself saw that nothing moved any more
    HUNG = "hung"  # silent, and its processors idle
    SPUN = "spun"  # silent, and its processors busy
    SLOW = "slow"  # neither silent nor done when the time was up
    SETUP = "setup"  # the guest could not be prepared: `problem` says why
    KILLED = "killed"  # a process of the workload died by a signal that no OOM kill explains
    EARLY = "early"  # left before the account was whole, whatever its exit code
    FLOODED = "flooded"  # said more than it may
    FORGED = "forged"  # records that the guest's own program did not write
    DEAF = "deaf"  # a sensor did not prove itself
    BROKEN = "broken"  # QEMU itself failed


class ConsoleReport(Record):
    """Something bad that the kernel said of itself."""

    kind: str
    title: str  # without what differs from boot to boot
    first: str  # the first bad line as printed, without the time
    number: int  # of that line on the console, 1-based
    lines: tuple[str, ...]
    stack: tuple[str, ...]  # functions, innermost first
    function: str | None
    fingerprint: str
    decoded: tuple[str, ...] = ()  # lines with file and line, where that could be found out


# by which reclaim writes pages, in mm/vmscan.c of different years; as in guest/sensor.c
WRITERS = frozenset({"pageout", "shrink_folio_list", "shrink_page_list"})


def plain(function: str) -> str:
    """Return a function's name as its source spells it: gcc adds `.constprop.0`, `.part.1` …"""
    return function.partition(".")[0]


class StackSeen(Record):
    """A stack as the stack tracer saw it, most of them below pageout()."""

    depth: int  # bytes
    frames: tuple[tuple[str, int, int], ...]  # function, offset, bytes; innermost first

    @property
    def functions(self) -> tuple[str, ...]:
        """Return the functions as the source spells them, innermost first."""
        return tuple(plain(name) for name, _, _ in self.frames)

    @property
    def writes_pages(self) -> bool:
        """Whether it goes through the function by which reclaim writes pages."""
        return not WRITERS.isdisjoint(self.functions)


class DirectWrite(Record):
    """File folios that direct reclaim gave to ->writepage from one place."""

    task: str
    count: int
    stack: tuple[str, ...]  # innermost first


class Verified(Record):
    """A disk's file compared with what was written to it, after the disk was mounted anew."""

    filesystem: str
    pages: int
    bad: int
    unread: int
    shown: tuple[str, ...] = ()  # of the first bad pages: number, and zero, stale, torn or new


class Boot(Record):
    """One boot, by what was measured."""

    ending: Ending
    problem: str = ""  # one sentence where the ending needs one
    seconds: float
    accelerator: str  # "tcg" or "kvm"
    release: str = ""
    metrics: tuple[tuple[Metric, int], ...] = ()  # sorted by name
    counters: tuple[tuple[str, int], ...] = ()  # differences of vmstat and the like, sorted
    operations: int = 0
    direct_writes: tuple[DirectWrite, ...] = ()
    stacks: tuple[StackSeen, ...] = ()
    reports: tuple[ConsoleReport, ...] = ()
    verified: tuple[Verified, ...] = ()
    misread: int = 0  # times a process read something else than it had written, while it worked
    console: str | None = None  # artifact
    account: str | None = None  # artifact: the guest's records


class StressRun(Record):
    """A profile on a filesystem: boots of the base and of the patched kernel."""

    profile: Profile
    filesystem: Filesystem
    base: tuple[Boot, ...]
    patched: tuple[Boot, ...]
    kept: int = 0  # how many of the base's boots were made for an earlier series
    new_functions: tuple[str, ...] = ()  # on stacks of the patched kernel, and not in the base
    gone_functions: tuple[str, ...] = ()  # on stacks of the base, and not in the patched kernel
    jumping_calls: tuple[tuple[str, str], ...] = ()  # jumps in the base, without a frame
    qemu: str = ""  # the line that boots it by hand, once `stackhog stress --export guest` was run
    dumps: str | None = None  # artifact: stacks of the patched kernel as ftrace prints them


class StressResult(Record):
    """What a stress job answers: facts alone, judged by bot/review/stress.py."""

    version: Literal[1] = VERSION
    outcome: Outcome
    reason: str = ""
    accelerator: str = ""
    accelerator_reason: str = ""
    runs: tuple[StressRun, ...] = ()
    gone: str = ""  # artifact that is no longer there: the build is to be done again


class Progress(Record):
    """What a running job is doing, for the person who waits."""

    step: str
    done: int | None = None
    total: int | None = None
    stack: StackRequest | None = None  # set once, when the objects are there and the link runs on


class FindingKind(StrEnum):
    """What a finding is about."""

    DOES_NOT_APPLY = "does-not-apply"
    REFUSED = "refused"
    DOES_NOT_BUILD = "does-not-build"
    WARNING = "warning"
    FRAME_GREW = "frame-grew"
    FRAME_NEW = "frame-new"
    FRAME_DYNAMIC = "frame-dynamic"
    CALL_NEW = "call-new"
    CHAIN_REACHED = "chain-reached"
    CHAIN_GREW = "chain-grew"
    GUARD_LOST = "guard-lost"
    TARGET_NEW = "target-new"
    KERNEL_REPORT = "kernel-report"
    STALL = "stall"
    DIRECT_WRITE = "direct-write"
    DATA_LOST = "data-lost"
    OOM_KILL = "oom-kill"
    STACK_DEEPER = "stack-deeper"
    LESS_EFFICIENT = "less-efficient"
    ODD_GUEST = "odd-guest"


# what was seen in a running kernel
IN_GUESTS = frozenset({
    FindingKind.KERNEL_REPORT, FindingKind.STALL, FindingKind.DATA_LOST, FindingKind.DIRECT_WRITE,
    FindingKind.OOM_KILL, FindingKind.ODD_GUEST, FindingKind.STACK_DEEPER,
    FindingKind.LESS_EFFICIENT,
})  # fmt: skip


class Severity(StrEnum):
    """Whether policy lets a finding pass."""

    FAIL = "fail"
    NOTE = "note"


class Finding(Record):
    """One fact with its evidence: what, where, before, after, how to see it oneself."""

    kind: FindingKind
    severity: Severity
    patch: int
    file: str
    line: int | None
    function: str | None
    before: int | None
    after: int | None
    text: tuple[str, ...]  # evidence lines, e.g. gcc's own
    reproduce: str  # one command line, to be run in the kernel tree
