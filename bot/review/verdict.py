"""The only fold over findings: what is said first, and whether the series passes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from bot.contract import (
    IN_GUESTS,
    BuildResult,
    Finding,
    FindingKind,
    Outcome,
    Severity,
    StackResult,
    StressResult,
)
from bot.review.findings import order
from bot.review.fingerprint import SHORT, UNNAMED, fingerprint
from bot.review.stress import missing

MOST = 12  # findings of one mail that are told in full

# what stands first in a mail: the reasons why nothing more could be looked at
RANK = {
    FindingKind.REFUSED: 0,
    FindingKind.DOES_NOT_APPLY: 1,
    FindingKind.DOES_NOT_BUILD: 2,
    FindingKind.KERNEL_REPORT: 3,
    FindingKind.STALL: 4,
    FindingKind.DATA_LOST: 5,
    FindingKind.DIRECT_WRITE: 6,
    FindingKind.OOM_KILL: 7,
    FindingKind.ODD_GUEST: 8,
    FindingKind.CHAIN_REACHED: 9,
    FindingKind.GUARD_LOST: 10,
    FindingKind.FRAME_GREW: 11,
    FindingKind.FRAME_DYNAMIC: 12,
    FindingKind.CHAIN_GREW: 13,
    FindingKind.STACK_DEEPER: 14,
    FindingKind.LESS_EFFICIENT: 15,
    FindingKind.FRAME_NEW: 16,
    FindingKind.TARGET_NEW: 17,
    FindingKind.CALL_NEW: 18,
    FindingKind.WARNING: 19,
}


@dataclass(frozen=True)
class Verdict:
    """Whether the series passes, and the one line that says why."""

    outcome: Outcome
    headline: str
    findings: tuple[Finding, ...]
    muted: tuple[Finding, ...] = ()


def decide(
    findings: Iterable[Finding], total: int, muted: Collection[str] = (), instead: str = ""
) -> Verdict:
    """Fold findings of a series of ``total`` patches; their order does not matter.

    Those with a fingerprint in ``muted`` count for nothing, and stand apart. Where there are
    none at all, ``instead`` is the answer: why nothing was tested, unless it is empty.
    """
    everything = tuple(sorted(findings, key=_place))
    silent = tuple(one for one in everything if _is_muted(one, muted))
    spoken = _decide(tuple(one for one in everything if not _is_muted(one, muted)), total)
    if instead and not everything:
        return Verdict(Outcome.SKIPPED, instead, ())
    if silent and not spoken.findings:
        return replace(spoken, headline="No findings that are not muted.", muted=silent)
    return replace(spoken, muted=silent)


def _place(finding: Finding) -> tuple[object, ...]:
    """Return where a finding is told: in one place the cause before what follows from it."""
    return finding.patch, finding.file, finding.line or 0, RANK[finding.kind], order(finding)


def _is_muted(finding: Finding, muted: Collection[str]) -> bool:
    return finding.kind not in UNNAMED and fingerprint(finding) in muted


def untested(
    build: BuildResult, stack: StackResult | None = None, stress: StressResult | None = None
) -> str:
    """Return why nothing was tested, as a headline; "" where something was."""
    looked = bool(stack and stack.objects) or bool(stress and stress.runs)
    if build.unmet:
        return "Not tested: a patch that the series needs below it does not apply."
    if build.refusal or build.misfit or build.broken_patch is not None:
        return ""  # that is a finding
    if build.outcome is not Outcome.PASSED:
        return f"Not tested: {build.reason.rstrip('.') or 'no reason was given'}."
    # what is in no file to compile, a Makefile or a text, was tried by the build itself
    if build.not_compiled and not looked and not any(one.objects for one in build.patches):
        return "Not tested: nothing that the series changes is compiled here."
    return ""


def doubted(decided: Verdict, stress: StressResult | None) -> Verdict:
    """Say of a verdict without findings that boots did not reach what they were to reach."""
    short = stress is not None and any(missing(run) for run in stress.runs)
    if not short or decided.findings or decided.outcome is not Outcome.PASSED:
        return decided
    return replace(decided, headline=f"{decided.headline[:-1]}, but booting it was inconclusive.")


def in_full(findings: Iterable[Finding], most: int = MOST) -> tuple[Finding, ...]:
    """Return the weightiest of some findings, in the order in which they came."""
    known = tuple(findings)
    kept = frozenset(sorted(known, key=_weight)[:most])
    return tuple(one for one in known if one in kept)


def _decide(ordered: tuple[Finding, ...], total: int) -> Verdict:
    failed = any(finding.severity is Severity.FAIL for finding in ordered)
    outcome = Outcome.FAILED if failed else Outcome.PASSED
    if not ordered:
        return Verdict(outcome, "No findings.", ())
    first = min(ordered, key=_weight)
    others = len(ordered) - 1
    more = f" (and {others} more finding{'s' if others > 1 else ''})" if others else ""
    return Verdict(outcome, f"{headline(first, total)}{more}.", ordered)


def _weight(finding: Finding) -> tuple[object, ...]:
    growth = (finding.after or 0) - (finding.before or 0)
    fails = finding.severity is not Severity.FAIL
    return (fails, RANK[finding.kind], -growth, order(finding))


def headline(finding: Finding, total: int) -> str:  # noqa: C901 - one branch a kind
    """Say one finding in one line, without a full stop."""
    patch = f"patch {finding.patch}/{total}" if total > 1 else "the patch"
    name = finding.function
    match finding.kind:
        case FindingKind.REFUSED:
            text = f"{patch} was not tested: {finding.text[0]}"
        case FindingKind.DOES_NOT_APPLY:
            text = f"{patch} does not apply: {finding.text[0]}"
        case FindingKind.DOES_NOT_BUILD:
            text = f"{patch} does not build"
        case FindingKind.FRAME_GREW:
            growth = (finding.after or 0) - (finding.before or 0)
            text = f"stack: {name}() grows by {growth} bytes, {finding.before} to {finding.after}"
        case FindingKind.FRAME_DYNAMIC:
            text = f"stack: the frame of {name}() has no size known at compile time"
        case FindingKind.FRAME_NEW:
            text = f"stack: new function {name}() takes {finding.after} bytes"
        case FindingKind.CALL_NEW:
            target = finding.text[0]
            text = f"{name}() now makes an {target}" if target == "indirect call" else f"{name}() now calls {target}()"  # noqa: E501 # fmt: skip
        case FindingKind.CHAIN_REACHED | FindingKind.CHAIN_GREW:
            text = f"stack: {finding.text[0]}"
        case FindingKind.GUARD_LOST:
            what = finding.text[0]
            call = "makes an indirect call" if what == "*" else f"calls {what}()"
            text = f"{name}() {call} without a condition that it had"
        case FindingKind.TARGET_NEW:
            text = f"{finding.text[0]} can now be {name}()"
        case _ if finding.kind in IN_GUESTS:
            text = f"stress: {finding.text[0]}"
        case FindingKind.WARNING:
            text = f"new compiler warning in {finding.file}"
    return text[0].upper() + text[1:] if text.startswith(("patch", "the")) else text


def in_short(
    findings: Iterable[Finding], told: Collection[Finding], names: Mapping[Finding, str]
) -> tuple[str, ...]:
    """Name the findings that are not told in full, the weightiest first."""
    rest = sorted((one for one in findings if one not in told), key=_weight)
    return tuple(f"{_plain(one)}{f' [{names[one]}]' if one in names else ''}" for one in rest)


_BRIEF = {
    FindingKind.REFUSED: "was not tested", FindingKind.DOES_NOT_APPLY: "does not apply",
    FindingKind.DOES_NOT_BUILD: "does not build",
}  # fmt: skip


def brief(finding: Finding) -> str:
    """Say one finding in a few words, to be named among others."""
    if finding.kind in _BRIEF:
        return f"a patch that {_BRIEF[finding.kind]}"
    if finding.kind in {FindingKind.FRAME_GREW, FindingKind.FRAME_NEW}:
        return f"frame of {finding.function}(), {finding.after} bytes"
    return _plain(finding)


def _plain(finding: Finding) -> str:
    return headline(finding, 1).removeprefix("stack: ").removeprefix("stress: ")


def muted(finding: Finding, by: str, reason: str) -> str:
    """Say of a muted finding what it is, who muted it, and why."""
    name = fingerprint(finding)[:SHORT]
    return f"{brief(finding)} [{name}]: muted by {by}{f' ({reason})' if reason else ''}"
