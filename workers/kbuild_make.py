"""Makefile text as lists of words with the Kconfig symbols that each hangs on.

Understands assignments, line continuations, conditionals on CONFIG symbols, and the few
functions that kernel Makefiles wrap lists in. It evaluates nothing else: a condition it
does not understand counts as met.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

ASSIGNMENT = re.compile(
    r"(?:override\s+|export\s+)*(?P<head>[A-Za-z0-9_.$(){}, -]+?)\s*"
    r"(?P<how>\+=|:{0,3}=|\?=)(?P<value>.*)",
    re.ASCII,
)
RULE = re.compile(r"[^=]*:(?![:=])")
SYMBOL = re.compile(r"CONFIG_(\w+)", re.ASCII)
REFERENCE = re.compile(r"\$[({](?P<name>[A-Za-z0-9_.-]+)[)}]", re.ASCII)
ADDPREFIX = re.compile(r"\$\(addprefix\s+(?P<prefix>[^,\s()$]*)\s*,(?P<words>[^()]*)\)")
FUNCTION = re.compile(r"\$[({](?:filter|filter-out|sort|strip|patsubst|subst|if|wildcard|call)\b")
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]*(?:\.o|/)")
SUFFIX = re.compile(r"-(?:y|m|objs)?$")
MAX_WORDS = 20_000  # of one Makefile


@dataclass(frozen=True)
class Entry:
    """One word of one list: ``foo-$(CONFIG_X) += bar.o`` is ("foo", "bar.o", {"X"}).

    A reference to another list, ``$(mmu-y)``, is the word "$mmu".
    """

    name: str  # the variable without -y, -m, -objs, -$(CONFIG_X)
    word: str  # "bar.o", "dir/" or "$list"
    literals: frozenset[str]
    opaque: bool = False  # it stands in a condition that is not understood


@dataclass(frozen=True)
class _Branch:
    literals: frozenset[str]
    negated: frozenset[str] | None  # those of its else; None: not expressible
    opaque: bool = False


def entries(text: str, known: Mapping[str, str]) -> tuple[Entry, ...]:
    """Return the words of all lists in a Makefile, in order.

    ``known`` holds make variables that are replaced by their value wherever they stand.
    """
    found: list[Entry] = []
    branches: list[_Branch] = []
    for line in _lines(text, known):
        if _conditional(line, branches):
            continue
        assignment = ASSIGNMENT.fullmatch(line)
        if assignment and len(found) < MAX_WORDS:
            _assign(found, branches, assignment)
    return tuple(found)


def _lines(text: str, known: Mapping[str, str]) -> Iterator[str]:
    after_rule = False  # only there does a tab begin a recipe (make(1), "Recipe Syntax")
    for line in re.sub(r"\\\r?\n[ \t]*", " ", text).splitlines():
        bare = line.split("#", 1)[0].strip()
        if not bare or (after_rule and line.startswith("\t")):
            continue
        after_rule = bool(RULE.match(bare))
        yield REFERENCE.sub(lambda found: known.get(found["name"], found[0]), bare)


def _conditional(line: str, branches: list[_Branch]) -> bool:
    """Keep the stack of conditions; tell whether the line was one."""
    word, _, rest = line.partition(" ")
    if word.startswith(("ifeq(", "ifneq(")):
        word, rest = word.partition("(")[0], line[line.index("(") :]
    if word in ("ifeq", "ifneq", "ifdef", "ifndef"):
        branches.append(_condition(word, rest.strip()))
    elif word == "else" and branches:
        branches.append(_otherwise(branches.pop(), rest.strip()))
    elif word == "endif" and branches:
        branches.pop()
    else:
        return word in ("else", "endif")
    return True


def _otherwise(before: _Branch, rest: str) -> _Branch:
    negated = before.negated
    branch = _Branch(negated or frozenset(), before.literals, opaque=negated is None)
    if not rest:
        return branch
    word, _, condition = rest.partition(" ")
    more = _condition(word, condition.strip())
    return _Branch(branch.literals | more.literals, None, branch.opaque or more.opaque)


def _condition(word: str, rest: str) -> _Branch:
    """Return what a condition on CONFIG symbols means: all on, or one off.

    ``ifeq ($(CONFIG_A)$(CONFIG_B),yy)``, ``ifneq ($(CONFIG_A),)`` and ``ifdef CONFIG_A`` are
    understood, with their negations; of any other the symbols cannot be told to be needed.
    """
    if word in ("ifdef", "ifndef"):
        one = SYMBOL.fullmatch(rest)
        return _branch([one[1]] if one else [], on=word == "ifdef")
    compared = re.fullmatch(r"\(\s*((?:\$\(CONFIG_\w+\))+)\s*,\s*(y*)\s*\)", rest, re.ASCII)
    symbols = SYMBOL.findall(compared[1]) if compared else []
    if not compared or (compared[2] and len(compared[2]) != len(symbols)):
        return _branch([], on=True)
    if not compared[2] and len(symbols) > 1:
        return _branch([], on=True)
    return _branch(symbols, on=(word == "ifeq") == bool(compared[2]))


def _branch(symbols: Sequence[str], *, on: bool) -> _Branch:
    if not symbols:
        return _Branch(frozenset(), None, opaque=True)
    positive = frozenset(symbols)
    negative = frozenset({f"!{symbols[0]}"}) if len(symbols) == 1 else None
    if on:
        return _Branch(positive, negative)
    return _Branch(negative or frozenset(), positive, opaque=negative is None)


def _assign(found: list[Entry], branches: Sequence[_Branch], line: re.Match[str]) -> None:
    head = line["head"].strip()
    stem = SUFFIX.sub("", head.split("$", 1)[0].strip())
    if not stem or " " in stem:
        return
    literals = frozenset(SYMBOL.findall(head)).union(*(branch.literals for branch in branches))
    opaque = any(branch.opaque for branch in branches)
    words = list(_words(line["value"]))
    if line["how"] in ("=", ":=", "::=") and f"${stem}" not in words:
        found[:] = _overridden(found, stem, literals, opaque=opaque)
    found += [Entry(stem, word, literals, opaque) for word in words if word != f"${stem}"]


def _overridden(
    found: Sequence[Entry], stem: str, literals: frozenset[str], *, opaque: bool
) -> Iterator[Entry]:
    """Yield the entries as they are after ``stem := …`` under ``literals``.

    With ``mmu-y := nommu.o`` before ``mmu-$(CONFIG_MMU) := memory.o``, nommu.o needs !MMU
    (mm/Makefile).
    """
    for entry in found:
        extra = literals - entry.literals
        if entry.name != stem or opaque or len(extra) > 1:
            yield entry
        elif len(extra) == 1:
            (one,) = extra
            off = one[1:] if one.startswith("!") else f"!{one}"
            yield replace(entry, literals=entry.literals | {off})
        elif entry.opaque:
            yield entry


def _words(value: str) -> Iterator[str]:
    """Yield objects, directories and references to other lists."""

    def prefixed(found: re.Match[str]) -> str:
        words = found["words"].split()
        return " ".join(w if w[0] == "$" else found["prefix"] + w for w in words)

    for word in FUNCTION.sub(" ", ADDPREFIX.sub(prefixed, value)).replace(",", " ").split():
        if (reference := REFERENCE.search(word)) and not word.endswith((".o", "/")):
            yield f"${SUFFIX.sub('', reference['name'])}"
        elif WORD.fullmatch(word.rstrip(")")):
            yield word.rstrip(")").removeprefix("./")
