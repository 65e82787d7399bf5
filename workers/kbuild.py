"""Which object a touched file is compiled into, and which Kconfig symbols that takes.

Reads the text of Makefile and Kbuild files and never runs them: they are hostile. The
language is that of Documentation/kbuild/makefiles.rst: ``obj-$(CONFIG_X) += foo.o``,
composite objects (``foo-y``, ``foo-objs``), directories (``obj-y += dir/``). Whatever
make would have to run for is passed over, so a way may be missing or ask too little; what
was really compiled is read off the object tree afterwards (workers/kbuild_cmd.py).

A *literal* is a symbol without CONFIG_ that must be y, or "!SYMBOL" that must be off.
A *way* is a set of literals that hold together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path, PurePosixPath

from workers import layers
from workers.kbuild_make import Entry, entries

Way = frozenset[str]

SRCARCH = {"x86_64": "x86", "i386": "x86"}
BITS = {"x86_64": "64", "i386": "32"}
MAX_WAYS = 12  # the smallest are kept
MAX_TEXT = 1 << 20  # bytes of one Makefile or source file; longer ones are not read
MAX_SIBLINGS = 400  # files of a directory that are searched for an #include
MAKEFILES = ("Kbuild", "Makefile")  # scripts/Makefile.build takes the first that exists
# variables that the build itself reads: scripts/Makefile.lib, and Makefile for the top ones
OBJECTS = frozenset({"obj", "lib", "extra", "always", "targets"})
DIRECTORIES = frozenset({"obj", "subdir"})
TOP = frozenset({"obj", "init", "head", "core", "drivers", "libs", "net", "virt"})
ELSEWHERE = {
    "Documentation": "documentation is not compiled",
    "tools": "tools/ is built for the build machine and is no part of the kernel",
    "scripts": "scripts/ is built for the build machine and is no part of the kernel",
    "samples": "samples are no part of the kernel",
    "LICENSES": "licence texts are not compiled",
}


@dataclass(frozen=True)
class Gate:
    """What stands before the compilation of one touched file."""

    file: str
    object: str | None = None  # relative to the object tree; None: no object of its own
    ways: tuple[tuple[str, ...], ...] = ()  # any of them will do, the shortest first; all sorted
    reason: str = ""  # why it is never compiled, one clause

    @property
    def symbols(self) -> tuple[str, ...]:
        """The literals of the shortest way."""
        return self.ways[0] if self.ways else ()

    @property
    def request(self) -> str:
        """The ways as workers/kconfig_solver.py takes them; "" when nothing is needed."""
        return "" if () in self.ways else "|".join(",".join(way) for way in self.ways)


def gates(source: Path | Sequence[Path], file: str, arch: str = "x86_64") -> Gate:
    """Return what must be switched on for a file, relative to the source tree, to be compiled.

    ``source`` may be several directories that lie on one another, topmost first.
    A header, or a .c file without an object, gets the ways of the files beside it that
    include it; a header below include/ gets none, since anybody may include it.
    """
    if reason := _never(file, arch):
        return Gate(file, reason=reason)
    tree = _Tree((source,) if isinstance(source, Path) else tuple(source), arch)
    path = PurePosixPath(file)
    if path.suffix in (".c", ".S"):
        stem = str(path.with_suffix(".o"))
        if ways := tree.object_ways(stem):
            return Gate(file, stem, _sorted(ways))
    if file.startswith(("include/", f"arch/{tree.srcarch}/include/")):
        return Gate(file)
    if ways := tree.includer_ways(path):
        return Gate(file, None, _sorted(ways))
    if path.suffix == ".h":
        return Gate(file)
    return Gate(file, reason=f"no Makefile of this tree names {path.stem}.o")


def _never(file: str, arch: str) -> str:
    parts = PurePosixPath(file).parts
    srcarch = SRCARCH.get(arch, arch)
    if not parts or file.startswith("/") or ".." in parts:
        return "it is not a path inside the tree"
    if parts[0] in ELSEWHERE:
        return ELSEWHERE[parts[0]]
    if file.startswith("arch/x86/um/"):
        return f"it belongs to the um architecture and the kernel is built for {arch}"
    if parts[0] == "arch" and len(parts) > 2 and parts[1] != srcarch:  # noqa: PLR2004 - arch/X/file
        return f"it belongs to the {parts[1]} architecture and the kernel is built for {arch}"
    if PurePosixPath(file).suffix not in (".c", ".S", ".h"):
        return "it is not a C or assembly file"
    return ""


def _sorted(ways: Iterable[Way]) -> tuple[tuple[str, ...], ...]:
    return tuple(sorted((tuple(sorted(way)) for way in ways), key=lambda way: (len(way), way)))


def _smallest(ways: Iterable[Way]) -> set[Way]:
    """Drop contradictions and ways that ask more than another one does; keep the shortest."""
    kept: list[Way] = []
    for way in sorted(set(ways), key=lambda way: (len(way), sorted(way))):
        if any(f"!{literal}" in way for literal in way) or any(one <= way for one in kept):
            continue
        kept.append(way)
    return set(kept[:MAX_WAYS])


def _both(first: Iterable[Way], second: Iterable[Way]) -> set[Way]:
    return _smallest(one | two for one, two in product(list(first), list(second)))


@dataclass(frozen=True)
class _Tree:
    layers: tuple[Path, ...]
    arch: str
    read: dict[str, tuple[Entry, ...]] = field(default_factory=dict)

    @property
    def srcarch(self) -> str:
        return SRCARCH.get(self.arch, self.arch)

    @cached_property
    def known(self) -> dict[str, str]:
        """Make variables whose value follows from the architecture."""
        return {"SRCARCH": self.srcarch, "BITS": BITS.get(self.arch, "64"), "ARCH": self.arch}

    def object_ways(self, name: str) -> set[Way]:
        """Return the ways to have an object; its Makefile may stand further up the tree."""
        path = PurePosixPath(name)
        for loose in (False, True):
            for directory in path.parents:
                word = str(path.relative_to(directory))
                found = self._wanted(directory, word, frozenset(), loose=loose)
                if found and (ways := _both(found, self._entered(directory))):
                    return ways
        return set()

    def _entered(self, directory: PurePosixPath) -> set[Way]:
        """Like directory_ways; arch/x86/Makefile enters some directories by rules of its own."""
        by_rule = str(directory).startswith(f"arch/{self.srcarch}/")
        return self.directory_ways(directory) or ({frozenset()} if by_rule else set())

    def directory_ways(self, directory: PurePosixPath) -> set[Way]:
        """Return the ways to have kbuild enter a directory; none: nobody names it."""
        if directory == PurePosixPath():
            return {frozenset()}
        ways: set[Way] = set()
        for above in directory.parents:
            word = f"{directory.relative_to(above)}/"
            found = self._wanted(above, word, frozenset())
            if found:
                ways |= _both(found, self.directory_ways(above))
        return _smallest(ways)

    def includer_ways(self, path: PurePosixPath) -> set[Way]:
        """Return the ways to have one of the .c files beside a file that include it."""
        including = re.compile(rb'#\s*include\s*"(?:\./)?' + re.escape(path.name).encode() + b'"')
        ways: set[Way] = set()
        beside = {
            found.name for layer in self.layers for found in (layer / path.parent).glob("*.c")
        }
        for sibling in sorted(beside)[:MAX_SIBLINGS]:
            name = str(path.parent / sibling)
            if name != str(path) and including.search(self._text(name)):
                ways |= self.object_ways(name.removesuffix(".c") + ".o")
        return _smallest(ways)

    def _wanted(
        self, directory: PurePosixPath, word: str, above: frozenset[str], *, loose: bool = False
    ) -> set[Way]:
        """Return the ways in which a directory's Makefile builds a word, through composites.

        ``above`` holds the lists that the search came through. ``loose`` takes a list that
        nothing here uses as linked by a rule that only make understands.
        """
        roots = DIRECTORIES if word.endswith("/") else OBJECTS
        if directory == PurePosixPath():
            roots = TOP
        ways: set[Way] = set()
        for entry in self._entries(directory):
            if entry.word != word or entry.name in above:
                continue
            here = {entry.literals}
            if entry.name in roots:
                ways |= here
                continue
            seen = above | {entry.name}
            users = (f"{entry.name}.o", f"${entry.name}")
            used = {way for user in users for way in self._wanted(directory, user, seen)}
            ways |= _both(here, used or ({frozenset()} if loose else set()))
        return _smallest(ways)

    def _entries(self, directory: PurePosixPath) -> tuple[Entry, ...]:
        key = str(directory)
        if key not in self.read:
            self.read[key] = tuple(self._parse(directory))
        return self.read[key]

    def _parse(self, directory: PurePosixPath) -> Iterator[Entry]:
        names: Sequence[str] = MAKEFILES
        if directory == PurePosixPath():  # the Makefile of the architecture is part of the top one
            names = (*MAKEFILES, f"arch/{self.srcarch}/Makefile")
        for name in names:
            text = self._text(str(directory / name)).decode(errors="replace")
            yield from entries(text, self.known)
            if text and names is MAKEFILES:
                return

    def _text(self, name: str) -> bytes:
        found = layers.read(self.layers, name)
        return found if found is not None and len(found) <= MAX_TEXT else b""
