"""Findings weighed by policy, and the one fold over them."""

from __future__ import annotations

from itertools import permutations

import pytest

from bot.contract import (
    Apply,
    BuildResult,
    Call,
    Finding,
    FindingKind,
    Frame,
    KernelConfig,
    Misfit,
    NotCompiled,
    Outcome,
    PatchBuilt,
    Severity,
    StackResult,
)
from bot.review import findings, verdict
from policies.schema import load_gates
from workers import make

GATES = load_gates()
CONFIG = KernelConfig(
    name="c", arch="x86_64", target="bzImage", compiler="gcc", base="tinyconfig", options=()
)
BUILD = BuildResult(outcome=Outcome.PASSED)


def finding(kind: FindingKind, severity: Severity = Severity.FAIL, **more: object) -> Finding:
    fields: dict[str, object] = {
        "patch": 1, "file": "mm/a.c", "line": 3, "function": "f", "before": 8, "after": 300,
        "text": ("kmalloc", "because"), "reproduce": "make",
    }  # fmt: skip
    return Finding.model_validate({"kind": kind, "severity": severity, **fields, **more})


def of_frame(before: int | None, after: int | None, *, dynamic: bool = False) -> list[Finding]:
    frame = Frame(
        function="f", file="mm/a.c", line=3, before=before, after=after, dynamic=dynamic, patch=1,
        object="mm/a.o",
    )  # fmt: skip
    stack = StackResult(outcome=Outcome.PASSED, frames=(frame,))
    return list(findings.find(GATES, CONFIG, BUILD, stack))


@pytest.mark.parametrize(
    ("before", "after", "severity"),
    [
        (100, 163, None), (100, 164, "note"), (100, 355, "note"), (100, 356, "fail"),
        (1000, 1023, None), (1000, 1024, "fail"), (1024, 1024, None), (1100, 1090, None),
        (None, 255, None), (None, 256, "note"), (None, 1023, "note"), (None, 1024, "fail"),
        (300, None, None), (300, 100, None),
    ],
)  # fmt: skip
def test_each_limit_of_a_frame_from_both_sides(
    before: int | None, after: int | None, severity: str | None
) -> None:
    assert [one.severity for one in of_frame(before, after)] == ([severity] if severity else [])


def test_a_dynamic_frame_is_said_however_small() -> None:
    (one,) = of_frame(100, 100, dynamic=True)
    assert (one.kind, one.severity) == (FindingKind.FRAME_DYNAMIC, Severity.NOTE)


@pytest.mark.parametrize(
    ("callee", "file", "said"),
    [
        ("kmalloc_trace", "mm/vmscan.c", True), ("__kmalloc", "fs/ext4/inode.c", True),
        ("kmalloc_trace", "kernel/fork.c", False), ("my_kmalloc", "fs/ext4/inode.c", False),
        ("submit_bio", "fs/xfs/xfs_buf.c", True), ("submit_bio_noacct", "block/bio.c", True),
        ("ext4_writepage", "fs/ext4/inode.c", True), ("writepage", "fs/ext4/inode.c", False),
        ("indirect call", "mm/vmscan.c", True), ("indirect call", "fs/ext4/inode.c", False),
        ("memcpy", "mm/vmscan.c", False),
    ],
)  # fmt: skip
def test_calls_that_lead_deeper_are_said(callee: str, file: str, *, said: bool) -> None:
    call = Call(caller="f", callee=callee, file=file, line=1, added=True, patch=1, object="x.o")
    gone = call.model_copy(update={"added": False})
    stack = StackResult(outcome=Outcome.PASSED, calls=(call, gone))
    assert len(findings.find(GATES, CONFIG, BUILD, stack)) == said


def test_the_flags_told_are_the_flags_used() -> None:
    assert findings.KCFLAGS == make.KCFLAGS


ALL = tuple(finding(kind) for kind in FindingKind)


def test_the_order_of_findings_does_not_matter() -> None:
    some = (ALL[3], ALL[2], ALL[7], finding(FindingKind.FRAME_GREW, Severity.NOTE, patch=2), ALL[5])
    verdicts = {verdict.decide(order, 3) for order in permutations(some)}
    assert len(verdicts) == 1
    assert verdicts.pop().headline == "Patch 1/3 does not build (and 4 more findings)."


def test_no_finding_passes() -> None:
    assert verdict.decide((), 1) == verdict.Verdict(Outcome.PASSED, "No findings.", ())


@pytest.mark.parametrize("kind", list(FindingKind))
@pytest.mark.parametrize("severity", list(Severity))
def test_only_failing_findings_fail(kind: FindingKind, severity: Severity) -> None:
    found = verdict.decide([finding(kind, severity)], 1)
    assert found.outcome is (Outcome.FAILED if severity is Severity.FAIL else Outcome.PASSED)
    assert found.headline.endswith(".")
    assert "more finding" not in found.headline


def test_what_fails_comes_before_what_is_noted() -> None:
    note = finding(FindingKind.DOES_NOT_BUILD, Severity.NOTE)
    found = verdict.decide([note, finding(FindingKind.WARNING)], 1)
    assert found.headline == "new compiler warning in mm/a.c (and 1 more finding)."


def test_a_condition_of_an_indirect_call_is_told_in_words() -> None:
    lost = finding(FindingKind.GUARD_LOST, text=("*", "a", "why"))
    said = verdict.decide([lost], 1).headline
    assert said == "f() makes an indirect call without a condition that it had."


def test_in_one_place_the_cause_comes_first() -> None:
    chain, frame = finding(FindingKind.CHAIN_GREW), finding(FindingKind.FRAME_GREW)
    assert verdict.decide([chain, frame], 1).findings == (frame, chain)


def built(*objects: str, **more: object) -> BuildResult:
    patch = PatchBuilt(
        index=1, commit="0" * 40, applied=Apply.EXACT, seconds=1, objects=objects, facts=None
    )
    return BuildResult.model_validate({"outcome": Outcome.PASSED, "patches": (patch,), **more})


LEFT_OUT = NotCompiled(file="mm/a.c", reason="why")
MISFIT = Misfit(index=1, file=None, hunk=None, line=None, expected=(), found=(), reason="no")


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (built("mm/a.o"), ""),
        (built(), ""),
        (built("mm/a.o", not_compiled=(LEFT_OUT,)), ""),
        (
            built(not_compiled=(LEFT_OUT,)),
            "Not tested: nothing that the series changes is compiled here.",
        ),
        (built(outcome="skipped", reason="not now."), "Not tested: not now."),
        (built(outcome="failed", misfit=MISFIT), ""), (built(outcome="failed", broken_patch=1), ""),
        (
            built(outcome="failed", unmet=MISFIT),
            "Not tested: a patch that the series needs below it does not apply.",
        ),
    ],
)  # fmt: skip
def test_what_was_not_tested_is_not_said_to_be_without_findings(
    build: BuildResult, said: str
) -> None:
    assert verdict.untested(build) == said
    found = verdict.decide([], 1, (), verdict.untested(build))
    assert (found.outcome, found.headline) == (
        (Outcome.SKIPPED, said) if said else (Outcome.PASSED, "No findings.")
    )
    assert verdict.decide([finding(FindingKind.WARNING)], 1, (), said).outcome is Outcome.FAILED


def test_what_was_compared_was_tested_whatever_was_built() -> None:
    compared = StackResult(outcome=Outcome.PASSED, objects=1)
    assert not verdict.untested(built(not_compiled=(LEFT_OUT,)), compared)


def test_of_many_findings_the_weightiest_are_told_in_their_order() -> None:
    many = [finding(FindingKind.FRAME_GREW, after=100 + n, function=f"f{n:02}") for n in range(20)]
    decided = verdict.decide(many, 1)
    told = verdict.in_full(decided.findings)
    assert told == decided.findings[8:]
    rest = verdict.in_short(decided.findings, told, {many[7]: "abc"})
    assert rest[0] == "f07() grows by 99 bytes, 8 to 107 [abc]"
    assert rest[-1] == "f00() grows by 92 bytes, 8 to 100"
    assert len(rest) == 8


def test_the_largest_growth_is_the_headline() -> None:
    found = verdict.decide([finding(FindingKind.FRAME_GREW), finding(FindingKind.FRAME_GREW, after=900, function="g")], 1)  # noqa: E501 # fmt: skip
    assert found.headline == "stack: g() grows by 892 bytes, 8 to 900 (and 1 more finding)."
