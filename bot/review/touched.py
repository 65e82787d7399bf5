"""Which functions a patch changes, read off its diff alone, the way `git diff` names hunks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bot.contract import PatchText
from bot.mail import quote
from bot.mail.quote import Hunk

# git's default for C: a line that begins with a word is where a function begins, and no label
# (the type may stand on the line above)
FUNCTION = re.compile(r"(?:[A-Za-z_][\w\s*]*?[\s*])?(?P<name>[A-Za-z_]\w*)\s*\(")
SOURCE = re.compile(r".*\.[chS]")


@dataclass(frozen=True, order=True)
class Touched:
    """A function of which a patch changes lines."""

    patch: int
    file: str
    function: str
    line: int  # of the first change, after the patch


def touched(patches: Iterable[PatchText]) -> tuple[Touched, ...]:
    """Return the functions that patches change, in order, each once per patch."""
    found: dict[tuple[int, str, str], Touched] = {}
    for patch in patches:
        for hunk in quote.hunks(patch.diff):
            if SOURCE.fullmatch(hunk.file):
                for text, line, name in functions(hunk):
                    if name and text[1:].strip():
                        one = Touched(patch.index, hunk.file, name, line)
                        found.setdefault((one.patch, one.file, one.function), one)
    return tuple(sorted(found.values()))


def functions(hunk: Hunk) -> Iterator[tuple[str, int, str | None]]:
    """Yield the changed lines of a hunk, each with its line number and the function it is in."""
    name = _name(hunk.section)
    for text, line in hunk.lines:
        started = _name(text[1:])
        if started and text.startswith("-"):
            continue
        name = started or name
        if text[:1] in {"+", "-"}:
            yield text, line, name


def _name(line: str) -> str | None:
    """Return the function that a line begins to define, None where it begins none."""
    found = FUNCTION.match(line)
    if found is None or line.rstrip().endswith(";"):
        return None
    return found["name"]


def culprit(functions: Sequence[str], among: Sequence[Touched], path: str = "") -> Touched | None:
    """Return the touched function that evidence speaks of.

    ``functions`` are those seen, the closest to the fault first. Where none of them is
    touched (it was inlined, or is not on the stack), the only touched function below
    ``path``, or else the only one at all, is meant.
    """
    for name in functions:
        found = [one for one in among if one.function == name.partition(".")[0]]
        if found:
            return found[-1]
    for nearer in ([one for one in among if path and one.file.startswith(path)], list(among)):
        if len({(one.file, one.function) for one in nearer}) == 1:
            return nearer[-1]
    return None
