"""What boots of base and patched kernel are judged to say."""

from __future__ import annotations

from itertools import permutations

import pytest

from bot.contract import (
    Boot,
    BuildResult,
    ConsoleReport,
    DirectWrite,
    Ending,
    Finding,
    FindingKind,
    Outcome,
    StackSeen,
    StressResult,
    StressRun,
    Verified,
)
from bot.review import stress, stress_words
from bot.review.touched import Touched
from policies.stress import Filesystem, Metric, Profile, list_names, load
from workers.stress import job

PROFILE = load("writepage")
WELL = {
    Metric.KSWAPD_FILE_WRITES: 600, Metric.DIRECT_RECLAIMS: 70, Metric.PAGES_VERIFIED: 6000,
    Metric.STACKS_SEEN: 5,
}  # fmt: skip
CHAIN = (("submit_bio", 5, 48), ("ext4_writepage", 9, 100), ("pageout", 1, 88), ("kswapd", 2, 200))
SHRINK = "shrink_folio_list"


def stack(*frames: tuple[str, int, int]) -> StackSeen:
    return StackSeen(depth=sum(size for _, _, size in frames), frames=frames)


def boot(ending: Ending = Ending.DONE, **more: object) -> Boot:
    fields: dict[str, object] = {
        "ending": ending, "seconds": 9.0, "accelerator": "tcg",
        "metrics": tuple(sorted(WELL.items())), "stacks": (stack(*CHAIN),),
        "verified": (Verified(filesystem="ext4", pages=6000, bad=0, unread=0),),
    }  # fmt: skip
    return Boot.model_validate(fields | more)


def report(kind: str = "warning", fingerprint: str = "f1", **more: object) -> ConsoleReport:
    fields: dict[str, object] = {
        "kind": kind, "title": "WARNING in shrink_folio_list", "first": "WARNING: CPU: 0",
        "number": 7, "lines": ("WARNING: CPU: 0", "Call Trace:", " shrink_folio_list+0x1/0x2"),
        "stack": (SHRINK, "kswapd"), "function": SHRINK, "fingerprint": fingerprint,
    }  # fmt: skip
    return ConsoleReport.model_validate(fields | more)


def run(
    base: tuple[Boot, ...] | None = None, patched: tuple[Boot, ...] = (), **more: object
) -> StressRun:
    fields: dict[str, object] = {"profile": PROFILE, "filesystem": Filesystem.EXT4}
    base = (boot(),) if base is None else base
    return StressRun.model_validate(fields | more | {"base": base, "patched": patched})


def found(*runs: StressRun, touched: tuple[Touched, ...] = ()) -> list[Finding]:
    result = StressResult(outcome=Outcome.PASSED, accelerator="tcg", runs=runs)
    return list(stress.find(result, touched, 3, "IMAGE"))


def kinds(*runs: StressRun) -> list[FindingKind]:
    return [one.kind for one in found(*runs)]


def test_equal_boots_show_nothing() -> None:
    assert found(run(patched=(boot(),))) == []


WRITES = (DirectWrite(task="init", count=30, stack=(SHRINK, "try_to_free_pages")),)
LOST = (Verified(filesystem="ext4", pages=6000, bad=2, unread=0, shown=("17 stale",)),)
KILLED = (("oom_kill", 1),)
PAST = (("ext4_io_submit", 5, 48), ("ext4_writepage", 9, 100), ("shrink_folio_list", 1, 88),
        ("try_to_free_pages", 2, 200))  # fmt: skip
DEEPER = (stack(("submit_bio", 5, 48), ("ext4_writepage", 9, 164), *CHAIN[2:]),)


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (boot(direct_writes=WRITES), FindingKind.DIRECT_WRITE),
        (boot(verified=LOST), FindingKind.DATA_LOST),
        (boot(misread=3), FindingKind.DATA_LOST),
        (boot(stacks=(stack(*CHAIN), stack(*PAST))), FindingKind.DIRECT_WRITE),
        (boot(counters=KILLED), FindingKind.OOM_KILL),
        (boot(stacks=DEEPER), FindingKind.STACK_DEEPER),
        (boot(reports=(report(),)), FindingKind.KERNEL_REPORT),
        (boot(reports=(report("oom-kill"),), counters=KILLED), FindingKind.OOM_KILL),
        (boot(Ending.STALLED), FindingKind.STALL),
        (boot(Ending.HUNG), FindingKind.STALL),
        (boot(Ending.SPUN), FindingKind.STALL),
        (boot(Ending.SLOW), FindingKind.STALL),
        (boot(Ending.KILLED), FindingKind.ODD_GUEST),
        (boot(Ending.EARLY), FindingKind.ODD_GUEST),
        (boot(Ending.FORGED), FindingKind.ODD_GUEST),
        (boot(Ending.FLOODED), FindingKind.ODD_GUEST),
        (boot(Ending.DEAF), FindingKind.ODD_GUEST),
        (boot(Ending.SETUP), FindingKind.ODD_GUEST),
        (boot(Ending.CRASHED, reports=(report("oops"),)), FindingKind.KERNEL_REPORT),
    ],
)
def test_what_the_base_does_not_show_is_a_finding(bad: Boot, kind: FindingKind) -> None:
    assert kinds(run(patched=(bad,))) == [kind]
    if kind is not FindingKind.STACK_DEEPER:  # frames are the same in every boot of a kernel
        assert kinds(run(patched=(boot(), bad))) == [kind]  # one boot is enough
    assert kinds(run(base=(bad,), patched=(bad,))) == []
    assert kinds(run(base=(boot(), bad), patched=(bad,))) == []
    assert kinds(run(base=(bad,), patched=(boot(),))) == []


@pytest.mark.parametrize("ending", list(Ending))
def test_every_ending_is_judged(ending: Ending) -> None:
    family = [stress.STANDSTILLS, stress.ODD, {Ending.DONE, Ending.CRASHED, Ending.BROKEN}]
    assert sum(ending in one for one in family) == 1
    assert ending in stress.ENDED or ending in family[2]


def test_the_same_crash_is_told_once_whatever_the_run() -> None:
    bad = boot(Ending.CRASHED, reports=(report("oops"),))
    other = run(patched=(bad,), filesystem=Filesystem.EXT2)
    assert kinds(run(patched=(bad, bad)), other) == [FindingKind.KERNEL_REPORT]


def test_a_filesystem_that_enters_reclaim_is_no_write_by_reclaim() -> None:
    names = ("submit_bio", "pageout", "shrink_folio_list", "try_to_free_pages", "ext4_io_submit")
    around = stack(*((name, 5, 48) for name in names))
    assert found(run(patched=(boot(stacks=(around,)),))) == []
    within = stack(*((name, 5, 48) for name in (names[-1], *names[:-1])))
    assert kinds(run(patched=(boot(stacks=(within,)),))) == [FindingKind.DIRECT_WRITE]


def test_another_crash_than_the_bases_is_told() -> None:
    old, new = report("oops", "old"), report("oops", "new")
    (one,) = found(run(base=(boot(reports=(old,)),), patched=(boot(reports=(old, new)),)))
    assert one.text[1].endswith("in the one boot and in none of the base:")


def test_what_a_profile_provokes_is_allowed() -> None:
    gates = PROFILE.gates.model_copy(update={"allow": ("warning",)})
    allowed = PROFILE.model_copy(update={"gates": gates})
    assert kinds(run(patched=(boot(reports=(report(),)),), profile=allowed)) == []


@pytest.mark.parametrize(("more", "said"), [(63, False), (64, True), (-64, False)])
def test_the_stack_gate_has_two_sides(more: int, said: bool) -> None:  # noqa: FBT001
    grown = stack(CHAIN[0], ("ext4_writepage", 9, 100 + more), *CHAIN[2:])
    assert bool(found(run(patched=(boot(stacks=(grown,)),)))) is said


def test_a_deeper_stack_through_other_functions_is_not_growth() -> None:
    other = stack(("virtqueue_add", 5, 900), *CHAIN)
    assert found(run(patched=(boot(stacks=(other,)),))) == []


def test_a_function_that_the_base_kernel_lacks_does_not_hide_growth() -> None:
    more = stack(CHAIN[0], ("helper.constprop.0", 3, 300), *CHAIN[1:])
    (one,) = found(
        run(patched=(boot(stacks=(more,)),), new_functions=("helper",)),
        touched=(Touched(2, "fs/ext4/inode.c", "helper", 40),),
    )
    assert (one.kind, one.function, one.patch) == (FindingKind.STACK_DEEPER, "helper", 2)
    assert (one.after or 0) - (one.before or 0) == 300
    assert "   300 helper.constprop.0" in one.text


def test_a_function_that_is_gone_does_not_hide_growth() -> None:
    old = stack(CHAIN[0], ("helper", 3, 30), *CHAIN[1:])
    new = stack(CHAIN[0], ("ext4_writepage", 9, 400), *CHAIN[2:])
    first = run(base=(boot(stacks=(old,)),), patched=(boot(stacks=(new,)),))
    assert found(first) == []
    gone = first.model_copy(update={"gone_functions": ("helper",)})
    assert [one.kind for one in found(gone)] == [FindingKind.STACK_DEEPER]


def test_a_function_that_jumped_and_now_calls_is_growth() -> None:
    more = stack(CHAIN[0], ("fat_writepage", 3, 280), *CHAIN[2:])
    base = (boot(stacks=(stack(CHAIN[0], *CHAIN[2:]),)),)
    quiet = run(base=base, patched=(boot(stacks=(more,)),))
    assert found(quiet) == []  # the base may have both ways
    jumping = quiet.model_copy(update={"jumping_calls": (("fat_writepage", "submit_bio"),)})
    (one,) = found(jumping)
    assert (one.function, (one.after or 0) - (one.before or 0)) == ("fat_writepage", 280)


def test_growth_below_another_caller_is_growth() -> None:
    other = (
        ("submit_bio", 5, 48),
        ("ext4_writepage", 9, 400),
        ("pageout", 1, 88),
        ("shrink", 2, 9),
    )
    (one,) = found(run(patched=(boot(stacks=(stack(*other),)),)))
    assert (one.kind, one.function) == (FindingKind.STACK_DEEPER, "ext4_writepage")
    assert (one.after, one.before) == (545, 245)
    assert "   400 ext4_writepage  was 100" in one.text


def test_what_shrank_counts_against_what_grew() -> None:
    other = (("submit_bio", 5, 48), ("ext4_writepage", 8, 164), ("pageout", 3, 40), CHAIN[3])
    assert found(run(patched=(boot(stacks=(stack(*other),)),))) == []


def test_two_call_sites_of_one_function_are_no_growth() -> None:
    wide = stack(CHAIN[0], ("ext4_writepage", 77, 200), *CHAIN[2:])
    base = (boot(), boot(stacks=(wide,)))
    assert found(run(base=base, patched=(boot(stacks=(wide,)),))) == []
    assert found(run(patched=(boot(stacks=(wide, stack(*CHAIN))),))) == []


def test_the_culprit_is_the_touched_function_closest_to_the_fault() -> None:
    among = (Touched(1, "mm/vmscan.c", SHRINK, 1700), Touched(2, "mm/vmscan.c", "kswapd", 1))
    (one,) = found(run(patched=(boot(direct_writes=WRITES),)), touched=among)
    assert (one.patch, one.file, one.function) == (1, "mm/vmscan.c", SHRINK)
    assert one.reproduce == "stackhog stress IMAGE --profile writepage --filesystem ext4"
    assert one.text[0] == "direct reclaim wrote 30 file pages (writepage on ext4)"
    assert "on the base it gave none while kswapd gave 600" in one.text[1]


def test_without_a_touched_function_the_whole_series_is_meant() -> None:
    (one,) = found(run(patched=(boot(verified=LOST),)))
    assert (one.patch, one.file, one.function) == (3, "", None)
    assert one.text[2] == "page 17 stale"


JUDGED = load("efficiency")


def shares(*values: float) -> tuple[Boot, ...]:
    moved = [(("pgscan_file", 1000), ("pgsteal_file", round(1000 * one))) for one in values]
    reached = ((Metric.FILE_SCANNED, 90_000),)
    return tuple(boot(counters=one, metrics=reached) for one in moved)


def test_efficiency_is_judged_by_rank_and_by_size() -> None:
    good, bad = shares(0.99, 1.0, 0.98), shares(0.8, 0.85, 0.82)
    (one,) = found(run(base=good, patched=bad, profile=JUDGED))
    assert one.kind is FindingKind.LESS_EFFICIENT
    assert "chance 5.0%, at most 5%" in one.text[1]
    assert found(run(base=bad, patched=good, profile=JUDGED)) == []
    assert found(run(base=good, patched=bad)) == []  # another profile does not judge it
    assert found(run(base=good, patched=bad[:2], profile=JUDGED)) == []  # too few
    assert found(run(base=good, patched=shares(0.95, 0.96, 0.97), profile=JUDGED)) == []  # small
    assert found(run(base=good, patched=shares(0.8, 0.8, 1.0), profile=JUDGED)) == []  # mixed


def test_findings_do_not_depend_on_the_order_of_runs() -> None:
    runs = (
        run(patched=(boot(direct_writes=WRITES),)),
        run(patched=(boot(verified=LOST),), filesystem=Filesystem.EXT2),
        run(patched=(boot(Ending.HUNG),), filesystem=Filesystem.VFAT),
    )
    wanted = sorted(kinds(*runs))
    assert all(sorted(kinds(*order)) == wanted for order in permutations(runs))


@pytest.mark.parametrize("metric", sorted(WELL))
def test_a_run_below_a_floor_is_inconclusive(metric: Metric) -> None:
    least = PROFILE.exposure[metric]
    short = boot(metrics=tuple(sorted((WELL | {metric: least - 1}).items())))
    assert stress.missing(run(patched=(boot(),))) == ""
    assert str(least - 1) in stress.missing(run(patched=(short,)))
    assert stress.missing(run(patched=(short, boot()))) == ""
    assert words(run(patched=(short,))).startswith("Booted once (the base once) under writepage")
    assert "inconclusive" in words(run(patched=(short,)))
    assert "inconclusive" not in words(run(patched=(boot(),)))


def words(one: StressRun) -> str:
    result = StressResult(outcome=Outcome.PASSED, accelerator="tcg", runs=(one,))
    said = stress_words.Words(result, (), BUILD)
    (sentence,) = said.sentences()
    return sentence


BUILD = BuildResult(outcome=Outcome.PASSED)


def test_no_boot_that_ended_is_no_pass() -> None:
    assert stress.missing(run(patched=(boot(Ending.HUNG),))) == "no boot came to its end"
    assert "did not come to the end" in words(run(patched=(boot(Ending.HUNG),)))


def test_a_filesystem_without_the_hook_needs_no_writes_by_kswapd() -> None:
    none = boot(metrics=tuple(sorted((WELL | {Metric.KSWAPD_FILE_WRITES: 0}).items())))
    assert stress.missing(run(patched=(none,), filesystem=Filesystem.XFS)) == ""
    assert job.until(PROFILE, Filesystem.XFS) == 0


def test_a_pass_prints_its_exposure() -> None:
    said = words(run(patched=(boot(),)))
    for number in ("600 file pages written by kswapd", "70 entries of direct reclaim"):
        assert number in said


def profiles() -> list[Profile]:
    return [load(name) for name in list_names()]


@pytest.mark.parametrize("profile", profiles(), ids=lambda one: one.name)
def test_every_profile_asks_for_exposure_on_every_filesystem(profile: Profile) -> None:
    for filesystem in profile.filesystems:
        assert profile.floors(filesystem)
