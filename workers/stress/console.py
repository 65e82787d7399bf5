"""Reads a guest kernel's console and returns the bad things that it says.

The kernel's lines begin with ``[    1.234567]`` (CONFIG_PRINTK_TIME) and, with
CONFIG_PRINTK_CALLER, with ``[   T12]`` or ``[    C1]``: the task or processor that printed them
(kernel/printk/printk.c, info_print_prefix()). All other lines are user space's.

Processors report at the same time. A line belongs to what its printer began to report last,
so that a report is built from streams, one for each printer. It has a head, the trace below
``Call Trace:`` (arch/x86/kernel/dumpstack.c, show_trace_log_lvl()) and a tail, where only what
is known to follow a trace still belongs to it.

Nothing of the text is trusted: patterns are bounded and lines cut, so that the time is linear.
``Report.lines`` and ``first`` may hold control characters, the other fields do not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from itertools import groupby
from typing import NamedTuple

from bot.contract import plain

LINE = 1024  # characters of a line that are read, as many as printk() keeps of one
TITLE = 120  # characters
QUIET = 10.0  # seconds of a printer's own clock between two lines that end a report
NESTED = 8  # reports that one printer may be in the midst of
UNDECIDED = 100  # lines between a mark and the line that says what it is about
INNERMOST = 4  # functions that tell one crash from another


class Kind(StrEnum):
    """What is wrong."""

    PANIC = "panic"
    BUG = "bug"
    OOPS = "oops"
    GENERAL_PROTECTION = "general-protection"
    WARNING = "warning"
    KASAN = "kasan"  # and its sisters KFENCE, KMSAN, KCSAN
    UBSAN = "ubsan"
    LIST = "list"
    SLAB = "slab"
    BAD_PAGE = "bad-page"
    LOCKDEP = "lockdep"
    ATOMIC_SLEEP = "atomic-sleep"
    HUNG_TASK = "hung-task"
    SOFT_LOCKUP = "soft-lockup"
    HARD_LOCKUP = "hard-lockup"
    WORKQUEUE = "workqueue"
    RCU_STALL = "rcu-stall"
    STACK_GUARD = "stack-guard"
    STACK_END = "stack-end"
    STACK_PROTECTOR = "stack-protector"
    ALLOCATION = "allocation"
    OOM_KILL = "oom-kill"
    FILESYSTEM = "filesystem"


@dataclass(frozen=True)
class Report:
    """One bad thing."""

    kind: Kind
    title: str  # the same in every boot: no addresses, pids, processors, times, line numbers
    first: str  # the line that says what it is, as printed but for its prefix
    number: int  # of that line, 1-based
    lines: tuple[str, ...]  # without prefixes and without the lines of other printers
    stack: tuple[str, ...]  # functions as the source spells them, innermost first
    function: str | None  # where it happened
    fingerprint: str  # 16 hexadecimal digits, of kind, title and innermost functions
    panicked: bool  # whether the kernel ended by it


class Sign(NamedTuple):
    """A line that begins a report; groups what, more, file and function make up its title."""

    kind: Kind
    pattern: re.Pattern[str]
    title: str = ""  # in place of what
    ends: re.Pattern[str] | None = None  # its last line
    body: re.Pattern[str] | None = None  # all that may follow the line
    joins: frozenset[Kind] = frozenset()  # whose head it is a part of, if it comes there


DYING = frozenset({
    Kind.BUG, Kind.OOPS, Kind.GENERAL_PROTECTION, Kind.LIST, Kind.STACK_GUARD, Kind.STACK_END,
})  # fmt: skip
STALLS = frozenset({Kind.SOFT_LOCKUP, Kind.HARD_LOCKUP, Kind.RCU_STALL})
PANICS = frozenset({Kind.PANIC, Kind.STACK_PROTECTOR})
# whose innermost functions are the way to the one that matters: a lock's, an allocator's
WAYS = frozenset({
    Kind.LOCKDEP, Kind.ATOMIC_SLEEP, Kind.HUNG_TASK, Kind.ALLOCATION, Kind.OOM_KILL, Kind.SLAB,
    Kind.BAD_PAGE, Kind.STACK_END,
})  # fmt: skip

PREFIX = re.compile(
    r"\[ {0,11}(?P<time>\d{1,10}\.\d{6})\](?:\[ {0,9}(?P<caller>[TC]\d{1,10})\])? ?", re.ASCII
)
PANIC = "Kernel panic - not syncing: "  # kernel/panic.c, panic()
NAME = r"(?P<function>[A-Za-z_][\w.]{0,120})"
AT = NAME + r"\+0x"
FILE = r"(?:\[.{1,200}\] )?(?P<file>[^\s:]{1,200}):\d{1,7}"  # behind a condition, since 6.19
CUT = re.compile(r"-+\[ cut here \]-+$")  # include/asm-generic/bug.h, CUT_HERE
RULE = re.compile(r"={20,}$")
PAGE = re.compile(r"(?:page: ?|vma |mm )[0-9a-f(r]")  # mm/debug.c, before a VM_BUG_ON_PAGE()
END_TRACE = re.compile(r"---\[ end trace ")  # kernel/panic.c, print_oops_end_marker()
ENDED = re.compile(f"{RULE.pattern}|{END_TRACE.pattern}")
KILLED = re.compile(r"(?:Memory cgroup out|Out) of memory\b.{0,40}: Killed process ")
NOTHING = re.compile(r"(?!)")
WORKQUEUES = re.compile(r"Showing |workqueue |pool | {2}")  # kernel/workqueue.c, show_*()
DUMP = re.compile(r"XFS \([^)]{1,40}\): (?:Unmount and run|First \d)|[0-9a-f]{8}: ")
LOCKING = "|".join((
    r"possible circular locking dependency detected", r"possible recursive locking detected",
    r"possible irq lock inversion dependency detected", r"inconsistent lock state",
    r"\S{1,20}-safe -> \S{1,20}-unsafe lock order detected", r"suspicious RCU usage",
    r"Invalid wait context", r"bad (?:unlock balance|contention) detected",
    r"Nested lock was not taken", r"held lock freed", r"chain_key collision",
    r"lock held when returning to user space", r"trying to register non-static key",
))  # fmt: skip


def _sign(
    kind: Kind, pattern: str, title: str = "", ends: re.Pattern[str] | None = None,
    body: re.Pattern[str] | None = None, joins: Iterable[Kind] = (),
) -> Sign:  # fmt: skip
    return Sign(kind, re.compile(pattern, re.ASCII), title, ends, body, frozenset(joins))


SIGNS = (
    # schedule_debug in kernel/sched/core.c and __stack_chk_fail in kernel/panic.c
    _sign(Kind.STACK_END, PANIC + r"(?P<what>corrupted (?:shadow )?stack .{0,20}inside scheduler)"),
    _sign(Kind.STACK_PROTECTOR, PANIC + rf"stack-protector: .{{1,40}} in: (?:{AT})?",
          "stack-protector: Kernel stack is corrupted"),
    _sign(Kind.PANIC, PANIC + "(?P<more>.*)", "Kernel panic"),
    # lib/list_debug.c with CHECK_DATA_CORRUPTION of include/linux/bug.h: in front of the next
    _sign(Kind.LIST, r"(?P<what>list_(?:add|del)\w{0,20} corruption)"),
    # __warn in kernel/panic.c, since 6.19 the second form, and report_bug in lib/bug.c
    _sign(Kind.WARNING, rf"(?P<what>WARNING): CPU: \d{{1,5}} PID: \d{{1,10}} at (?:{FILE} )?{AT}",
          ends=END_TRACE, joins={Kind.LIST}),
    _sign(Kind.WARNING, rf"(?P<what>WARNING): (?:{FILE} )?at {AT}",
          ends=END_TRACE, joins={Kind.LIST}),
    _sign(Kind.BUG, rf"(?P<what>kernel BUG) at {FILE}!", joins={Kind.LIST}),
    # handle_stack_overflow in arch/x86/kernel/traps.c
    _sign(Kind.STACK_GUARD, r"(?P<what>BUG: (?:[\w-]{1,20} )?stack guard page was hit) at "),
    # show_fault_oops in arch/x86/mm/fault.c, with other words until 5.1
    _sign(Kind.OOPS, r"(?P<what>BUG: (?:kernel NULL pointer dereference|unable to handle "
          r"(?:page fault|kernel [\w ]{1,40}?)))(?:,| for| at) "),
    _sign(Kind.OOPS, r"(?:traps: )?PANIC: (?P<what>double fault)"),
    # __die_header in arch/x86/kernel/dumpstack.c
    _sign(Kind.GENERAL_PROTECTION,
          r"(?:Oops: ){0,2}(?P<what>general protection fault)\b.{0,100}: [0-9a-f]{4} \[#\d"),
    _sign(Kind.OOPS, r"(?:Oops: ){0,2}(?P<what>[A-Za-z][A-Za-z0-9 ,-]{1,50}): [0-9a-f]{4} \[#\d",
          joins=DYING),
    # print_error_description in mm/kasan/report.c and ubsan_prologue in lib/ubsan.c
    _sign(Kind.KASAN, rf"(?P<what>BUG: K(?:[ACM]SAN|FENCE): [\w -]{{1,60}}?)(?: in (?:{NAME}|)|$)",
          ends=RULE),
    _sign(Kind.UBSAN, rf"(?P<what>UBSAN: [\w -]{{1,60}}?) in {FILE}", ends=ENDED),
    # slab_bug in mm/slub.c, bad_page in mm/page_alloc.c, print_bad_pte in mm/memory.c
    _sign(Kind.SLAB, r"(?P<what>BUG [^\s(]{1,60}) \((?:Not t|T)ainted[^)]{0,40}\): (?P<more>.+)"),
    _sign(Kind.BAD_PAGE, r"(?P<what>BUG: Bad page (?:state|map|cache)) in process "),
    # check_mm in kernel/fork.c
    _sign(Kind.BAD_PAGE, r"(?P<what>BUG: (?:Bad rss-counter state|non-zero pgtables_bytes))",
          body=NOTHING),
    # kernel/locking/lockdep.c
    _sign(Kind.LOCKDEP, rf"(?:\[ )?(?P<what>(?:WARNING|BUG|INFO): (?:{LOCKING}))"),
    _sign(Kind.LOCKDEP, r"WARNING: .{1,40} still has locks held!", "WARNING: still has locks held"),
    _sign(Kind.LOCKDEP, r"(?P<what>BUG: MAX_\w{1,40} too low)!"),
    # __might_resched, __schedule_bug and schedule_debug in kernel/sched/core.c
    _sign(Kind.ATOMIC_SLEEP, r"(?P<what>BUG: (?:sleeping function called from invalid context|"
          r"scheduling (?:while atomic|in a non-blocking section)|assuming atomic context))"),
    # check_hung_task in kernel/hung_task.c and watchdog_timer_fn in kernel/watchdog.c
    _sign(Kind.HUNG_TASK, r"INFO: task .{1,40}:\d{1,10} blocked .{0,20}for more than \d",
          "INFO: task blocked for too long"),
    _sign(Kind.SOFT_LOCKUP, r"(?:(?:NMI )?watchdog: )?(?P<what>BUG: soft lockup) - CPU#\d"),
    _sign(Kind.HARD_LOCKUP, r"(?:(?:NMI )?watchdog: )?(?:CPU\d{1,5}: )?"
          r"(?P<what>Watchdog detected hard LOCKUP) on cpu \d"),
    _sign(Kind.WORKQUEUE, r"(?:workqueue: )?(?P<what>BUG: workqueue lockup) - pool",
          body=WORKQUEUES),
    # kernel/rcu/tree_stall.h, tree_exp.h and tasks.h
    _sign(Kind.RCU_STALL, r"(?:rcu: )?INFO: \w{1,40} (?:self-)?detected (?:expedited )?stalls? on ",
          "INFO: RCU stall"),
    # warn_alloc in mm/page_alloc.c, dump_header and __oom_kill_process in mm/oom_kill.c
    _sign(Kind.ALLOCATION, r".{1,32}: (?P<what>page allocation failure|vmalloc error): "),
    _sign(Kind.OOM_KILL, r".{1,32} invoked oom-killer: gfp_mask=", "out of memory", ends=KILLED),
    _sign(Kind.OOM_KILL, KILLED.pattern, "out of memory: killed a process", body=NOTHING),
    # fs/ext4/super.c, fs/ext2/super.c, fs/fat/misc.c, fs/xfs/xfs_error.c
    _sign(Kind.FILESYSTEM, r"(?P<what>EXT4-fs error) \(device [^)]{1,40}\)(?::| in) "
          r"(?P<function>\w{1,80}):\d", body=NOTHING),
    _sign(Kind.FILESYSTEM, r"EXT2-fs \([^)]{1,40}\): error: (?P<function>\w{1,80}): ",
          "EXT2-fs error", body=NOTHING),
    _sign(Kind.FILESYSTEM, r"FAT-fs \([^)]{1,40}\): error, (?:(?P<function>\w{1,80}): )?"
          r"(?P<more>[a-zA-Z ]{1,60})", "FAT-fs error", body=NOTHING),
    _sign(Kind.FILESYSTEM, r"XFS \([^)]{1,40}\): (?P<more>Metadata [\w ]{1,20} detected) at " + AT,
          "XFS error", body=DUMP),
    _sign(Kind.FILESYSTEM, rf"XFS \([^)]{{1,40}}\): Internal error .{{1,200}}  Caller {AT}",
          "XFS internal error"),
    # spin_dump in kernel/locking/spinlock_debug.c, and all else that calls itself a bug
    _sign(Kind.BUG, r"(?P<what>BUG: (?:spin|rw)lock [\w ]{1,30}) on CPU#"),
    _sign(Kind.BUG, r"(?P<what>BUG: (?:using \w{1,40}\(\) in|workqueue leaked lock or atomic))\b"),
    _sign(Kind.BUG, r"(?P<what>BUG: (?!.{1,60} messages suppressed).+)"),
)  # fmt: skip
# one search instead of one for each sign, for the many lines that are none
ANY_SIGN = re.compile(
    "|".join(re.sub(r"\?P<\w+>", "?:", one.pattern.pattern) for one in SIGNS), re.ASCII
)

CONSEQUENCES = (  # panics that end a report: text, its kinds, whether by the same printer alone
    (r"Fatal exception|Machine halted|\w{1,20} stack guard hit|Oops", DYING, False),
    (r"Attempted to kill |Aiee, killing ", DYING, True),
    (r"softlockup: hung tasks", {Kind.SOFT_LOCKUP}, False),
    (r"hung_task: blocked tasks", {Kind.HUNG_TASK}, False),
    (r"Hard LOCKUP", {Kind.HARD_LOCKUP}, False),
    (r"RCU Stall", {Kind.RCU_STALL}, False),
    (r"Out of memory: |System is deadlocked on memory", {Kind.OOM_KILL}, False),
    (r"(?:EXT4|EXT2|FAT)-fs.{0,40} panic ", {Kind.FILESYSTEM}, False),
    (r".{1,40}: panic_on_warn set|.{1,40}: system warned too often", set(Kind) - PANICS, False),
    (r"panic_on_taint set|k[ac]san\.fault=panic set", set(Kind) - PANICS, False),
)  # fmt: skip

RIP = re.compile(rf"RIP: 0010:{AT}", re.ASCII)  # 10 is __KERNEL_CS, user space has 33
CALL = re.compile(rf" (?P<guess>\? )?{AT}", re.ASCII)
REGISTERS = r"(?:R[A-Z0-9]{2}|[RE]?FLAGS|[C-GS]S|[CD]R\d|PKRU|Code):"
IN_TRACE = re.compile(rf"\s|{REGISTERS}")
TAIL = re.compile("|".join((
    rf"\s|$|{REGISTERS}", r"Modules linked in:|CPU: \d|Call Trace:|task:|Task dump for |rcu: ",
    r"---\[ end |note: |Kernel Offset: |Rebooting in |Shutting down cpus |Dumping ftrace buffer:",
    r"Mem-Info:|active_anon:|Node \d|(?:DMA|DMA32|Normal|Movable|Device)[ :]|lowmem_reserve",
    r"\d+ (?:total pagecache )?pages\b|(?:Free|Total) swap |(?:page|raw|flags|head):",
    r"irq event stamp: |(?:hard|soft)irqs last |INFO: lockdep is turned off|={20,}$|FIX \S{1,60}: ",
    r"Showing all locks held|\d+ locks? held by |no locks held by |Sending NMI from ",
    r"NMI backtrace for |Disabling lock debugging due to |Hardware name: |Workqueue: ",
)))  # fmt: skip
NMI_TRACE = " <NMI>"
NMI = re.compile(r"NMI backtrace for cpu \d")  # lib/nmi_backtrace.c, nmi_cpu_backtrace()
# rcu_check_gp_kthread_starvation of kernel/rcu/tree_stall.h: not the stack that stalls
OTHER_STACK = re.compile(r"rcu: (?:RCU grace-period kthread stack|Stack) dump\b")
OVERRUN = "Thread overran stack"  # arch/x86/mm/fault.c, page_fault_oops()
# functions that print a report or lead to it
REPORTING = re.compile("|".join((
    r"(?:__)?dump_(?:stack(?:_lvl)?|header|page)|show_stack|print_\w+|__warn\w*|warn_slowpath\w*",
    r"report_bug|handle_bug|asm_\w+|exc_\w+|(?:__)?sysvec_\w+|common_interrupt|error_entry",
    r"do_(?:error_)?trap|die(?:_addr)?|oops_end|page_fault_oops|(?:__)?bad_area\w*|no_context",
    r"kernelmode_fixup_or_oops|do_(?:user|kern)_addr_fault|handle_stack_overflow|end_repeat_nmi",
    r"(?:nmi_)?panic|check_panic_on_warn|__stack_chk_fail|unknown_nmi_error|default_do_nmi",
    r"_*(?:kasan|asan|kfence|kmsan|kcsan|ubsan)_\w+|(?:start|end)_report",
    r"(?:__)?lock_(?:acquire|release|downgrade)|reacquire_held_locks|lockdep_\w+|validate_chain",
    r"check_(?:noncircular|prev\w*|irq_usage|deadlock|usage\w*)|mark_(?:lock|usage|held)\w*",
    r"_*might_(?:sleep|resched|fault)|__cant_\w+|__schedule_bug|spin_(?:bug|dump)|do_raw_\w+",
    r"__list_(?:add|del)\w*valid\w*|refcount_warn_saturate|usercopy_abort|fortify_panic",
    r"__check_(?:heap_object|object_size)|bad_page|print_bad_pte|object_err|slab_err",
    r"check_(?:bytes_and_report|object|slab)|(?:alloc|free)_debug_processing|warn_alloc",
    r"oom_kill_process|(?:mem_cgroup_)?out_of_memory|watchdog_timer_fn|nmi_cpu_backtrace\w*",
    r"(?:arch_|nmi_)?trigger_\w*backtrace\w*|rcu_(?:dump_cpu_stacks|sched_clock_irq)",
)))  # fmt: skip
# functions between what matters and the report, in the kinds of WAYS
WAY = re.compile("|".join((
    r"__schedule|schedule(?:_timeout\w*|_preempt_disabled|_hrtimeout\w*)?|io_schedule\w*",
    r"_*wait_for_(?:common|completion)\w*|_raw_\w+|(?:_*mutex|ww_mutex|rt_mutex)_\w+",
    r"_*(?:percpu_)?(?:down|up)_(?:read|write)\w*|rwsem_(?:down|wake)\w*|fs_reclaim_\w+",
    r"_*alloc_pages\w*|_*folio_alloc\w*|_*get_free_pages|_*kv?[mz]?alloc\w*|_*v[mz]alloc\w*",
    r"_*kmem_cache_(?:alloc|free)\w*|_*slab_(?:alloc|free)\w*|slab_pre_alloc_hook|might_alloc",
    r"_*kv?free\w*|free_to_partial_list|free_(?:pcp|unref)_\w+",
)))  # fmt: skip
STABLE = re.compile(r"(?<![\w.-])(?:0x[0-9a-f]+|[0-9a-f]*\d[0-9a-f]*)(?!\w)")
UNPRINTABLE = re.compile(r"[^ -~]")


def reports(console: str) -> tuple[Report, ...]:
    """Return what the kernel says of itself that is bad, in the order of the lines."""
    reader = _Reader()
    for line in _lines(console):
        reader.read(line)
    return tuple(_report(one) for one in sorted(reader.end(), key=lambda one: one.number))


class _Line(NamedTuple):
    number: int
    time: float  # seconds
    printer: str  # "" without CONFIG_PRINTK_CALLER
    text: str


def _lines(console: str) -> Iterator[_Line]:
    """Yield the kernel's lines; one may begin in the midst of user space's."""
    number, counted = 1, 0
    found = PREFIX.finditer(console)
    prefix = next(found, None)
    while prefix is not None:
        following = next(found, None)
        begin, end = prefix.end(), following.start() if following else len(console)
        text = console[begin : min(end, begin + LINE)].partition("\n")[0].rstrip()
        number += console.count("\n", counted, begin)
        counted = begin
        yield _Line(number, float(prefix["time"]), prefix["caller"] or "", text)
        prefix = following


class _At(Enum):
    HEAD = auto()
    TRACE = auto()
    TAIL = auto()
    OTHER = auto()  # a trace that is not the report's


@dataclass
class _Draft:
    """A report that is being read."""

    kind: Kind
    title: str
    named: str  # the function that its first line names
    first: str
    number: int
    printer: str
    ends: re.Pattern[str] | None
    body: re.Pattern[str] | None
    panicked: bool
    streams: list[_Stream] = field(default_factory=list)


@dataclass
class _Stream:
    """What one printer says of a report, or, without a draft, of what may become one."""

    time: float
    mark: _Line | None = None
    draft: _Draft | None = None
    lines: list[str] = field(default_factory=list)
    at: _At = _At.HEAD
    rip: str = ""
    calls: list[str] = field(default_factory=list)
    interrupted: int = -1  # index in calls of the first function that an interrupt came upon

    def takes(self, text: str) -> bool:
        """Whether a line that begins nothing belongs here."""
        draft = self.draft
        if draft is None:
            return len(self.lines) < UNDECIDED and not RULE.match(self.lines[0])
        if draft.panicked:
            return True
        if draft.body:
            return bool(draft.body.match(text))
        return bool(draft.ends or self.at in {_At.HEAD, _At.OTHER} or TAIL.match(text))

    def over(self) -> bool:
        """Whether all that is needed of the report was read."""
        draft = self.draft
        if draft is None:
            return True
        read = draft.body or (self.at is _At.TAIL and not draft.ends)
        return bool(read) and not draft.panicked

    def add(self, text: str) -> None:
        self.lines.append(text)
        if OTHER_STACK.match(text):
            self.at = _At.OTHER
        elif self.at is _At.OTHER:
            self.at = _At.HEAD if text == " </TASK>" else _At.OTHER
        elif self.at is _At.HEAD:
            self._add_to_head(text)
        elif self.at is _At.TRACE:
            self._add_to_trace(text)

    def _add_to_head(self, text: str) -> None:
        if text == "Call Trace:":
            self.at = _At.TRACE
        elif not self.rip and (found := RIP.match(text)):
            self.rip = found["function"]
        elif self.draft and self.draft.kind is Kind.OOPS and text.startswith(OVERRUN):
            self.draft.kind = Kind.STACK_END

    def _add_to_trace(self, text: str) -> None:
        if found := CALL.match(text):
            if not found["guess"]:
                self.calls.append(found["function"])
        elif found := RIP.match(text):
            # the unwinder prints registers in place of the function that was interrupted
            self.interrupted = len(self.calls) if self.interrupted < 0 else self.interrupted
            self.calls.append(found["function"])
        elif text == " </TASK>" or not IN_TRACE.match(text):
            self.at = _At.TAIL


class _Reader:
    def __init__(self) -> None:
        self.drafts: list[_Draft] = []
        self.open: dict[str, list[_Stream]] = {}  # by printer, the innermost last
        self.latest: dict[tuple[str | None, Kind], _Draft] = {}  # by printer, None for any

    def read(self, line: _Line) -> None:
        streams = self.open.setdefault(line.printer, [])
        while streams and line.time - streams[-1].time > QUIET:
            self._close(streams)
        if _ends(streams, line.text):
            self._feed(streams, line.text)
        elif ANY_SIGN.match(line.text):
            self._begin(streams, line)
        elif CUT.match(line.text):
            self._cut(streams, line)
        elif NMI.match(line.text) and self.drafts and self.drafts[-1].kind in STALLS:
            self._follow(streams, self.drafts[-1], line)
        elif RULE.match(line.text) or (
            not self._feed(streams, line.text) and PAGE.match(line.text)
        ):
            self._set_aside(streams, line)
        if streams:
            streams[-1].time = line.time
        del streams[:-NESTED]

    def end(self) -> list[_Draft]:
        """Return all, closing what the log's end cut off."""
        for streams in self.open.values():
            while streams:
                self._close(streams)
        return self.drafts

    def _begin(self, streams: list[_Stream], line: _Line) -> None:
        sign, found = _which(line.text)
        panic = line.text.startswith(PANIC)
        if panic and (cause := self._cause(line)):
            cause.panicked = True
            self._follow(streams, cause, line)
            return
        top = streams[-1] if streams else None
        if top and top.draft and top.at is _At.HEAD and top.draft.kind in sign.joins:
            top.draft.ends = top.draft.ends or sign.ends
            top.add(line.text)
            return
        if not (top and top.draft is None):
            self._settle(streams)
            streams.append(_Stream(line.time))
        groups = found.groupdict()
        draft = _Draft(
            sign.kind, _title(sign, found), groups.get("function") or "", line.text, line.number,
            line.printer, sign.ends, sign.body, panic,
        )  # fmt: skip
        self._draft(streams[-1], draft)
        streams[-1].add(line.text)

    def _draft(self, stream: _Stream, draft: _Draft) -> None:
        stream.draft = draft
        draft.streams.append(stream)
        self.drafts.append(draft)
        self.latest[draft.printer, draft.kind] = self.latest[None, draft.kind] = draft

    def _cause(self, line: _Line) -> _Draft | None:
        """Return the report that a panic ends, None if the panic is one of its own."""
        for pattern, kinds, alone in CONSEQUENCES:
            if re.match(pattern, line.text.removeprefix(PANIC)):
                for printer in (line.printer,) if alone else (line.printer, None):
                    found = [self.latest.get((printer, kind)) for kind in kinds]
                    if any(found):
                        return max((one for one in found if one), key=lambda one: one.number)
        return None

    def _follow(self, streams: list[_Stream], draft: _Draft, line: _Line) -> None:
        """Add a line to a report, of another printer if need be."""
        if any(one.draft is draft for one in streams):
            while streams[-1].draft is not draft:
                self._close(streams)
        else:
            self._settle(streams)
            streams.append(_Stream(line.time, draft=draft))
            draft.streams.append(streams[-1])
        streams[-1].add(line.text)

    def _cut(self, streams: list[_Stream], line: _Line) -> None:
        top = streams[-1] if streams else None
        if top and top.draft and top.draft.kind is Kind.LIST and top.at is _At.HEAD:
            top.add(line.text)
        elif top and top.draft is None and PAGE.match(top.lines[0]):
            top.mark = line
            top.add(line.text)
        else:
            self._settle(streams)
            self._set_aside(streams, line)

    def _set_aside(self, streams: list[_Stream], line: _Line) -> None:
        """Keep a line that may be the first of a report."""
        if streams and streams[-1].draft is None:
            self._close(streams)
        streams.append(_Stream(line.time, line, lines=[line.text]))

    def _settle(self, streams: list[_Stream]) -> None:
        while streams and streams[-1].over():
            self._close(streams)

    def _close(self, streams: list[_Stream]) -> None:
        stream = streams.pop()
        if stream.draft or not stream.mark:
            return
        if CUT.match(stream.mark.text):
            # only a warning or a bug begins so: the line that tells which was lost
            mark = stream.mark
            draft = _Draft(Kind.WARNING, "cut here", "", mark.text, mark.number, mark.printer,
                           END_TRACE, None, panicked=False)  # fmt: skip
            self._draft(stream, draft)
            return
        for text in stream.lines:
            self._feed(streams, text)

    def _feed(self, streams: list[_Stream], text: str) -> bool:
        """Add a line to the innermost report that takes it; return whether that was done."""
        while streams and not streams[-1].takes(text):
            self._close(streams)
        if not streams:
            return False
        ends = _ends(streams, text)
        streams[-1].add(text)
        if ends:
            streams.pop()
        return True


def _ends(streams: list[_Stream], text: str) -> bool:
    draft = streams[-1].draft if streams else None
    return bool(draft and draft.ends and draft.ends.match(text) and not draft.panicked)


def _which(text: str) -> tuple[Sign, re.Match[str]]:
    return next((one, found) for one in SIGNS if (found := one.pattern.match(text)))


def _title(sign: Sign, found: re.Match[str]) -> str:
    groups = found.groupdict()
    more, file = groups.get("more"), groups.get("file")
    title = (sign.title or groups["what"]) + (f": {more.rstrip()}" if more else "")
    title = STABLE.sub("N", UNPRINTABLE.sub("?", title)[:TITLE])
    return title + (f" at {UNPRINTABLE.sub('?', file)}" if file else "")


def _is_way(function: str, ways: bool) -> bool:  # noqa: FBT001 - private
    return bool(REPORTING.fullmatch(function) or (ways and WAY.fullmatch(function)))


def _report(draft: _Draft) -> Report:
    lines = [text for stream in draft.streams for text in stream.lines]
    while not lines[-1]:
        lines.pop()
    # one that saw another processor stall shows the stack of that one alone
    stream = next((one for one in draft.streams if one.calls or one.rip), draft.streams[0])
    asked = draft.kind in STALLS or NMI_TRACE in stream.lines
    calls = stream.calls[max(stream.interrupted, 0) if asked and not stream.rip else 0 :]
    ways = draft.kind in WAYS
    stack = tuple(name for name in map(plain, calls) if not _is_way(name, ways))
    candidates = (plain(draft.named), plain(stream.rip), *stack)
    function = next((one for one in candidates if one and not _is_way(one, ways)), None)
    title = f"{draft.title} in {function}" if function else draft.title
    innermost = [one for one, _ in groupby((function, *stack))][:INNERMOST]
    text = "\0".join((draft.kind, title, *map(str, innermost)))
    return Report(
        draft.kind, title, draft.first, draft.number, tuple(lines), stack, function,
        hashlib.sha256(text.encode()).hexdigest()[:16], draft.panicked,
    )  # fmt: skip
