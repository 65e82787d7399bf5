"""series → scope: which rules of policies/scope.toml a series touches, or why none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bot.mail import quote
from bot.mail.headers import printable
from bot.mail.quote import Hunk
from bot.mail.series import Series
from bot.review.touched import FUNCTION
from policies import stress
from policies.scope import Inside, Outside, ScopePolicy
from policies.stress import Filesystem

# a file without a hunk (renamed, another mode, binary) is named nowhere else
_GIT = re.compile(rb"(?m)^diff --git a/(\S+) b/")
# a diff that no library reads still names its files; in others these may be changed lines
_NAMES = re.compile(rb"(?m)^(?:\+\+\+ b/|--- a/)(\S+)")
_C = re.compile(r".*\.[chS]")
# strings, characters and comments; what is cut off at the end of the line counts to there
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\(?:.|$))*(?:"|$))|'(?:\\.|[^'\\])'|(?P<note>/\*.*?(?:\*/|$)|//.*)"""
)
_WITHIN = re.compile(r"\s*\*( .*|/)?")  # a line of a comment that began above
_NOTED = re.compile(r"__(acquires?|releases?|must_hold|cond_acquires|attribute__)\b")  # of sparse
_OTHER = re.compile(r"[A-Za-z_][^()]*\{\s*")  # a struct, a table: no function from here on
LINE = 500  # characters of a line, and of a file's name, that are looked at
DIFFS = 8 << 20  # bytes of a series' diffs that are read; above, the names of files count
MATCHES = 1000  # that are kept of a series
SHOWN = 3  # files and functions that a reason names


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


@dataclass(frozen=True)
class Facts:
    """What a patch touches, as a person is shown it."""

    patch: int
    files: tuple[str, ...]  # sorted
    functions: tuple[tuple[str, str], ...]  # file and name, sorted
    added: int  # lines, comments included
    removed: int
    read: bool  # False: its diff cannot be read, or is too long


@dataclass(frozen=True)
class _Line:
    """A line of a hunk; its code is what is left without comments and strings."""

    sign: str
    text: str
    code: str
    at: int
    function: str


@dataclass(frozen=True)
class _Part:
    """A hunk that changes more than comments and white space."""

    file: str
    lines: tuple[_Line, ...]  # that are changed, and are not empty
    all: str  # the code of header, context and changes


@dataclass(frozen=True)
class _Patch:
    facts: Facts
    parts: tuple[_Part, ...]
    hunks: bool  # whether there are any, read or not

    @property
    def unread(self) -> tuple[str, ...]:
        """The files whose names are all that is known."""
        return () if self.facts.read else self.facts.files


def scope(series: Series, policy: ScopePolicy) -> Scope:
    """Decide whether stackhog looks at a series.

    Raises StressPolicyError where policies/filesystems.toml cannot be used.
    """
    patches = _read(series)
    touched = sorted({name for one in patches for name in one.facts.files})
    left = _left_alone(series, touched, policy) or _says_nothing(patches, touched)
    rules = [] if left else _for_lists(series, policy)
    code = [_of_kernel(one, policy) for one in patches]
    matches = sorted({match for one in code for rule in rules for match in _of(one, rule)})
    if not matches:
        reason = left or f"no rule concerns {_looked_at(patches, touched)}"
        return Scope(inside=False, reason=reason, matches=(), filesystems=(), profiles=())
    named = {match.rule for match in matches}
    hit = [rule for rule in rules if rule.name in named]  # the first of the file comes first
    first = next(match for match in matches if match.rule == hit[0].name)
    asked = {one for rule in hit for one in rule.filesystems}
    return Scope(
        inside=True,
        reason=f"{first.rule}: {_place(first)}: {hit[0].reason}",
        matches=tuple(matches[:MATCHES]),
        filesystems=tuple(sorted(asked.union(stress.filesystems(touched)))),
        profiles=tuple(sorted({name for rule in hit for name in rule.profiles})),
    )


def facts(series: Series) -> tuple[Facts, ...]:
    """Return what each patch touches, in order."""
    return tuple(one.facts for one in _read(series))


def _files(diff: bytes, *, read: bool) -> set[str]:
    """Return the files that the headers of a diff name."""
    found = {*_GIT.findall(diff), *(() if read else _NAMES.findall(diff))}
    return {printable(name[:LINE].decode(errors="replace")) for name in found}


def _read(series: Series) -> list[_Patch]:
    found, left = [], DIFFS
    for patch in series.patches:
        left -= len(patch.message.diff)
        found.append(_patch(patch.index, patch.message.diff, within=left >= 0))
    return found


def _patch(index: int, diff: bytes, *, within: bool) -> _Patch:
    hunks = quote.hunks(diff) if within else ()
    parted = [(hunk, printable(hunk.file[:LINE]), tuple(_lines(hunk))) for hunk in hunks]
    parts = tuple(_part(hunk, name, lines) for hunk, name, lines in parted if _tells(hunk, lines))
    signs = Counter(line.sign for _, _, lines in parted for line in lines)
    has_hunks = diff.startswith(b"@@ ") or b"\n@@ " in diff
    read = bool(hunks) or not has_hunks
    known = Facts(
        patch=index,
        files=tuple(sorted({name for _, name, _ in parted} | _files(diff, read=read))),
        functions=tuple(
            sorted({(p.file, x.function) for p in parts for x in p.lines if x.function})
        ),
        added=signs["+"],
        removed=signs["-"],
        read=read,
    )
    return _Patch(known, parts, has_hunks)


def _lines(hunk: Hunk) -> Iterator[_Line]:
    """Yield all lines of a hunk; a removed function's lines are its own, not its neighbour's."""
    is_c = _C.fullmatch(hunk.file[:LINE]) is not None
    name = dict.fromkeys("-+", _begun(hunk.section[:LINE]) or "")
    for line, at in hunk.lines:
        sign, text = line[:1], line[1:LINE]
        begun = _begun(text)
        for side in sign if sign in name else "-+":
            name[side] = name[side] if begun is None else begun
        yield _Line(
            sign, text, _code(text) if is_c else text, at, name["-" if sign == "-" else "+"]
        )
        if text.startswith("}"):
            name.update(dict.fromkeys(sign if sign in name else "-+", ""))


def _begun(line: str) -> str | None:
    """Return the function that begins here, "" where something else does, None: nothing."""
    found = None if _NOTED.match(line) else FUNCTION.match(line)
    if found and not line.rstrip().endswith(";"):
        return found["name"]
    return "" if _OTHER.fullmatch(line) else None


def _code(text: str, string: str = '""') -> str:
    """Return C without comments, and with strings as they are told, or None: as they were."""
    if _WITHIN.fullmatch(text):
        return ""

    def short(found: re.Match[str]) -> str:
        if found["note"]:
            return " "
        return string if found["string"] and string else found[0]

    return _TOKEN.sub(short, text)


def _tells(hunk: Hunk, lines: Sequence[_Line]) -> bool:
    """Whether a hunk changes more than comments and white space."""
    is_c = _C.fullmatch(hunk.file[:LINE]) is not None
    sides = {"-": "", "+": ""}
    for sign in sides:
        texts = [line.text for line in lines if line.sign == sign]
        kept = [_code(text, "") if is_c else text for text in texts]
        sides[sign] = "".join("".join(kept).split())
    return sides["-"] != sides["+"]


def _part(hunk: Hunk, name: str, lines: Sequence[_Line]) -> _Part:
    changed = tuple(line for line in lines if line.sign in {"-", "+"} and line.code.strip())
    return _Part(name, changed, "\n".join([hunk.section[:LINE], *(one.code for one in lines)]))


def _for_lists(series: Series, policy: ScopePolicy) -> list[Inside]:
    """Return the rules that hold for the lists that a series went to."""
    mails = [series.lead, *(patch.message for patch in series.patches)]
    sent_to = {address.email.lower() for mail in mails for address in (*mail.to, *mail.cc)}
    return [
        rule for rule in policy.inside
        if not rule.lists or any(re.fullmatch(rule.lists, one) for one in sent_to)
    ]  # fmt: skip


def _of_kernel(patch: _Patch, policy: ScopePolicy) -> _Patch:
    """Return a patch without the files that are left alone by themselves, such as documents."""
    alone = [rule for rule in policy.outside if rule.paths and not (rule.tags or rule.lists)]
    parts = [part for part in patch.parts if not any(rule.has_path(part.file) for rule in alone)]
    return replace(patch, parts=tuple(parts))


def _left_alone(series: Series, touched: Sequence[str], policy: ScopePolicy) -> str | None:
    for rule in policy.outside:
        evidence = _evidence(series, touched, rule)
        if evidence:
            return f"{rule.name}: {evidence}: {rule.reason}"
    return None if touched else "its diffs name no file"


def _evidence(series: Series, touched: Sequence[str], rule: Outside) -> str | None:
    """Return what a rule says of a series that it leaves alone, else None."""
    first = next((address.email for address in series.lead.to), "")
    tag = next((tag for tag in series.tags if rule.has_tag(tag)), None)
    if rule.tags and tag is None:
        return None
    if rule.lists and not rule.has_list(first):
        return None
    if rule.paths and not (touched and all(rule.has_path(path) for path in touched)):
        return None
    if rule.tags:
        return f"[{tag}]"
    return first if rule.lists else _named(touched)


def _says_nothing(patches: Sequence[_Patch], touched: Sequence[str]) -> str | None:
    if any(one.parts or one.unread for one in patches):
        return None
    if any(one.hunks for one in patches):
        return "only comments and white space change"
    return f"no line changes in {_named(touched)}"


def _named(names: Sequence[str], kind: str = "file") -> str:
    left = len(names) - SHOWN
    more = f" and {left} more {kind}{'s' if left > 1 else ''}" if left > 0 else ""
    return ", ".join(names[:SHOWN]) + more


def _looked_at(patches: Sequence[_Patch], touched: Sequence[str]) -> str:
    """Return what no rule concerns: the functions where there is one file, else the files."""
    functions = sorted({f"{name}()" for one in patches for _, name in one.facts.functions})
    where = f"{_named(functions, 'function')} in " if functions and len(touched) == 1 else ""
    unread = any(one.unread for one in patches)
    return where + _named(touched) + (", of which not all diffs can be read" if unread else "")


def _place(match: Match) -> str:
    where = f"{match.file}:{match.line}" if match.line else match.file
    return f"{where} ({match.what})" if match.what else where


def _of(patch: _Patch, rule: Inside) -> Iterator[Match]:
    """Yield what a rule finds in a patch, the same thing in the same file once."""
    said: set[tuple[str, str]] = set()
    for part in patch.parts:
        if rule.path and not re.fullmatch(rule.path, part.file):
            continue
        if rule.near and not re.search(rule.near, part.all):
            continue
        for what, line in _in_part(part, rule):
            if (part.file, what) not in said:
                said.add((part.file, what))
                yield Match(patch.facts.patch, part.file, line, rule.name, what)
    for name in patch.unread:
        if rule.is_of_files and re.fullmatch(rule.path, name):
            yield Match(patch.facts.patch, name, 0, rule.name, "")


def _in_part(part: _Part, rule: Inside) -> Iterator[tuple[str, int]]:
    """Yield what a rule is about in the changed lines of a hunk, and where."""
    lines = [
        line for line in part.lines
        if not (rule.function and not re.fullmatch(rule.function, line.function))
        and not (rule.unless and re.fullmatch(rule.unless, line.function))
    ]  # fmt: skip
    if rule.counted:
        yield from _uneven(lines, rule.counted)
        return
    for line in lines:
        what = _what(rule, line)
        if what is not None:
            yield what, line.at


def _uneven(lines: Sequence[_Line], pattern: str) -> Iterator[tuple[str, int]]:
    """Yield the words that are not added as often as they are removed."""
    found = [(line, word[0]) for line in lines for word in re.finditer(pattern, line.code)]
    more = Counter(word for line, word in found if line.sign == "+")
    more.subtract(word for line, word in found if line.sign == "-")
    for line, word in found:
        if more[word] and (more[word] > 0) is (line.sign == "+"):
            yield f"{printable(word)} {'added' if line.sign == '+' else 'removed'}", line.at


def _what(rule: Inside, line: _Line) -> str | None:
    """Return what of a changed line a rule is about; None where it is not."""
    if rule.added:
        found = re.search(rule.added, line.text) if line.sign == "+" else None
        return printable(found[0]) if found else None
    if rule.text:
        found = re.search(rule.text, line.code)
        return printable(found[0]).strip(" (=") if found else None
    return f"{line.function}()" if line.function else ""
