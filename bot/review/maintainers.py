"""Who looks after which files: MAINTAINERS, read as the kernel's scripts/get_maintainer.pl does.

The section THE REST is left out: its F: matches every file, and neither is its one
maintainer asked about every patch, nor is linux-kernel the list of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bot.mail.headers import Address, parse_addresses, printable

REST = "THE REST"
DIFF_LIMIT = 4 * 1024 * 1024  # characters of a diff that are searched for K:
PATHS = 2000  # files of a series that are looked up; the rest is left out
_FIELD = re.compile(r"([A-Z]):\s*(.*)")
_BRACKETS = re.compile(r"<([^<>@\s]+@[^<>@\s]+)>")
_SPECIAL = re.compile(r"[*?\[]")
# what get_maintainer.pl takes for a file in a patch; names that git has to quote are left out
_NAMED = re.compile(
    r"(?m)^(?:diff --git a/(\S+) b/(\S+)$|(?:\+\+\+|---)[ \t]+[^/\s]+/(\S+)"
    r"|rename (?:from|to) (\S+)$)"
)


@dataclass(frozen=True)
class Section:
    """One entry of MAINTAINERS; patterns as they are written."""

    title: str
    maintainers: tuple[Address, ...]
    reviewers: tuple[Address, ...]
    lists: tuple[str, ...]  # without those for subscribers only
    trees: tuple[str, ...]  # "git git://… [branch]"
    status: str
    files: tuple[str, ...]
    excluded: tuple[str, ...]
    names: tuple[str, ...]  # N: regular expressions over the path
    keywords: tuple[str, ...]  # K: the same over what a diff changes


@dataclass(frozen=True, order=True)
class Person:
    """A maintainer or reviewer, and of what."""

    email: str  # lower case
    name: str
    role: str  # "maintainer" or "reviewer"
    section: str


@dataclass(frozen=True)
class Responsible:
    """Who and what belongs to some files; the section that fits closest comes first."""

    people: tuple[Person, ...]
    lists: tuple[str, ...]
    trees: tuple[str, ...]

    def person(self, email: str) -> Person | None:
        """Return the first entry of someone, by address."""
        return next((one for one in self.people if one.email == email.lower()), None)


NOBODY = Responsible((), (), ())


@dataclass(frozen=True)
class Maintainers:
    """All sections of a MAINTAINERS file but THE REST."""

    sections: tuple[Section, ...]

    def of(self, paths: Iterable[str], diff: str = "") -> Responsible:
        """Return who is responsible for files, and for words in the lines that a diff changes."""
        places: dict[int, None] = {}
        for path in list(dict.fromkeys(paths))[:PATHS]:
            places.update(dict.fromkeys(self._sections_of(path)))
        changed = "\n".join(_changed(diff[:DIFF_LIMIT]))
        for place, section in enumerate(self.sections):
            if any(_found(keyword, changed) for keyword in section.keywords):
                places[place] = None
        return _responsible([self.sections[place] for place in places])

    def _sections_of(self, path: str) -> list[int]:
        """Return the sections of one file, the closest first."""
        depths = {}
        for place, section in enumerate(self.sections):
            depth = _depth(section, path)
            if depth is not None:
                depths[place] = depth
        return sorted(depths, key=lambda place: (-depths[place], place))


def parse(text: str) -> Maintainers:
    """Read a MAINTAINERS file; what is no entry is left out."""
    sections: list[Section] = []
    title, fields = "", list[tuple[str, str]]()
    for line in (*text.splitlines(), ""):
        found = _FIELD.match(line)
        if found:
            fields.append((found[1], found[2].strip()))
        elif line.strip() and not line.lstrip().startswith("#"):
            sections += _section(title, fields)
            title, fields = printable(line), []
    return Maintainers((*sections, *_section(title, fields)))


def paths(diff: str) -> tuple[str, ...]:
    """Return the files that a diff names, before and after, sorted."""
    found = (match for match in _NAMED.finditer(diff))
    return tuple(sorted({name for match in found for name in match.groups() if name}))


def _section(title: str, fields: Sequence[tuple[str, str]]) -> Iterator[Section]:
    if not fields or title == REST:
        return

    def of(letter: str) -> tuple[str, ...]:
        return tuple(value for key, value in fields if key == letter and value)

    yield Section(
        title=title, maintainers=_people(of("M")), reviewers=_people(of("R")),
        lists=tuple(_list(one) for one in of("L") if "subscribers-only" not in one),
        trees=of("T"), status=next(iter(of("S")), ""), files=of("F"), excluded=of("X"),
        names=of("N"), keywords=of("K"),
    )  # fmt: skip


def _people(values: Iterable[str]) -> tuple[Address, ...]:
    return tuple(person for value in values for person in parse_addresses(value))


def _list(value: str) -> str:
    """Return the address of a list; some entries have a name before it, most a note behind."""
    found = _BRACKETS.search(value)
    return found[1] if found else value.split(maxsplit=1)[0]


def _depth(section: Section, path: str) -> int | None:
    """Return how closely a section fits a file, None where it does not."""
    if any(_fits(pattern, path) for pattern in section.excluded):
        return None
    depths = [_weight(pattern) for pattern in section.files if _fits(pattern, path)]
    # in the script the last pattern that fits decides, and an N: below it outweighs it
    if any(_found(name, path) for name in section.names):
        return 0
    return depths[-1] if depths else None


def _weight(pattern: str) -> int:
    if pattern.startswith("*"):
        return -1
    return pattern.count("/") + (not pattern.endswith("/"))


def _fits(pattern: str, path: str) -> bool:
    """Tell whether F: or X: matches: below a directory, else no deeper than the pattern is.

    A plain name may be a directory's without its slash (the script looks into the tree).
    """
    start = _SPECIAL.split(pattern, maxsplit=1)[0]
    if not path.startswith(start):
        return False
    if start != pattern and not _compiled(pattern).match(path):
        return False
    if pattern.endswith("/") or path.count("/") == pattern.count("/"):
        return True
    return start == pattern and "." not in pattern and path.startswith("/", len(pattern))


@lru_cache(maxsize=20_000)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern's expression: "*" and "?" are wildcards, "[…]" is a set of characters."""
    parts = re.split(r"(\*+|\?|\[[^\]]+\])", pattern)
    out = []
    for part in parts:
        if part.startswith("*"):
            out.append(".*")
        elif part == "?":
            out.append(".")
        else:
            out.append(part if part.startswith("[") and part.endswith("]") else re.escape(part))
    try:
        return re.compile("".join(out))
    except re.error:
        return re.compile(re.escape(pattern))


@lru_cache(maxsize=20_000)
def _expression(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text, re.VERBOSE)  # the script's /x
    except (re.error, OverflowError, RecursionError):
        return None  # of Perl alone


def _found(expression: str, text: str) -> bool:
    compiled = _expression(expression)
    return compiled is not None and bool(text) and compiled.search(text) is not None


def _changed(diff: str) -> Iterator[str]:
    """Yield the lines that a diff adds or removes, without their sign."""
    for line in diff.split("\n"):
        if line.startswith(("+", "-")) and not line.startswith(("+++ ", "--- ")):
            yield line[1:]


def _responsible(sections: Sequence[Section]) -> Responsible:
    people: dict[Person, None] = {}
    for one in sections:
        for role, addresses in (("maintainer", one.maintainers), ("reviewer", one.reviewers)):
            for person in addresses:
                people[Person(person.email.lower(), person.name, role, one.title)] = None
    lists = dict.fromkeys(name.lower() for one in sections for name in one.lists)
    trees = dict.fromkeys(tree for one in sections for tree in one.trees)
    return Responsible(tuple(people), tuple(lists), tuple(trees))
