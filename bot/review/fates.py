"""What became of the findings of the version before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from bot.contract import IN_GUESTS, BuildResult, Finding, FindingKind, StackResult, StressResult
from bot.review.fingerprint import UNNAMED, fingerprint

SHOWN = 3  # findings of one fate that are named
Say = Callable[[Finding], str]


@dataclass(frozen=True)
class Covered:
    """What of a series could be looked at, so that silence about it means something."""

    build: BuildResult
    stack: StackResult | None
    stress: StressResult | None

    def covers(self, finding: Finding) -> bool:
        """Whether this finding would have been made again."""
        if finding.kind in {FindingKind.REFUSED, FindingKind.DOES_NOT_APPLY}:
            return self.build.refusal is None
        if self.build.refusal or self.build.misfit:
            return False
        if finding.kind is FindingKind.DOES_NOT_BUILD:
            return True
        if self.build.broken_patch is not None:
            return False
        if finding.kind in IN_GUESTS:
            return self.stress is not None and self._booted(finding)
        return finding.kind is FindingKind.WARNING or self.stack is not None

    def _booted(self, finding: Finding) -> bool:
        """Whether the profile and the filesystem of a finding were booted again."""
        head = next(iter(finding.text), "")
        runs = self.stress.runs if self.stress else ()
        return any(head.endswith(f"({run.profile.name} on {run.filesystem})") for run in runs)


@dataclass(frozen=True)
class Fates:
    """The findings of the version before, by what became of them."""

    gone: tuple[Finding, ...]
    there: tuple[Finding, ...]  # as they are now
    unknown: tuple[Finding, ...]  # could not be looked at this time


def compare(before: Iterable[Finding], now: Iterable[Finding], tested: Covered) -> Fates:
    """Compare the findings of two versions; the order of neither counts."""
    current = {fingerprint(finding): finding for finding in now}
    gone, there, unknown = [], [], []
    for mark, finding in sorted({fingerprint(one): one for one in before}.items()):
        if mark in current:
            there.append(current[mark])
        elif tested.covers(finding):
            gone.append(finding)
        else:
            unknown.append(finding)
    return Fates(_sorted(gone), _sorted(there), _sorted(unknown))


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda one: (one.kind in UNNAMED, one.kind, repr(one))))


def sentences(fates: Fates, version: int, say: Say) -> tuple[str, ...]:
    """Tell the fates; none where the version before had no findings.

    ``say`` gives a finding in a few words, without a full stop.
    """
    total = len(fates.gone) + len(fates.there) + len(fates.unknown)
    if not total:
        return ()
    if total == 1:
        return (_single(fates, version, say),)
    said = [f"Of the {total} findings in v{version},"]
    parts = [
        _part(fates.gone, "is gone", "are gone", say),
        _part(fates.there, "is still there", "are still there", say),
        _part(fates.unknown, "could not be looked at", "could not be looked at", say),
    ]
    return (f"{said[0]} {'; '.join(filter(None, parts))}.",)


def _single(fates: Fates, version: int, say: Say) -> str:
    (finding,) = (*fates.gone, *fates.there, *fates.unknown)
    fate = (
        "is gone" if fates.gone else "is still there" if fates.there else "could not be looked at"
    )
    return f"The finding in v{version} {fate}: {say(finding)}."


def _part(found: Sequence[Finding], one: str, several: str, say: Say) -> str:
    if not found:
        return ""
    named = _named(found, say)
    return f"{len(found)} {several if len(found) > 1 else one} ({named})"


def _named(found: Collection[Finding], say: Say) -> str:
    words = [say(finding) for finding in list(found)[:SHOWN]]
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(words) + more
