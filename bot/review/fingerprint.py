"""By what a finding is known again in later versions of a series."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from bot.contract import Finding, FindingKind, plain
from bot.mail.headers import printable

SHOWN = 12  # names, and characters of one that is not known
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
        words += _callee(finding)
    elif finding.kind not in _BY_PLACE:
        words.append(_topic(finding))
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def _callee(finding: Finding) -> tuple[str, ...]:
    first, *more = finding.text
    if finding.kind is FindingKind.TARGET_NEW:  # a field: its dot is no suffix of gcc's
        return (first,)
    return (plain(first), *more[:1]) if finding.kind is FindingKind.GUARD_LOST else (plain(first),)


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
    found = _meant(name, findings)
    return found[0] if len(found) == 1 else None


def problem(name: str, findings: Sequence[Finding]) -> str | None:
    """Return why ``find`` finds nothing, as half a sentence with the way out; None: it does."""
    found, known = _meant(name, findings), sorted(set(names(findings).values()))
    if len(found) == 1:
        return None
    said = f'"{printable(name)[:SHOWN]}"'
    there = ", ".join(known[:SHOWN]) + (" and others" if len(known) > SHOWN else "")
    if not known:
        return f"{said} cannot be muted: the reply has no finding that can"
    if found:
        return f"{said} begins the names of {len(found)} findings: give more of its digits"
    if len(_bare(name)) < SHORT:
        return f"{said} is too short, a name has {SHORT} digits; there are {there}"
    return f"{said} is no finding of this series; there are {there}"


def _meant(name: str, findings: Iterable[Finding]) -> list[str]:
    known = {fingerprint(finding) for finding in findings if finding.kind not in UNNAMED}
    wanted = _bare(name)
    return [one for one in known if len(wanted) >= SHORT and one.startswith(wanted)]


def _bare(name: str) -> str:
    """Return a name as it was meant: copied with its brackets, or in capitals."""
    return name.strip().lower().strip("[]")
