"""What became of the findings of the version before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from bot.contract import (
    IN_GUESTS,
    BuildResult,
    Finding,
    FindingKind,
    Outcome,
    StackResult,
    StressResult,
)
from bot.review.fingerprint import UNNAMED, fingerprint
from bot.review.stress import missing

SHOWN = 3  # findings of one fate that are named
_ENDED = frozenset({Outcome.PASSED, Outcome.FAILED})
_OF_BUILD = frozenset({FindingKind.DOES_NOT_BUILD, FindingKind.WARNING})
# found in the call graph of the whole kernel, which is not always added up
_WHOLE_KERNEL = frozenset({
    FindingKind.CHAIN_GREW, FindingKind.CHAIN_REACHED, FindingKind.GUARD_LOST,
    FindingKind.TARGET_NEW,
})  # fmt: skip
# what their `after` counts can be told without a word on it
_FIGURES = frozenset({
    FindingKind.FRAME_GREW, FindingKind.FRAME_NEW, FindingKind.FRAME_DYNAMIC,
    FindingKind.CHAIN_GREW, FindingKind.CHAIN_REACHED, FindingKind.STACK_DEEPER,
})  # fmt: skip
Say = Callable[[Finding], str]


@dataclass(frozen=True)
class Covered:
    """What of a series could be looked at, so that silence about it means something."""

    build: BuildResult
    stack: StackResult | None
    stress: StressResult | None

    def covers(self, finding: Finding) -> bool:
        """Whether this finding would have been made again."""
        build = self.build
        if build.unmet or build.refusal or build.outcome not in _ENDED:
            return False
        if finding.kind is FindingKind.REFUSED:
            return True
        if finding.kind is FindingKind.DOES_NOT_APPLY:
            return build.misfit is None
        if build.misfit or build.broken_patch is not None:  # later patches are not known
            return False
        return self._booted(finding) if finding.kind in IN_GUESTS else self._compared(finding)

    def _compared(self, finding: Finding) -> bool:
        """Whether the file of a finding was compiled, and what is needed was made of it."""
        stack = self.stack
        if any(one.file == finding.file for one in self.build.not_compiled):
            return False
        if finding.kind in _OF_BUILD:
            return True
        if stack is None or stack.outcome is not Outcome.PASSED:
            return False
        return finding.kind not in _WHOLE_KERNEL or bool(stack.chains)

    def _booted(self, finding: Finding) -> bool:
        """Whether the profile and the filesystem of a finding were booted, and far enough."""
        stress, head = self.stress, next(iter(finding.text), "")
        if stress is None or stress.outcome not in _ENDED:
            return False
        return any(
            head.endswith(f"({run.profile.name} on {run.filesystem})") and not missing(run)
            for run in stress.runs
        )


@dataclass(frozen=True)
class Fates:
    """The findings of the version before, by what became of them."""

    gone: tuple[Finding, ...]
    there: tuple[Finding, ...]  # as they are now
    unknown: tuple[Finding, ...]  # could not be looked at this time
    were: tuple[Finding, ...] = ()  # those still there, as they were; in the same order
    new: tuple[Finding, ...] = ()


def compare(before: Iterable[Finding], now: Iterable[Finding], tested: Covered) -> Fates:
    """Compare the findings of two versions; the order of neither counts.

    Several findings may have one fingerprint, as when two patches deepen one chain.
    """
    current: dict[str, list[Finding]] = {}
    for finding in reversed(_sorted(now)):
        current.setdefault(fingerprint(finding), []).append(finding)
    gone: list[Finding] = []
    there: list[tuple[Finding, Finding]] = []
    unknown: list[Finding] = []
    for finding in _sorted(before):
        if left := current.get(fingerprint(finding)):
            there.append((left.pop(), finding))
        else:
            (gone if tested.covers(finding) else unknown).append(finding)
    new = [one for left in current.values() for one in left]
    return Fates(
        tuple(gone), tuple(one for one, _ in there), tuple(unknown),
        tuple(one for _, one in there), _sorted(new),
    )  # fmt: skip


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=_order))


def _order(finding: Finding) -> tuple[object, ...]:
    return finding.kind in UNNAMED, finding.kind, repr(finding)


def sentences(fates: Fates, version: int, say: Say) -> tuple[str, ...]:
    """Tell the fates; none where the version before had no findings.

    ``say`` gives a finding in a few words, without a full stop.
    """
    total = len(fates.gone) + len(fates.there) + len(fates.unknown)
    if not total:
        return ()
    old = dict(zip(fates.there, fates.were, strict=False))

    def told(finding: Finding) -> str:
        return say(finding) + _earlier(finding, old.get(finding), version)

    more = _new(fates, say)
    if total == 1:
        return (_single(fates, version, told), *more)
    parts = [
        _part(fates.gone, "is gone", "are gone", told),
        _part(fates.there, "is still there", "are still there", told),
        _part(fates.unknown, "could not be looked at", "could not be looked at", told),
    ]
    first, *others = (f"{part}." for part in parts if part)
    return (f"Of the {total} findings in v{version}, {first}", *others, *more)


def _earlier(finding: Finding, old: Finding | None, version: int) -> str:
    """Say what a finding's figure was, where it is another one now."""
    if old is None or finding.kind not in _FIGURES or old.after in {None, finding.after}:
        return ""
    return f", in v{version} it was {old.after}"


def _new(fates: Fates, say: Say) -> tuple[str, ...]:
    new = [one for one in fates.new if one.kind not in UNNAMED]  # those are the headline
    if not new:
        return ()
    verb = "is" if len(new) == 1 else "are"
    return (f"{len(new)} {verb} new: {_named(new, say)}.",)


def _single(fates: Fates, version: int, say: Say) -> str:
    (finding,) = (*fates.gone, *fates.there, *fates.unknown)
    fate = (
        "is gone" if fates.gone else "is still there" if fates.there else "could not be looked at"
    )
    return f"The finding in v{version} {fate}: {say(finding)}."


def _part(found: Sequence[Finding], one: str, several: str, say: Say) -> str:
    if not found:
        return ""
    return f"{len(found)} {several if len(found) > 1 else one}: {_named(found, say)}"


def _named(found: Collection[Finding], say: Say) -> str:
    words = [say(finding) for finding in list(found)[:SHOWN]]
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(words) + more
