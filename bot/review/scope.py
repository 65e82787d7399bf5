"""series → scope: which rules of policies/scope.toml a series touches, or why none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot.mail import quote
from bot.mail.headers import printable
from bot.mail.quote import Hunk
from bot.mail.series import Series
from bot.review.touched import functions
from policies import stress
from policies.scope import Inside, ScopePolicy
from policies.stress import Filesystem

# a diff that no library reads still names its files
_NAMES = re.compile(rb"(?m)^(?:diff --git a/(\S+) b/|\+\+\+ b/(\S+)|--- a/(\S+))")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_COMMENT = re.compile(r"/\*.*?(\*/|$)|//.*$|^\s*\*( .*|/)?$")
LINE = 1000  # characters of a line that are looked at
SHOWN = 3  # matches that the reason names


@dataclass(frozen=True, order=True)
class Match:
    """A place that a rule concerns."""

    patch: int
    file: str
    line: int  # after the patch; 0: the file as a whole
    rule: str
    what: str  # a function, or the words that matched


@dataclass(frozen=True)
class Scope:
    """Whether a series is looked at, why in one line, and what follows from it."""

    inside: bool
    reason: str
    matches: tuple[Match, ...]  # by patch, file and line
    filesystems: tuple[Filesystem, ...]
    profiles: tuple[str, ...]


def scope(series: Series, policy: ScopePolicy) -> Scope:
    """Decide whether stackhog looks at a series.

    Raises StressPolicyError where policies/filesystems.toml cannot be used.
    """
    changes = [
        (patch.index, quote.hunks(patch.message.diff), files(patch.message.diff))
        for patch in series.patches
    ]
    touched = sorted({name for _, hunks, names in changes for name in (*names, *_of(hunks))})
    left = _left_alone(series, touched, policy) or _says_nothing([h for _, h, _ in changes])
    if left:
        return Scope(inside=False, reason=left, matches=(), filesystems=(), profiles=())
    rules = _for_lists(series, policy)
    found = [
        match for index, hunks, names in changes for match in _matches(index, hunks, names, rules)
    ]
    order = {rule.name: number for number, rule in enumerate(policy.inside)}
    matches = tuple(sorted(set(found)))
    if not matches:
        return Scope(
            inside=False, reason=f"no rule concerns {_named(touched)}", matches=(),
            filesystems=(), profiles=(),
        )  # fmt: skip
    named = {match.rule for match in matches}
    profiles = {name for rule in rules if rule.name in named for name in rule.profiles}
    first = min(matches, key=lambda match: (order[match.rule], match))
    reason = next(rule.reason for rule in policy.inside if rule.name == first.rule)
    return Scope(
        inside=True,
        reason=f"{first.rule}: {_place(first)}: {reason}",
        matches=matches,
        filesystems=stress.filesystems(touched),
        profiles=tuple(sorted(profiles)),
    )


def _for_lists(series: Series, policy: ScopePolicy) -> list[Inside]:
    """Return the rules that hold for the lists that a series went to."""
    mails = [series.lead, *(patch.message for patch in series.patches)]
    sent_to = {address.email.lower() for mail in mails for address in (*mail.to, *mail.cc)}
    return [
        rule for rule in policy.inside
        if not rule.lists or any(re.fullmatch(rule.lists, one) for one in sent_to)
    ]  # fmt: skip


def files(diff: bytes) -> tuple[str, ...]:
    """Return the files that a diff names, sorted, also where it cannot be read."""
    found = {next(filter(None, names)) for names in _NAMES.findall(diff) if any(names)}
    return tuple(sorted(printable(name.decode(errors="replace")) for name in found))


def _of(hunks: Sequence[Hunk]) -> set[str]:
    return {hunk.file for hunk in hunks}


def _left_alone(series: Series, touched: Sequence[str], policy: ScopePolicy) -> str | None:
    for rule in policy.outside:
        tag = next((tag for tag in series.tags if rule.has_tag(tag)), None)
        if tag:
            return f"{rule.name}: [{tag}]: {rule.reason}"
        first = next((address.email for address in series.lead.to), "")
        if rule.has_list(first):
            return f"{rule.name}: {first}: {rule.reason}"
        if touched and all(rule.has_path(path) for path in touched):
            return f"{rule.name}: {_named(touched)}: {rule.reason}"
    return None if touched else "its diffs name no file"


def _named(touched: Sequence[str]) -> str:
    left = len(touched) - SHOWN
    more = f" and {left} more file{'s' if left > 1 else ''}" if left > 0 else ""
    return ", ".join(touched[:SHOWN]) + more


def _says_nothing(patches: Sequence[Sequence[Hunk]]) -> str | None:
    hunks = [hunk for found in patches for hunk in found]
    lines = [text for hunk in hunks for text, _ in hunk.lines if text[:1] in {"+", "-"}]
    if not lines or any(_code(line) for line in lines):
        return None
    return "only comments and empty lines change"


def _code(line: str) -> str:
    """Return a diff line's code, its sign, comments and strings gone."""
    return _COMMENT.sub("", _STRING.sub('""', line[1:LINE])).strip()


def _place(match: Match) -> str:
    where = f"{match.file}:{match.line}" if match.line else match.file
    return f"{where} ({match.what})" if match.what else where


def _matches(
    index: int, hunks: Sequence[Hunk], names: Sequence[str], rules: Sequence[Inside]
) -> Iterator[Match]:
    read = _of(hunks)
    for rule in rules:
        for hunk in hunks:
            if not rule.path or re.fullmatch(rule.path, hunk.file):
                yield from _in_hunk(index, hunk, rule)
        if rule.path and not (rule.function or rule.text or rule.added):
            unread = [name for name in names if name not in read]
            yield from (
                Match(index, name, 0, rule.name, "") for name in unread
                if re.fullmatch(rule.path, name)
            )  # fmt: skip


def _in_hunk(index: int, hunk: Hunk, rule: Inside) -> Iterator[Match]:
    """Yield what a rule finds in a hunk, once for each thing found."""
    said: set[str] = set()
    for text, line, function in functions(hunk):
        code = _code(text)
        if not code or (rule.function and not re.fullmatch(rule.function, function or "")):
            continue
        what = _what(rule, text, code, function)
        if what is not None and what not in said:
            said.add(what)
            yield Match(index, hunk.file, line, rule.name, what)


def _what(rule: Inside, text: str, code: str, function: str | None) -> str | None:
    """Return what of a changed line a rule is about; None where it is not."""
    if rule.added:
        found = re.search(rule.added, text[1:LINE]) if text.startswith("+") else None
        return printable(found[0]) if found else None
    if rule.text:
        found = re.search(rule.text, code)
        return printable(found[0]).strip(" (=") if found else None
    return f"{function}()" if function else ""
