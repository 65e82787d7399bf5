"""The only fold over findings: what is said first, and whether the series passes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from bot.contract import IN_GUESTS, Finding, FindingKind, Outcome, Severity
from bot.review.findings import order
from bot.review.fingerprint import SHORT, fingerprint

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


def decide(findings: Iterable[Finding], total: int, muted: Collection[str] = ()) -> Verdict:
    """Fold findings of a series of ``total`` patches; their order does not matter.

    Those with a fingerprint in ``muted`` count for nothing, and stand apart.
    """
    everything = tuple(sorted(findings, key=order))
    silent = tuple(one for one in everything if fingerprint(one) in muted)
    spoken = _decide(tuple(one for one in everything if one not in silent), total)
    if silent and not spoken.findings:
        return replace(spoken, headline="No findings that are not muted.", muted=silent)
    return replace(spoken, muted=silent)


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
            text = f"{name}() calls {finding.text[0]}() without a condition that it had"
        case FindingKind.TARGET_NEW:
            text = f"{finding.text[0]} can now be {name}()"
        case _ if finding.kind in IN_GUESTS:
            text = f"stress: {finding.text[0]}"
        case FindingKind.WARNING:
            text = f"new compiler warning in {finding.file}"
    return text[0].upper() + text[1:] if text.startswith(("patch", "the")) else text


def brief(finding: Finding) -> str:
    """Say one finding in a few words, to be named among others."""
    words = headline(finding, 1).removeprefix("stack: ").removeprefix("stress: ")
    if finding.kind in {FindingKind.FRAME_GREW, FindingKind.FRAME_NEW}:
        return f"frame of {finding.function}(), {finding.after} bytes"
    return words


def muted(finding: Finding, by: str, reason: str) -> str:
    """Say of a muted finding what it is, who muted it, and why."""
    name = fingerprint(finding)[:SHORT]
    return f"{brief(finding)} [{name}]: muted by {by}{f' ({reason})' if reason else ''}"
