from __future__ import annotations

from dataclasses import dataclass

import pytest

from bot.contract import BuildResult, Finding, FindingKind, Misfit, Outcome, Severity, StackResult
from bot.review import fates, fingerprint, verdict
from bot.review.fates import Covered

COMMON = {
    "kind": FindingKind.FRAME_GREW, "severity": Severity.FAIL, "patch": 1, "file": "mm/vmscan.c",
    "line": 1281, "function": "pageout", "before": 88, "after": 608, "text": (), "reproduce": "",
}  # fmt: skip


def finding(**changes: object) -> Finding:
    return Finding.model_validate({**COMMON, **changes})


WARNING = "mm/vmscan.c:{}:{}: warning: unused variable 'x' [-Wunused-variable]"
CHAIN = "the deepest stack of kswapd-writepage ({}) grows by {} bytes{}, to {} of 16384"
HEAD = "{} pages lost what was written to them (quick on vfat)"


@dataclass(frozen=True)
class Two:
    """Two findings, and whether they are one and the same in two versions."""

    one: Finding
    other: Finding


SAME = {
    "a frame of other sizes": Two(finding(), finding(before=80, after=700, line=9, patch=3)),
    "a clone of the function": Two(finding(), finding(function="pageout.constprop.0")),
    "a warning elsewhere in the file": Two(
        finding(kind="warning", function=None, text=("In f:", WARNING.format(12, 9))),
        finding(kind="warning", function=None, text=("In f:", WARNING.format(470, 17))),
    ),
    "a chain blamed on another function": Two(
        finding(kind="chain-grew", text=(CHAIN.format("ext4", 392, "", 7896), "")),
        finding(
            kind="chain-grew", function="ext4_writepage", file="fs/ext4/inode.c",
            text=(CHAIN.format("ext4", 160, " (552 with the whole series)", 8056), ""),
        ),
    ),
    "a call of a clone": Two(
        finding(kind="call-new", text=("kmalloc.isra.0", "why")),
        finding(kind="call-new", text=("kmalloc", "why"), patch=2),
    ),
    "a condition lost by a clone": Two(
        finding(kind="guard-lost", text=("pageout.part.3", "a", "why"), function="f.constprop.0"),
        finding(kind="guard-lost", text=("pageout", "a", "other words"), function="f"),
    ),
    "pages lost in another number": Two(
        finding(kind="data-lost", text=(HEAD.format(2), "s")),
        finding(kind="data-lost", text=(HEAD.format("1,204"), "t"), function=None),
    ),
}  # fmt: skip
OTHER = {
    "another function": Two(finding(), finding(function="shrink_folio_list")),
    "another file": Two(finding(), finding(file="mm/swap.c")),
    "another kind": Two(finding(), finding(kind="frame-new")),
    "another warning": Two(
        finding(kind="warning", text=(WARNING.format(1, 1),)),
        finding(kind="warning", text=(WARNING.format(1, 1).replace("'x'", "'y'"),)),
    ),
    "another filesystem's chain": Two(
        finding(kind="chain-grew", text=(CHAIN.format("ext4", 1, "", 2),)),
        finding(kind="chain-grew", text=(CHAIN.format("ext2", 1, "", 2),)),
    ),
    "another callee": Two(
        finding(kind="call-new", text=("kmalloc", "why")),
        finding(kind="call-new", text=("submit_bio", "why")),
    ),
    "another field": Two(
        finding(kind="target-new", text=("a_ops.writepage", "why")),
        finding(kind="target-new", text=("a_ops.writepages", "why")),
    ),
    "another condition": Two(
        finding(kind="guard-lost", text=("pageout", "a", "why")),
        finding(kind="guard-lost", text=("pageout", "b", "why")),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_finding_is_known_again(name: str) -> None:
    two = SAME[name]
    assert two.one != two.other
    assert fingerprint.fingerprint(two.one) == fingerprint.fingerprint(two.other)


@pytest.mark.parametrize("name", OTHER)
def test_another_finding_is_another(name: str) -> None:
    two = OTHER[name]
    assert fingerprint.fingerprint(two.one) != fingerprint.fingerprint(two.other)


def test_a_finding_is_named_by_its_first_digits() -> None:
    one, other = finding(), finding(function="f")
    named = fingerprint.names([one, other])
    assert len(set(named.values())) == 2
    assert all(len(name) == 7 for name in named.values())
    assert fingerprint.find(named[one], [one, other]) == fingerprint.fingerprint(one)
    assert fingerprint.find(f"[{named[one].upper()}]", [one]) == fingerprint.fingerprint(one)
    assert fingerprint.find(named[one][:6], [one, other]) is None
    assert fingerprint.find(named[one], [other]) is None


def test_what_nobody_can_do_without_has_no_name() -> None:
    broken = finding(kind="does-not-build", text=("error",))
    assert fingerprint.names([broken]) == {}
    assert fingerprint.find(fingerprint.fingerprint(broken), [broken]) is None


def test_a_name_that_means_nothing_is_explained() -> None:
    one, other = finding(), finding(function="f")
    names = sorted(fingerprint.names([one, other]).values())
    assert fingerprint.problem(names[0], [one, other]) is None
    there = f"there are {', '.join(names)}"
    assert fingerprint.problem("0" * 7, [one, other]) == f'"0000000" is no finding of this series; {there}'  # noqa: E501 # fmt: skip
    assert fingerprint.problem("ab", [one, other]) == f'"ab" is too short, a name has 7 digits; {there}'  # noqa: E501 # fmt: skip
    broken = finding(kind="does-not-build", text=("error",))
    said = fingerprint.problem(fingerprint.fingerprint(broken), [broken])
    assert (said or "").endswith("cannot be muted: the reply has no finding that can")


def test_a_name_that_begins_two_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "fingerprint", lambda one: "a" * 7 + one.function * 9)
    two = [finding(function="b"), finding(function="c")]
    assert sorted(fingerprint.names(two).values()) == ["a" * 7 + "b", "a" * 7 + "c"]
    assert fingerprint.find("a" * 7, two) is None
    assert fingerprint.problem("a" * 7, two) == '"aaaaaaa" begins the names of 2 findings: give more of its digits'  # noqa: E501 # fmt: skip
    assert fingerprint.find("a" * 7 + "b", two) == "a" * 7 + "b" * 9


def test_what_nobody_can_do_without_is_not_muted() -> None:
    broken = finding(kind="does-not-build", text=("error",))
    decided = verdict.decide([broken], 1, {fingerprint.fingerprint(broken)})
    assert (decided.outcome, decided.muted) == (Outcome.FAILED, ())


def test_a_muted_finding_counts_for_nothing() -> None:
    one, other = finding(), finding(function="f", severity="note", before=0, after=70)
    mark = fingerprint.fingerprint(one)
    decided = verdict.decide([one, other], 1, {mark})
    assert (decided.outcome, decided.findings, decided.muted) == (Outcome.PASSED, (other,), (one,))
    assert "pageout" not in decided.headline
    alone = verdict.decide([one], 1, {mark})
    assert (alone.outcome, alone.headline) == (Outcome.PASSED, "No findings that are not muted.")
    said = verdict.muted(one, "M. Maintainer", "it goes away")
    assert said == f"frame of pageout(), 608 bytes [{mark[:7]}]: muted by M. Maintainer (it goes away)"  # noqa: E501 # fmt: skip


WHOLE = Covered(
    BuildResult(outcome=Outcome.PASSED), StackResult(outcome=Outcome.PASSED), stress=None
)
MISFIT = Misfit(index=1, file=None, hunk=None, line=None, expected=(), found=(), reason="no")


def test_what_became_of_the_findings_before() -> None:
    gone, kept = finding(function="f"), finding()
    crash = finding(kind="kernel-report", text=("BUG: x (quick on ext4)", "said"))
    fate = fates.compare([gone, kept, crash], [finding(after=700)], WHOLE)
    assert (fate.gone, fate.there, fate.unknown) == ((gone,), (finding(after=700),), (crash,))
    assert " ".join(fates.sentences(fate, 2, verdict.brief)) == (
        "Of the 3 findings in v2, 1 is gone: frame of f(), 608 bytes. 1 is still there: frame of "
        "pageout(), 700 bytes, in v2 it was 608. 1 could not be looked at: BUG: x (quick on ext4)."
    )


def test_without_findings_before_there_is_nothing_to_tell() -> None:
    assert fates.sentences(fates.compare([], [finding()], WHOLE), 1, verdict.brief) == ()


@pytest.mark.parametrize(
    "tested",
    [
        Covered(BuildResult(outcome=Outcome.FAILED, misfit=MISFIT), None, None),
        Covered(BuildResult(outcome=Outcome.FAILED, broken_patch=1), None, None),
        Covered(BuildResult(outcome=Outcome.PASSED), None, None),
    ],
)
def test_what_could_not_be_looked_at_is_not_gone(tested: Covered) -> None:
    fate = fates.compare([finding()], [], tested)
    assert (fate.gone, fate.unknown) == ((), (finding(),))


def test_that_a_series_applies_again_is_seen() -> None:
    misfit = finding(kind="does-not-apply", text=("no",))
    assert fates.compare([misfit], [], WHOLE).gone == (misfit,)
    single = fates.sentences(fates.compare([misfit], [], WHOLE), 1, verdict.brief)
    assert single == ("The finding in v1 is gone: a patch that does not apply.",)


def test_many_findings_are_not_all_named() -> None:
    many = [finding(function=f"f{n}") for n in range(5)]
    (said,) = fates.sentences(fates.compare(many, [], WHOLE), 1, verdict.brief)
    assert said.endswith("; and 2 more.")
    assert said.startswith("Of the 5 findings in v1, 5 are gone: frame of f0(), ")
