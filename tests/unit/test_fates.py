"""What is said of the findings of the version before, and what nobody may claim of them."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from bot.contract import (
    Boot,
    BuildResult,
    Chain,
    Depth,
    Ending,
    Finding,
    FindingKind,
    Misfit,
    NotCompiled,
    Outcome,
    Refusal,
    Severity,
    StackResult,
    StressResult,
    StressRun,
)
from bot.review import fates, verdict
from bot.review.fates import Covered
from policies.stress import Filesystem, load

MISFIT = Misfit(index=1, file=None, hunk=None, line=None, expected=(), found=(), reason="no")
PASSED = BuildResult(outcome=Outcome.PASSED)
DEPTH = Depth(witness_bytes=2000, upper_bytes=2000, hops=())
CHAIN = Chain(
    profile="swap-out", name="", waypoints=(), before=DEPTH, after=DEPTH, budget_bytes=16384
)
STACK = StackResult(outcome=Outcome.PASSED, chains=(CHAIN,))
QUICK = load("quick")


def finding(kind: str = "frame-grew", function: str | None = "pageout", **more: Any) -> Finding:  # noqa: ANN401 - any field of a finding
    fields = {
        "severity": Severity.FAIL, "patch": 1, "file": "mm/vmscan.c", "line": 9, "before": 88,
        "after": 608, "text": ("one", "two", "three"), "reproduce": "",
    }  # fmt: skip
    return Finding.model_validate({"kind": kind, "function": function, **fields, **more})


def booted(ending: Ending = Ending.DONE, *, reached: bool = True) -> StressResult:
    enough = QUICK.exposure if reached else {}
    metrics = tuple(sorted((metric, least) for metric, least in enough.items()))
    boot = Boot(ending=ending, seconds=1.0, accelerator="tcg", metrics=metrics)
    run = StressRun(profile=QUICK, filesystem=Filesystem.EXT4, base=(boot,), patched=(boot,))
    return StressResult(outcome=Outcome.PASSED, runs=(run,))


CRASH = finding("kernel-report", text=("BUG: x (quick on ext4)", "said"))
WHOLE = Covered(PASSED, STACK, booted())


@pytest.mark.parametrize("kind", list(FindingKind))
def test_what_is_no_longer_found_where_all_was_looked_at_is_gone(kind: str) -> None:
    one = finding(kind, text=("x (quick on ext4)", "two", "three"))
    assert fates.compare([one], [], WHOLE).gone == (one,)


def built(**more: Any) -> BuildResult:  # noqa: ANN401 - any field of a result
    return BuildResult(outcome=Outcome.FAILED, **more)


NOT_THERE = (NotCompiled(file="mm/vmscan.c", reason="why"),)
UNKNOWN = {
    "a crash, without boots": (CRASH, Covered(PASSED, STACK, None)),
    "a crash, where boots reached too little": (
        CRASH, Covered(PASSED, STACK, booted(reached=False)),
    ),
    "a crash, where no boot came to its end": (CRASH, Covered(PASSED, STACK, booted(Ending.HUNG))),
    "a crash on another filesystem": (
        finding("kernel-report", text=("BUG: x (quick on vfat)", "said")), WHOLE,
    ),
    "a crash, where boots are broken": (
        CRASH, Covered(PASSED, STACK, booted().model_copy(update={"outcome": Outcome.BROKEN})),
    ),
    "a frame, where the comparison is broken": (
        finding(), Covered(PASSED, StackResult(outcome=Outcome.BROKEN), None),
    ),
    "a frame of a file that is not compiled": (
        finding(),
        Covered(BuildResult(outcome=Outcome.PASSED, not_compiled=NOT_THERE), STACK, None),
    ),
    "a warning of a file that is not compiled": (
        finding("warning"),
        Covered(BuildResult(outcome=Outcome.PASSED, not_compiled=NOT_THERE), STACK, None),
    ),
    "a chain, where no chains were added up": (
        finding("chain-grew"), Covered(PASSED, StackResult(outcome=Outcome.PASSED), None),
    ),
    "a lost condition, where no chains were added up": (
        finding("guard-lost"), Covered(PASSED, StackResult(outcome=Outcome.PASSED), None),
    ),
    "anything, where a prerequisite does not apply": (
        finding("does-not-apply"), Covered(built(unmet=MISFIT), None, None),
    ),
    "anything, where a patch is refused": (
        finding("does-not-build"),
        Covered(built(refusal=Refusal(index=1, file=None, reason="no")), None, None),
    ),
    "a hunk that did not fit, where another does not": (
        finding("does-not-apply"), Covered(built(misfit=MISFIT), None, None),
    ),
    "a broken build, where it breaks elsewhere": (
        finding("does-not-build"), Covered(built(broken_patch=1), None, None),
    ),
    "a frame, where the build is broken": (
        finding(), Covered(BuildResult(outcome=Outcome.BROKEN), STACK, None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_could_not_be_looked_at_is_not_gone(name: str) -> None:
    one, tested = UNKNOWN[name]
    fate = fates.compare([one], [], tested)
    assert (fate.gone, fate.unknown) == ((), (one,))


def test_a_patch_that_applies_again_is_seen_although_the_build_breaks() -> None:
    one = finding("does-not-apply")
    assert fates.compare([one], [], Covered(built(broken_patch=1), None, None)).gone == (one,)


def test_the_old_figure_is_told_where_it_changed() -> None:
    fate = fates.compare([finding(after=700)], [finding(after=344)], WHOLE)
    assert fates.sentences(fate, 3, verdict.brief) == (
        "The finding in v3 is still there: frame of pageout(), 344 bytes, in v3 it was 700.",
    )
    same = fates.compare([finding()], [finding(line=90)], WHOLE)
    assert fates.sentences(same, 3, verdict.brief) == (
        "The finding in v3 is still there: frame of pageout(), 608 bytes.",
    )


def test_a_figure_without_a_unit_is_not_told() -> None:
    head = "reclaim steals {} of the clean pages that it scans (quick on ext4)"
    old, new = (finding("less-efficient", text=(head.format(x), "s"), after=y)
                for x, y in (("40.1%", 401), ("20.0%", 200)))  # fmt: skip
    (said,) = fates.sentences(fates.compare([old], [new], WHOLE), 1, verdict.brief)
    assert "it was" not in said
    assert "20.0%" in said


def test_new_findings_are_named_but_not_what_the_first_line_says_anyway() -> None:
    new, broken = finding(function="f"), finding("does-not-build", function=None)
    fate = fates.compare([finding()], [finding(), new, broken], WHOLE)
    assert set(fate.new) == {new, broken}
    assert fates.sentences(fate, 1, verdict.brief)[-1] == "1 is new: frame of f(), 608 bytes."
    only = fates.compare([], [new], WHOLE)
    assert fates.sentences(only, 1, verdict.brief) == ()


def test_two_findings_of_one_fingerprint_are_two() -> None:
    text = ("the deepest stack of swap-out grows by {} bytes, to {} of 16384", "")
    two = [
        finding("chain-grew", text=(text[0].format(more, 2000 + more), ""), patch=patch, after=2000)
        for patch, more in ((1, 100), (2, 300))
    ]
    fate = fates.compare(two, two[:1], WHOLE)
    assert (len(fate.there), len(fate.gone), fate.new) == (1, 1, ())
    assert len(fates.compare(two[:1], two, WHOLE).new) == 1


def test_the_order_of_findings_does_not_matter() -> None:
    before = (finding(), finding(function="f"), CRASH)
    now = (finding(after=9), finding(function="g"), finding("warning"))
    told = {
        fates.sentences(fates.compare(a, b, WHOLE), 1, verdict.brief)
        for a in permutations(before) for b in permutations(now)
    }  # fmt: skip
    assert len(told) == 1
