"""Logs were recorded from QEMU guests, except for those whose names end in -written."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.stress.console import Kind, Report, reports

LOGS = Path(__file__).parent / "data" / "console"
PREFIX = re.compile(r"\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? ?")
AT = "[   12.345678][   T58] "
MEGABYTES = 4

# log: (kind, title, whether the kernel ended by it) of each report
OOPS = (Kind.OOPS, "BUG: kernel NULL pointer dereference in lkdtm_EXCEPTION")
BUG = (Kind.BUG, "kernel BUG at drivers/misc/lkdtm/bugs.c in lkdtm_BUG")
WARNING = (Kind.WARNING, "WARNING at drivers/misc/lkdtm/bugs.c in lkdtm_WARNING", False)
MESSAGE = (Kind.WARNING, "WARNING at drivers/misc/lkdtm/bugs.c in lkdtm_WARNING_MESSAGE", False)
HUNG = (Kind.HUNG_TASK, "INFO: task blocked for too long in direct_entry")
STALL = (Kind.RCU_STALL, "INFO: RCU stall in lkdtm_HARDLOCKUP", False)
FREED = (
    "BUG lkdtm-heap-double_free: Slab has N allocated objects but N are to be freed in direct_entry"
)
WORKQUEUE = (Kind.WORKQUEUE, "BUG: workqueue lockup", False)
EXPECTED: dict[str, tuple[tuple[Kind, str, bool], ...]] = {
    "plain": (),
    "plain-debug": (),
    "panic": ((Kind.PANIC, "Kernel panic: dumptest in lkdtm_PANIC", True),),
    "panic-init": (
        (Kind.PANIC, "Kernel panic: Attempted to kill init! exitcode=N in do_exit", True),
    ),
    "panic-nmi": ((Kind.PANIC, "Kernel panic: NMI: Not continuing in amd_e400_idle", True),),
    "oops": ((*OOPS, True),),
    "oops-in-init": ((*OOPS, True),),
    "oops-survived": ((*OOPS, False), WARNING, (*OOPS, False)),
    "oops-write-protected": (
        (Kind.OOPS, "BUG: unable to handle page fault in lkdtm_WRITE_RO", True),
    ),
    "oopses-at-once": ((*OOPS, True), (*BUG, False)),
    "double-fault": ((Kind.OOPS, "double fault in no_stack", True),),
    "general-protection": (
        (Kind.GENERAL_PROTECTION, "general protection fault in follow_poison", True),
    ),
    "general-protection-timer": (
        (Kind.GENERAL_PROTECTION, "general protection fault in dereference_in_timer", True),
    ),
    "bug": ((*BUG, True),),
    "vm-bug": ((Kind.BUG, "kernel BUG at drivers/crash/crash.c in assert_page", True),),
    "usercopy": ((Kind.BUG, "kernel BUG at mm/usercopy.c in lkdtm_USERCOPY_KERNEL", True),),
    "spinlock": ((Kind.BUG, "BUG: spinlock bad magic in bad_magic", False),),
    "warning": (WARNING, MESSAGE),
    "warning-panic": ((*WARNING[:2], True),),
    "warning-folio": (
        (Kind.WARNING, "WARNING at drivers/crash/crash.c in warn_folio", False),
    ),
    "warnings-at-once": (
        (Kind.WARNING, "WARNING at drivers/crash/crash.c in bad_spin_both", False),
        (Kind.WARNING, "WARNING at drivers/crash/crash.c in bad_spin_both", False),
    ),
    "warning-since-6.19-written": (WARNING,),
    "refcount": ((Kind.WARNING, "WARNING at lib/refcount.c in lkdtm_REFCOUNT_INC_ZERO", False),),
    "kasan": ((Kind.KASAN, "BUG: KASAN: use-after-free in lkdtm_READ_AFTER_FREE", False),),
    "kasan-and-warning": (
        MESSAGE,
        (Kind.KASAN, "BUG: KASAN: use-after-free in lkdtm_READ_AFTER_FREE", False),
    ),
    "kasan-and-oops": (
        (Kind.KASAN, "BUG: KASAN: null-ptr-deref in lkdtm_EXCEPTION", False),
        (*OOPS, True),
    ),
    "ubsan": (
        (
            Kind.UBSAN,
            "UBSAN: array-index-out-of-bounds at drivers/misc/lkdtm/bugs.c in lkdtm_ARRAY_BOUNDS",
            False,
        ),
    ),
    "list-add": ((Kind.LIST, "list_add corruption in lkdtm_CORRUPT_LIST_ADD", False),),
    "slab": (
        (
            Kind.SLAB,
            FREED,
            False,
        ),
    ),
    "bad-page": ((Kind.BAD_PAGE, "BUG: Bad page state in crash_init", False),),
    "lockdep-circular": (
        (
            Kind.LOCKDEP,
            "WARNING: possible circular locking dependency detected in take_in_reverse",
            False,
        ),
    ),
    "lockdep-reclaim": (
        (
            Kind.LOCKDEP,
            "WARNING: possible circular locking dependency detected in take_fs_reclaim",
            False,
        ),
    ),
    "lockdep-recursive": (
        (Kind.LOCKDEP, "WARNING: possible recursive locking detected in read_twice", False),
    ),
    "lockdep-inconsistent": (
        (Kind.LOCKDEP, "WARNING: inconsistent lock state in inconsistent", False),
    ),
    "lockdep-inversion-cut": (
        (
            Kind.LOCKDEP,
            "WARNING: possible irq lock inversion dependency detected in in_timer",
            False,
        ),
    ),
    "lockdep-rcu": (
        (Kind.LOCKDEP, "WARNING: suspicious RCU usage in read_without_lock", False),
    ),
    "lockdep-unlock": (
        (Kind.LOCKDEP, "WARNING: bad unlock balance detected in crash_init", False),
    ),
    "atomic-sleep": (
        (
            Kind.ATOMIC_SLEEP,
            "BUG: sleeping function called from invalid context in sleep_in_atomic",
            False,
        ),
        (Kind.LOCKDEP, "BUG: Invalid wait context in sleep_in_atomic", False),
    ),
    "atomic-schedule": (
        (Kind.ATOMIC_SLEEP, "BUG: scheduling while atomic in schedule_in_atomic", False),
        (Kind.WARNING, "WARNING at init/main.c in do_one_initcall", False),
    ),
    "hung-task": ((*HUNG, False),) * 3,
    "hung-task-locks": ((*HUNG, False),),
    "hung-task-panic": ((*HUNG, False), (*HUNG, True)),
    "soft-lockup": ((Kind.SOFT_LOCKUP, "BUG: soft lockup in lkdtm_SOFTLOCKUP", True),),
    "hard-lockup-written": (
        (Kind.HARD_LOCKUP, "Watchdog detected hard LOCKUP in lkdtm_HARDLOCKUP", True),
    ),
    "workqueue": (
        WORKQUEUE, WORKQUEUE, (Kind.SOFT_LOCKUP, "BUG: soft lockup in spin", False), WORKQUEUE,
    ),
    "rcu-stall": ((Kind.RCU_STALL, "INFO: RCU stall in lkdtm_LOOP", False),),
    "rcu-stall-remote": (STALL, STALL),
    "rcu-stall-expedited": (STALL,),
    "stack-guard": (
        (Kind.STACK_GUARD, "BUG: TASK stack guard page was hit in recursive_loop", True),
    ),
    "stack-end": (
        (Kind.STACK_END, "corrupted stack end detected inside scheduler in crash_init", True),
    ),
    "stack-overrun": (
        (Kind.STACK_END, "BUG: kernel NULL pointer dereference in overrun", True),
    ),
    "stack-protector": (
        (Kind.STACK_PROTECTOR, "stack-protector: Kernel stack is corrupted in overflow", True),
    ),
    "allocation": ((Kind.ALLOCATION, "page allocation failure in allocate_much", False),),
    "allocation-vmalloc": ((Kind.ALLOCATION, "vmalloc error in crash_init", False),),
    "oom-kill": ((Kind.OOM_KILL, "out of memory in __handle_mm_fault", False),),
    "oom-panic": ((Kind.OOM_KILL, "out of memory in __handle_mm_fault", True),),
    "ext4": ((Kind.FILESYSTEM, "EXT4-fs error in __ext4_iget", False),) * 2,
    "ext4-panic": ((Kind.FILESYSTEM, "EXT4-fs error in __ext4_iget", True),),
    "ext2": ((Kind.FILESYSTEM, "EXT2-fs error in ext2_check_page", False),),
    "fat": (
        *((Kind.FILESYSTEM, "FAT-fs error: detected the cluster chain loop in fat_get_cluster",
           False),) * 2,
        *((Kind.FILESYSTEM, "FAT-fs error: invalid cluster chain in fat_get_cluster", False),) * 8,
    ),
    "xfs": (
        (Kind.FILESYSTEM, "XFS error: Metadata corruption detected in xfs_agi_verify", False),
    ),
    "xfs-internal-written": (
        (Kind.FILESYSTEM, "XFS internal error in xfs_alloc_ag_vextent", False),
    ),
}  # fmt: skip
# where processors report at the same time, or one shows its stack to another
MIXED = {
    "oopses-at-once", "warnings-at-once", "kasan-and-warning", "rcu-stall-remote",
    "rcu-stall-expedited", "hard-lockup-written",
}  # fmt: skip
WRITE = ("direct_entry", "full_proxy_write", "vfs_write", "ksys_write", "do_syscall_64")


def log(name: str) -> str:
    return (LOGS / f"{name}.log").read_text()


def read(name: str) -> tuple[Report, ...]:
    return reports(log(name))


def one(name: str) -> Report:
    (found,) = read(name)
    return found


def kinds(*texts: str) -> list[Kind]:
    """Return the kinds of what one task of the kernel prints."""
    return [found.kind for found in reports("".join(f"{AT}{text}\n" for text in texts))]


def fingerprints(console: str) -> list[str]:
    return [found.fingerprint for found in reports(console)]


@pytest.mark.parametrize("name", EXPECTED)
def test_log(name: str) -> None:
    found = read(name)
    assert tuple((each.kind, each.title, each.panicked) for each in found) == EXPECTED[name]
    plain = [PREFIX.sub("", line).rstrip() for line in log(name).splitlines()]
    for each in found:
        assert plain[each.number - 1] == each.first
        assert each.first in each.lines
        assert set(each.lines) <= set(plain)


def test_every_log_is_expected_to_say_something() -> None:
    assert {path.stem for path in LOGS.iterdir()} == set(EXPECTED)


def test_every_kind_has_a_log() -> None:
    assert {each[0] for found in EXPECTED.values() for each in found} == set(Kind)


def test_stack_of_an_oops_goes_from_the_innermost_out_without_guesses() -> None:
    found = one("oops")
    assert found.function == "lkdtm_EXCEPTION"
    assert found.stack == (*WRITE, "entry_SYSCALL_64_after_hwframe")
    assert found.lines[0].startswith("BUG: kernel NULL pointer dereference")
    assert found.lines[-1] == "Kernel Offset: disabled"
    assert "Kernel panic - not syncing: Fatal exception" in found.lines


def test_function_is_not_one_that_reports() -> None:
    assert one("list-add").stack[:2] == ("lkdtm_CORRUPT_LIST_ADD", "direct_entry")
    assert one("kasan").stack[:2] == ("lkdtm_READ_AFTER_FREE", "direct_entry")
    assert one("ubsan").stack[:2] == ("lkdtm_ARRAY_BOUNDS", "direct_entry")
    assert one("panic").stack[:2] == ("lkdtm_PANIC", "direct_entry")
    assert one("oom-kill").stack == ("__handle_mm_fault", "handle_mm_fault")


def test_an_interrupted_function_is_in_its_place_in_the_trace() -> None:
    found = one("general-protection-timer")
    assert found.stack[:4] == (
        "call_timer_fn", "run_timer_softirq", "handle_softirqs", "irq_exit_rcu",
    )  # fmt: skip
    assert found.stack[4:6] == ("amd_e400_idle", "default_idle_call")


def test_a_stack_asked_for_by_an_nmi_begins_where_the_nmi_came() -> None:
    assert one("panic-nmi").stack[:2] == ("amd_e400_idle", "default_idle_call")


def test_a_stall_that_has_no_registers_begins_where_the_interrupt_came() -> None:
    whole = log("soft-lockup")
    begin, end = whole.index("[    6.584374][    C0] CPU: 0"), whole.index("[    C0] Kernel panic")
    (found,) = reports(whole[:begin] + "[    6.584374]" + whole[end:])
    assert found.stack == ("lkdtm_SOFTLOCKUP", *WRITE, "entry_SYSCALL_64_after_hwframe")
    assert found.title == one("soft-lockup").title


def test_the_trace_of_a_following_panic_is_in_the_lines_but_not_in_the_stack() -> None:
    found = one("soft-lockup")
    assert found.stack == (*WRITE, "entry_SYSCALL_64_after_hwframe")
    assert " panic+0xfe/0x273" in found.lines


def test_a_stall_shows_the_processor_that_stalls() -> None:
    first, second = read("rcu-stall-remote")
    for found in first, second:
        assert found.function == "lkdtm_HARDLOCKUP"
        assert found.stack == (*WRITE, "entry_SYSCALL_64_after_hwframe")
    # the trace of the thread that was starved is told as well
    assert " rcu_gp_kthread+0x72/0xf0" in second.lines
    assert not any("took too long to run" in line for line in first.lines)


def test_a_processor_that_is_asked_too_is_not_what_stalls() -> None:
    asked = log("rcu-stall-remote").splitlines(keepends=True)
    begin = next(number for number, line in enumerate(asked) if "NMI backtrace" in line)
    others = "".join(asked[begin : begin + 31])
    assert "lkdtm_HARDLOCKUP" in others
    whole = log("rcu-stall").replace("[    C1]", "[    C0]")
    (found,) = reports(whole + others)
    assert (found.function, found.fingerprint) == ("lkdtm_LOOP", one("rcu-stall").fingerprint)
    assert len(found.lines) == len(one("rcu-stall").lines) + 30
    stall, bug = reports(whole + f"{AT}BUG: x\n" + others)
    assert (len(stall.lines), bug.lines) == (len(one("rcu-stall").lines), ("BUG: x",))


def test_a_starved_thread_is_not_what_stalls() -> None:
    dump = "".join(
        f"[    4.000100][    C1] {text}\n"
        for text in (
            "rcu: rcu_sched kthread starved for 1966 jiffies! g-1147 f0x0 ->state=0x0 ->cpu=0",
            "rcu: RCU grace-period kthread stack dump:",
            "task:rcu_sched       state:R  running task     stack:14944 pid:12",
            "Call Trace:", " <TASK>", " rcu_gp_fqs_loop+0x117/0x3e0", " </TASK>",
        )
    )  # fmt: skip
    whole = log("rcu-stall")
    at = whole.index("[", whole.index("ncpus=2)"))
    (found,) = reports(whole[:at] + dump + whole[at:])
    assert (found.function, found.fingerprint) == ("lkdtm_LOOP", one("rcu-stall").fingerprint)
    assert len(found.lines) == len(one("rcu-stall").lines) + 7


def test_reports_of_two_processors_are_sorted_apart() -> None:
    task, processor = read("warnings-at-once")
    assert " default_idle_call+0xee/0x328" not in task.lines
    assert task.lines.count("------------[ cut here ]------------") == 1
    assert task.lines.count("Call Trace:") == processor.lines.count("Call Trace:") == 1
    assert processor.lines[1] == "on cpu 1"
    assert task.lines[1] == "on cpu 0"
    assert task.lines[-1] == processor.lines[-1] == "---[ end trace 0000000000000000 ]---"
    warning, kasan = read("kasan-and-warning")
    assert not any("KASAN" in line for line in warning.lines)
    assert not any("WARNING" in line for line in kasan.lines)
    assert kasan.lines[0] == kasan.lines[-1] == "=" * 66


def test_a_panic_belongs_to_the_oops_of_its_task() -> None:
    oops, bug = read("oopses-at-once")
    panic = "Kernel panic - not syncing: Fatal exception"
    assert [each.lines.count(panic) for each in (oops, bug)] == [1, 0]
    assert (oops.panicked, bug.panicked) == (True, False)
    assert [each.lines.count("RIP: 0010:lkdtm_BUG+0x5/0x10") for each in (oops, bug)] == [0, 1]


def test_a_page_that_is_dumped_belongs_to_the_bug() -> None:
    assert one("vm-bug").lines[0].startswith("page:")
    assert one("warning-folio").lines[0].startswith("page:")


def test_what_follows_a_trace_belongs_to_the_report_if_it_is_known_to() -> None:
    assert one("allocation").lines[-1] == "22474 pages reserved"
    assert one("hung-task-locks").lines[-1] == "=" * 45
    assert one("slab").lines[-1].startswith("FIX lkdtm-heap-double_free: ")
    assert one("xfs").lines[-1].startswith("00000070: ")
    assert {len(found.lines) for found in read("fat")} == {1}
    assert read("workqueue")[0].lines[-1].startswith("pool 2: ")
    assert one("oom-kill").lines[-1].startswith("Out of memory: Killed process ")
    assert one("bad-page").lines[-1] == "Disabling lock debugging due to kernel taint"
    assert read("oops-survived")[0].lines[-1].startswith("note: init[33] exited with irqs")
    assert one("rcu-stall").lines[-1] == read("workqueue")[2].lines[-1] == " </TASK>"


def test_a_log_that_ends_in_a_report() -> None:
    whole = log("lockdep-circular").splitlines(keepends=True)
    (found,) = reports("".join(whole[: one("lockdep-circular").number + 20]))
    assert found.title == "WARNING: possible circular locking dependency detected"
    assert (found.function, found.stack, len(found.lines)) == (None, (), 22)


@pytest.mark.parametrize("name", [name for name in EXPECTED if EXPECTED[name]])
def test_a_log_cut_off_anywhere_gives_the_same_first_report(name: str) -> None:
    whole, first = log(name), read(name)[0]
    lines = whole.splitlines(keepends=True)
    begin = sum(map(len, lines[: first.number]))
    for end in range(begin, len(whole), 331):
        found = reports(whole[:end])
        assert (found[0].number, found[0].first) == (first.number, first.first)
        assert found[0].kind in {first.kind, Kind.OOPS}  # until it is known that the stack overran
        assert len(found) <= len(EXPECTED[name])
    for end in range(0, begin - len(lines[first.number - 1]), 331):
        assert all(each.title == "cut here" for each in reports(whole[:end]))


def test_a_cut_that_lost_its_text_is_told() -> None:
    cut = "------------[ cut here ]------------"
    (found,) = reports(f"{AT}{cut}\n{AT}a message\n")
    assert (found.kind, found.title, found.first, found.number) == (
        Kind.WARNING, "cut here", cut, 1,
    )  # fmt: skip
    assert found.lines == (cut, "a message")


@pytest.mark.parametrize("lost", [0, 1])  # lines of the warning, its cut at first
def test_a_warning_inside_of_an_oops_is_a_report_of_its_own(lost: int) -> None:
    lines = read("warning")[0].lines[lost:]
    warning = "".join(f"[    1.025900][   T34] {line}\n" for line in lines)
    whole = log("oops")
    at = whole.index("[", whole.index("CR2: 0000000000000000 CR3"))
    oops, inner = reports(whole[:at] + warning + whole[at:])
    assert (oops.fingerprint, oops.lines) == (one("oops").fingerprint, one("oops").lines)
    assert inner.lines == lines
    assert oops.panicked
    assert not inner.panicked


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - MIXED))
def test_a_kernel_without_printk_caller_says_the_same(name: str) -> None:
    without = re.sub(r"^(\[ *\d+\.\d{6}\])\[ *[TC]\d+\]", r"\1", log(name), flags=re.MULTILINE)
    assert without != log(name)
    assert fingerprints(without) == fingerprints(log(name))


def test_lines_without_a_prefix_count_for_nothing() -> None:
    for name in EXPECTED:
        assert reports(PREFIX.sub("", log(name))) == ()
    assert reports(log("oops").replace("][   T", "] [   T").replace("[    1.", "[1.")) == ()


def test_a_kernel_line_may_begin_in_the_midst_of_another() -> None:
    text = f"a program wrote no newline{AT}WARNING: CPU: 0 PID: 1 at mm/vmscan.c:7 f+0x1/0x2\n"
    (found,) = reports(f"{AT}first\n{text}")
    assert (found.function, found.number) == ("f", 2)
    # a panic prints again the line that it came upon
    (found,) = reports(f"{AT}Kernel pan{AT}Kernel panic - not syncing: sorry\r\n")
    assert found.first == "Kernel panic - not syncing: sorry"


def otherwise(console: str) -> str:
    """Return the log as another boot could have printed it."""
    rng = random.Random(1)  # noqa: S311 - a test
    shift = rng.randrange(3, 900)

    def hexadecimal(found: re.Match[str]) -> str:
        return "".join(rng.choice("0123456789abcdef") for _ in found[0])

    console = re.sub(
        r"^\[ *(\d+)\.", lambda found: f"[{int(found[1]) + shift:5}.", console, flags=re.MULTILINE
    )
    console = re.sub(r"\[ *T(\d+)\] ", lambda found: f"[{'T' + str(int(found[1]) + 700):>6}] ",
                     console)  # fmt: skip
    console = re.sub(r"(PID: |by task |init[:/]|process |pid[:=])(\d+)",
                     lambda found: f"{found[1]}{int(found[2]) + 700}", console)  # fmt: skip
    console = re.sub(r"(?<=0x)[0-9a-f]+(?=/0x)", hexadecimal, console)
    console = re.sub(r"\b[0-9a-f]{16}\b", hexadecimal, console)
    console = re.sub(r"(\.[ch]:)(\d+)", lambda found: f"{found[1]}{int(found[2]) + 9}", console)
    return re.sub(r"(stuck for|more than) \d+", r"\1 77", console)


@pytest.mark.parametrize("name", [name for name in EXPECTED if EXPECTED[name]])
def test_another_boot_gives_the_same_fingerprints(name: str) -> None:
    changed = otherwise(log(name))
    assert changed != log(name)
    assert fingerprints(changed) == fingerprints(log(name))
    assert [each.title for each in reports(changed)] == [each.title for each in read(name)]


def test_the_depth_of_a_recursion_makes_no_difference() -> None:
    whole = log("stack-guard")
    once = "[    1.038603][    C1]  recursive_loop+0x7e/0x90\n"
    assert whole.count(once) == 14
    assert fingerprints(whole.replace(once, "", 13)) == fingerprints(whole)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("oops", "lkdtm_EXCEPTION"), ("oops", "direct_entry"), ("bug", "lkdtm_BUG"),
        ("warning-folio", "warn_folio"), ("kasan", "lkdtm_READ_AFTER_FREE"),
        ("hung-task", "direct_entry"), ("oom-kill", "__handle_mm_fault"),
        ("ext4", "__ext4_iget"), ("xfs", "xfs_agi_verify"), ("stack-protector", "overflow"),
    ],
)  # fmt: skip
def test_another_function_gives_another_fingerprint(name: str, function: str) -> None:
    whole = log(name)
    assert not set(fingerprints(whole.replace(function, "another"))) & set(fingerprints(whole))


def test_different_bad_things_have_different_fingerprints() -> None:
    found = {(each.fingerprint, each.title) for name in EXPECTED for each in read(name)}
    by_title = {title for _, title in found}
    assert len({fingerprint for fingerprint, _ in found}) >= len(by_title)
    assert len({read("oops")[0].fingerprint, read("oops-survived")[0].fingerprint}) == 1
    assert len(set(fingerprints(log("oops-survived")))) == 2


def test_titles_are_stable_and_fit_for_print() -> None:
    assert reports(f"{AT}Kernel panic - not syncing: at \x1b[1m{'é' * 400}\n")[0].title == (
        "Kernel panic: at ?[1m" + "?" * 99
    )
    (found,) = reports(f"{AT}Kernel panic - not syncing: bad ffff88800b8 on CPU#3, 0x7f/12 ext4\n")
    assert found.title == "Kernel panic: bad N on CPU#N, N/N ext4"
    (found,) = reports(f"{AT}BUG: KASAN: x in f渡é\n")
    assert found.title == "BUG: KASAN: x in f"


MUST: dict[Kind, tuple[str, ...]] = {
    Kind.PANIC: (
        "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        "Kernel panic - not syncing: Fatal exception",  # the oops was lost
        "Kernel panic - not syncing: hung_task: blocked tasks",
    ),
    Kind.STACK_END: (
        "Kernel panic - not syncing: corrupted stack end detected inside scheduler",
        "Kernel panic - not syncing: corrupted shadow stack detected inside scheduler",
    ),
    Kind.STACK_PROTECTOR: (
        "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: f+0x4d/0x52",
        "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: 0xffffffff81",
    ),
    Kind.STACK_GUARD: (
        "BUG: TASK stack guard page was hit at 00000000d24f3a52 (stack is 1234..5678)",
        "BUG: IRQ stack guard page was hit at 00000000d24f3a52 (stack is 1234..5678)",
        "BUG: stack guard page was hit at 00000000d24f3a52 (stack is 1234..5678)",
    ),
    Kind.OOPS: (
        "BUG: kernel NULL pointer dereference, address: 0000000000000010",
        "BUG: unable to handle page fault for address: ffffffff81a53a20",
        "BUG: unable to handle kernel NULL pointer dereference at 0000000000000010",
        "BUG: unable to handle kernel paging request at ffffc90000117c98",
        "Oops: 0002 [#1] SMP", "Oops: Oops: 0002 [#1] SMP KASAN NOPTI",
        "Oops: divide error: 0000 [#1] SMP", "traps: PANIC: double fault, error_code: 0x0",
        "invalid opcode: 0000 [#1] PREEMPT SMP",
    ),
    Kind.GENERAL_PROTECTION: (
        "general protection fault: 0000 [#1] SMP",
        "general protection fault, maybe for address 0x1: 0000 [#1] SMP KASAN",
        "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
    ),
    Kind.BUG: (
        "kernel BUG at mm/vmscan.c:123!", "BUG: spinlock bad magic on CPU#1, init/34",
        "BUG: using smp_processor_id() in preemptible [00000000] code: init/1",
        "BUG: workqueue leaked lock or atomic: kworker/0:1/0x00000001/9", "BUG: something new",
    ),
    Kind.WARNING: (
        "WARNING: CPU: 0 PID: 58 at mm/vmscan.c:123 shrink_folio_list+0x1a/0x2b",
        "WARNING: CPU: 0 PID: 58 at mm/vmscan.c:123 shrink_folio_list+0x1a/0x2b [module]",
        "WARNING: CPU: 0 PID: 58 at shrink_folio_list+0x1a/0x2b",
        "WARNING: mm/vmscan.c:123 at shrink_folio_list+0x1a/0x2b, CPU#0: kworker/58",
        "WARNING: [a < b] mm/vmscan.c:123 at shrink_folio_list+0x1a/0x2b, CPU#0: kworker/58",
        "WARNING: at shrink_folio_list+0x1a/0x2b, CPU#0: kworker/58",
    ),
    Kind.KASAN: (
        "BUG: KASAN: slab-out-of-bounds in f+0x1a/0x2b", "BUG: KASAN: use-after-free in 0xffffff",
        "BUG: KASAN: invalid-access", "BUG: KFENCE: use-after-free read in f+0x1a/0x2b",
        "BUG: KCSAN: data-race in f / g", "BUG: KMSAN: uninit-value in f+0x1a/0x2b",
    ),
    Kind.UBSAN: ("UBSAN: shift-out-of-bounds in mm/vmscan.c:12:4",),
    Kind.LIST: (
        "list_add corruption. prev->next should be next (1234), but was 5678. (prev=9abc).",
        "list_del corruption, 1234->next is LIST_POISON1 (dead000000000100)",
    ),
    Kind.SLAB: (
        "BUG kmalloc-64 (Not tainted): Poison overwritten",
        "BUG ext4_inode_cache (Tainted: G    B             ): Object already free",
    ),
    Kind.BAD_PAGE: (
        "BUG: Bad page state in process kswapd0  pfn:05189",
        "BUG: Bad page map in process init  pte:1234 pmd:5678",
        "BUG: Bad rss-counter state mm:ffff88800364 type:MM_ANONPAGES val:1",
        "BUG: non-zero pgtables_bytes on freeing mm: 4096",
    ),
    Kind.LOCKDEP: (
        "WARNING: possible circular locking dependency detected",
        "INFO: possible circular locking dependency detected",
        "[ INFO: possible recursive locking detected ]",
        "WARNING: possible irq lock inversion dependency detected",
        "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected",
        "WARNING: HARDIRQ-READ-safe -> HARDIRQ-READ-unsafe lock order detected",
        "WARNING: inconsistent lock state", "WARNING: suspicious RCU usage",
        "[ BUG: Invalid wait context ]", "WARNING: bad unlock balance detected!",
        "WARNING: held lock freed!", "WARNING: init/33 still has locks held!",
        "WARNING: lock held when returning to user space!", "WARNING: Nested lock was not taken",
        "INFO: trying to register non-static key.", "BUG: MAX_LOCKDEP_ENTRIES too low!",
    ),
    Kind.ATOMIC_SLEEP: (
        "BUG: sleeping function called from invalid context at mm/page_alloc.c:5134",
        "BUG: scheduling while atomic: kswapd0/34/0x00000002",
        "BUG: scheduling in a non-blocking section: kswapd0/34/1",
    ),
    Kind.HUNG_TASK: (
        "INFO: task kworker/u4:2:34 blocked for more than 122 seconds.",
        "INFO: task init:33 blocked in I/O wait for more than 20 seconds.",
    ),
    Kind.SOFT_LOCKUP: (
        "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [kswapd0:34]",
        "NMI watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [kswapd0:34]",
    ),
    Kind.HARD_LOCKUP: (
        "NMI watchdog: Watchdog detected hard LOCKUP on cpu 1",
        "watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 0",
    ),
    Kind.WORKQUEUE: (
        "BUG: workqueue lockup - pool cpus=1 node=0 flags=0x0 nice=0 stuck for 36s!",
    ),
    Kind.RCU_STALL: (
        "rcu: INFO: rcu_sched self-detected stall on CPU",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 1-...D } 751 jiffies",
        "INFO: rcu_tasks detected stalls on tasks:",
    ),
    Kind.ALLOCATION: (
        "kworker/0:1: page allocation failure: order:4, mode:0x10cc0(GFP_KERNEL), nodemask=(null)",
        "init: vmalloc error: size 3221225472, exceeds total pages, mode:0xcc0(GFP_KERNEL)",
    ),
    Kind.OOM_KILL: (
        "a b: c invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER), order=0, oom_score_adj=0",
        "Out of memory: Killed process 33 (hungry) total-vm:161824kB",
        "Memory cgroup out of memory: Killed process 33 (hungry) total-vm:161824kB",
    ),
    Kind.FILESYSTEM: (
        "EXT4-fs error (device vda): ext4_find_entry:1436: inode #2: comm init: reading directory",
        "EXT4-fs error (device dm-0) in ext4_reserve_inode_write:5778: IO failure",
        "EXT2-fs (vda): error: ext2_get_inode: unable to read inode block - inode=12, block=5",
        "FAT-fs (vda): error, fat_get_cluster: invalid cluster chain (i_pos 0)",
        "FAT-fs (vda): error, corrupted directory (invalid entries)",
        "XFS (vda): Metadata CRC error detected at xfs_agf_read_verify+0xc5/0x160, xfs_agf",
        "XFS (vda): Internal error i != 1 at line 9 of file fs/xfs/a.c.  Caller f+0x1a/0x2b",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind in MUST for text in MUST[kind]])
def test_text_that_is_bad(kind: Kind, text: str) -> None:
    (found,) = reports(f"init: hello\n{AT}all is well\n{AT}{text}\n")
    assert (found.kind, found.first, found.lines, found.number) == (kind, text, (text,), 3)
    assert found.panicked == text.startswith("Kernel panic")


def test_every_kind_has_texts() -> None:
    assert set(MUST) == set(Kind)


@pytest.mark.parametrize(
    "text",
    [
        # panics and oopses
        "Kernel command line: console=ttyS0 panic=-1 oops=panic softlockup_panic=1 nowarn",
        'Unknown kernel command line parameters "BUG: WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2"',
        "---[ end Kernel panic - not syncing: Fatal exception ]---",
        "Kernel panic", "Rebooting in 1 seconds..", "lkdtm: Performing direct entry PANIC",
        "lkdtm: BUG: unable to handle page fault for address: 8",
        "init[36]: segfault at 8 ip 0000000000401cb8 sp 00007ffddbdbbad0 error 6 in init[401000]",
        "traps: init[37] general protection fault ip:401cf0 sp:7ffddbdbbad0 error:0 in init",
        "traps: init[37] trap divide error ip:401cf0 sp:7ffddbdbbad0 error:0 in init[401000]",
        "Uhhuh. NMI received for unknown reason 21 on CPU 0.", "CPU: 1 PID: 36 Comm: init",
        "Call Trace:", "RIP: 0010:f+0x1/0x2", "---[ end trace 0000000000000000 ]---",
        "note: init[33] exited with irqs disabled", "Code: Unable to access opcode bytes at 0x1.",
        # warnings and bugs
        "nowarn", "bug: none", "warning: `init' uses 32-bit capabilities (legacy support in use)",
        "Spectre V2 : WARNING: Unprivileged eBPF is enabled, data leaks possible",
        "WARNING: stack usage", "Freeing unused kernel image (initmem) memory: 900K",
        "BUG: Bad page state: 5 messages suppressed", "BUG: Bad page map: 5 messages suppressed",
        "page:(____ptrval____) refcount:1 mapcount:0 mapping:0000000000000000 index:0x0 pfn:0x3",
        "init (33) used greatest stack depth: 13712 bytes left", "lkdtm: kernel BUG at a.c:1!",
        # checkers
        "kasan: KernelAddressSanitizer initialized", "UBSAN", "KASAN: null-ptr-deref in range [0x",
        "Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
        "INFO: lockdep is turned off.", "turning off the locking correctness validator.",
        "stackdepot: allocating hash table via alloc_large_system_hash", "=" * 66,
        "Disabling lock debugging due to kernel taint", "possible reason: unannotated irqs-off.",
        "FIX kmalloc-64: Restoring Poison 0xffff-0xffff=0x6b", "list_sort_test: corruption",
        # lockups
        "rcu: \tRCU CPU stall warnings timeout set to 3 (rcu_cpu_stall_timeout).",
        "rcu: INFO: Stall ended before state dump start",
        "watchdog: Delayed init of the lockup detector failed: -19", "RCU stall",
        "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.",
        "NMI backtrace for cpu 1", "Sending NMI from CPU 0 to CPUs 1:",
        "INFO: NMI handler (nmi_cpu_backtrace_handler) took too long to run: 3.628 msecs",
        "hrtimer: interrupt took 123456 ns", "sched: RT throttling activated",
        "Future hung task reports are suppressed, see sysctl kernel.hung_task_warnings",
        "workqueue: drain_vmap_area_work hogged CPU for >10000us 4 times",
        # memory
        "oom_reaper: reaped process 33 (hungry), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
        "Out of memory: OOM victim 33 (hungry) is already exiting. Skip killing the task",
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),global_oom,task_memcg=/,task=hungry",
        "OOM killer enabled.", "Node 0 DMA32 free:1532kB",
        # filesystems
        "EXT4-fs (vda): mounted filesystem with ordered data mode. Quota mode: disabled.",
        "EXT4-fs (vda): error count since last fsck: 1", "EXT4-fs warning (device vda): f:1: no",
        "EXT4-fs (vda): initial error at time 1700000000: ext4_lookup:1700",
        "EXT4-fs (vda): warning: mounting fs with errors, running e2fsck is recommended",
        "FAT-fs (vda): Volume was not properly unmounted. Some data may be corrupt.",
        "FAT-fs (vda): Filesystem has been set read-only", "XFS (vda): Ending clean mount",
        "Buffer I/O error on dev vda, logical block 0, lost async page write",
    ],
)  # fmt: skip
def test_text_that_is_not_bad(text: str) -> None:
    assert reports(f"{AT}{text}\n{AT}\n") == ()


def test_a_panic_is_of_the_report_that_it_ends() -> None:
    panic = "Kernel panic - not syncing: "
    assert kinds("BUG: x", f"{panic}kernel: panic_on_warn set ...") == [Kind.BUG]
    assert kinds("BUG: x", f"{panic}other") == [Kind.BUG, Kind.PANIC]
    assert kinds("INFO: task a:1 blocked for more than 9 seconds.", f"{panic}softlockup: hung tasks"
                 ) == [Kind.HUNG_TASK, Kind.PANIC]  # fmt: skip
    assert kinds("Oops: 0002 [#1]", f"{panic}Attempted to kill init! exitcode=0x9") == [Kind.OOPS]
    assert kinds("INFO: rcu_sched self-detected stall on CPU", f"{panic}RCU Stall") == [
        Kind.RCU_STALL
    ]
    assert kinds(
        "a invoked oom-killer: gfp_mask=0x0", f"{panic}System is deadlocked on memory"
    ) == [Kind.OOM_KILL]
    assert kinds("general protection fault: 0000 [#1]", f"{panic}Machine halted.") == [
        Kind.GENERAL_PROTECTION
    ]
    other = AT.replace("T58", "T59")
    init = f"{panic}Attempted to kill init! exitcode=0x00000300"
    found = reports(f"{other}Oops: 0002 [#1]\n{AT}{init}\n")
    assert [(each.kind, each.panicked) for each in found] == [
        (Kind.OOPS, False), (Kind.PANIC, True),
    ]  # fmt: skip
    # the interrupt that panics is not the task that oopsed
    (found_one,) = reports(f"{other}Oops: 0002 [#1]\n{AT}{panic}Fatal exception in interrupt\n")
    assert found_one.panicked


def test_lines_of_one_crash_make_one_report() -> None:
    assert kinds("kernel BUG at a.c:1!", "invalid opcode: 0000 [#1] SMP") == [Kind.BUG]
    assert kinds("list_del corruption. x", "------------[ cut here ]------------",
                 "kernel BUG at lib/list_debug.c:62!", "invalid opcode: 0000 [#1]"
                 ) == [Kind.LIST]  # fmt: skip
    assert kinds("BUG: TASK stack guard page was hit at 1", "stack guard page: 0000 [#1]") == [
        Kind.STACK_GUARD
    ]
    assert kinds("Oops: 0002 [#1]", "Call Trace:", "Oops: 0002 [#2]") == [Kind.OOPS] * 2
    assert kinds("WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2", "---[ end trace 0 ]---",
                 "Code: 0", "WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2"
                 ) == [Kind.WARNING] * 2  # fmt: skip


def test_silence_ends_a_report() -> None:
    later = AT.replace("12.", "32.")
    (found,) = reports(f"{AT}BUG: x\n{AT}of it\n{later}not of it\n")
    assert found.lines == ("BUG: x", "of it")


def hostile() -> Iterable[tuple[str, str, set[Kind]]]:
    """Yield a name, a text that is repeated, and the kinds of what it says."""
    stamp = "[    1.000000]"
    yield "newlines", "\n", set()
    yield "brackets", "[", set()
    yield "spaces", "[ ", set()
    yield "prefixes", f"{stamp} ", set()
    yield "empty lines", f"{stamp}\n", set()
    yield "letters", f"{AT}{'a' * 900}\n", set()
    yield "words", f"{AT}{'Oops: a, ' * 100}\n", set()
    yield "rules", f"{AT}{'=' * 60}\n", set()
    yield "panics", f"{AT}Kernel panic - not syncing: Fatal exception {'x' * 900}\n", {Kind.PANIC}
    yield "cuts", f"{AT}------------[ cut here ]------------\n{AT * 20}\n", {Kind.WARNING}
    yield "pages", f"{AT}page:01\n{AT}{'=' * 20}\n", set()
    yield "no newline", f"{AT}BUG: {'x' * 900}", {Kind.BUG}
    yield (
        "nested",
        f"{AT}rcu: INFO: rcu_sched self-detected stall on CPU\n{AT}BUG: KASAN: x in f+0x1\n",
        {Kind.RCU_STALL, Kind.KASAN},
    )


@pytest.mark.parametrize("name", [name for name, _, _ in hostile()])
def test_megabytes_of_hostile_text(name: str) -> None:
    ((text, expected),) = ((text, bad) for each, text, bad in hostile() if each == name)
    console = text * ((MEGABYTES << 20) // len(text))
    found = reports(console)
    assert {each.kind for each in found} == expected
    # every line is kept once at the most
    assert sum(len(line) for each in found for line in each.lines) <= len(console)


def test_megabytes_of_random_bytes() -> None:
    console = random.Random(7).randbytes(MEGABYTES << 20).decode(errors="replace")  # noqa: S311
    assert reports(console) == ()
    (found,) = reports(f"{console}\n{AT}BUG: \udcff{console[:2000]}")
    assert found.kind is Kind.BUG
    assert found.number == console.count("\n") + 2


PIECES = st.sampled_from([
    *(text for texts in MUST.values() for text in texts), "Call Trace:", " <TASK>", " </TASK>",
    " f+0x1/0x2", " ? g+0x1/0x2", "RIP: 0010:h+0x1/0x2", "=" * 40, "page:0123",
    "------------[ cut here ]------------", "---[ end trace 0 ]---", "NMI backtrace for cpu 1", "",
    "rcu: RCU grace-period kthread stack dump:", "Thread overran stack, or stack corrupted", "x",
])  # fmt: skip
LINES = st.lists(st.tuples(st.sampled_from(["T1", "T2", "C0"]), st.integers(0, 40), PIECES))


@given(LINES)
@settings(max_examples=200, deadline=None)
def test_any_order_of_lines_is_read(lines: list[tuple[str, int, str]]) -> None:
    console = "".join(f"[{at:5}.000000][{who:>6}] {text}\n" for who, at, text in lines)
    found = reports(console)
    assert [each.number for each in found] == sorted({each.number for each in found})
    assert sum(len(each.lines) for each in found) <= len(lines)
    for each in found:
        assert each.first == lines[each.number - 1][2]
        assert re.fullmatch("[0-9a-f]{16}", each.fingerprint)
