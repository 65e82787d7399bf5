"""By what a finding is known again in later versions of a series."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from bot.contract import Finding, FindingKind, plain

SHORT = 7  # hex digits that a mail shows; more where two findings would share them
# whoever is told these cannot do without
UNNAMED = frozenset({FindingKind.REFUSED, FindingKind.DOES_NOT_APPLY, FindingKind.DOES_NOT_BUILD})
# known by their function and file, whatever their words say
_BY_PLACE = frozenset({
    FindingKind.FRAME_GREW, FindingKind.FRAME_NEW, FindingKind.FRAME_DYNAMIC,
})  # fmt: skip
_CALLS = frozenset({FindingKind.CALL_NEW, FindingKind.GUARD_LOST, FindingKind.TARGET_NEW})
_NUMBER = re.compile(r"\b(0x[0-9a-f]+|\d[\d,.]*)\b")
_WHOLE = re.compile(r" \(# with the whole series\)")
_PLACE = re.compile(r"^\S+?:(#:)?(#:)? ")  # "mm/vmscan.c:1281:9: " in front of a warning


def fingerprint(finding: Finding) -> str:
    """Return 64 hex digits: equal for the same finding in another version.

    Sizes, line numbers and the patch's number are not part of it, nor what gcc appends to a
    function's name. A chain, and what a guest showed, are known by their words: which function
    they are blamed on can change.
    """
    words: list[str] = [finding.kind]
    if finding.kind in _BY_PLACE or finding.kind in _CALLS:
        words += [finding.file, plain(finding.function or "")]
    if finding.kind in _CALLS:
        words += finding.text[: 2 if finding.kind is FindingKind.GUARD_LOST else 1]
    elif finding.kind not in _BY_PLACE:
        words.append(_topic(finding))
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def _topic(finding: Finding) -> str:
    first = next(iter(finding.text), "")
    if finding.kind is FindingKind.WARNING:
        first = next((line for line in finding.text if " warning: " in line), first)
        return f"{finding.file} {_PLACE.sub('', _NUMBER.sub('#', first))}"
    return _WHOLE.sub("", _NUMBER.sub("#", first))


def names(findings: Iterable[Finding]) -> Mapping[Finding, str]:
    """Return what each finding can be muted by: so many digits that no two share them."""
    known = {finding: fingerprint(finding) for finding in findings if finding.kind not in UNNAMED}
    digits = SHORT
    while len({one[:digits] for one in known.values()}) < len(set(known.values())):
        digits += 1
    return {finding: one[:digits] for finding, one in known.items()}


def find(name: str, findings: Iterable[Finding]) -> str | None:
    """Return the one fingerprint that begins with a name; None where none or several do."""
    known = {fingerprint(finding) for finding in findings if finding.kind not in UNNAMED}
    wanted = name.lower().strip("[]")
    found = [one for one in known if len(wanted) >= SHORT and one.startswith(wanted)]
    return found[0] if len(found) == 1 else None
