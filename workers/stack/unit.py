"""Reads the facts file that the compiler plugin writes beside an object (docs/facts-file.md).

A patch's Makefile can write anything into it, so nothing of it is believed to be more than
printable text and small numbers.

An *id* names a function or a variable in the whole kernel: its symbol, and where other
objects cannot see it, ``symbol@object``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bot.contract import OursError, TheirsError

SUFFIX = ".hog"
FORMAT = "1"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
LOCAL = "~"  # follows a symbol that other objects cannot see
MAX_FRAME = 1 << 30
# link units that are not the running kernel
OTHER_UNITS = (
    "arch/x86/boot/", "arch/x86/realmode/", "arch/x86/purgatory/", "scripts/", "tools/", "usr/",
)  # fmt: skip


class FactsError(OursError):
    """A facts file is cut short or is not one; carries its name."""

    def __init__(self, file: str, why: str) -> None:
        self.file = file
        super().__init__(f"{file} {why}: build the object again")


class MixedBuildError(TheirsError):
    """The objects of a directory were not all made by one compiler for one machine."""


class Function(NamedTuple):
    """A function as the assembler sees it."""

    id: str
    object: str
    file: str  # source, relative to the tree
    line: int
    frame: int  # bytes, return address included
    kind: str  # gcc's: "s" static, "b" dynamic but bounded, "d" dynamic
    weak: bool
    no_return: bool
    type: str  # key of its function type
    transient: int = 0  # bytes that inline assembly pushes below the frame and pops again
    aligned: bool = False  # a part of the frame is padding, which depends on the caller


class CallSite(NamedTuple):
    """A call instruction."""

    kind: str  # d direct, t tail, i indirect, j indirect tail, a and b the same in an asm
    callee: str  # id; "" where indirect
    place: str  # "file number:line:column", as the unit counts files
    inlined: str  # "name,place;…": functions inlined around it, outermost first


class IndirectSource(NamedTuple):
    """Where the function pointer of an indirect call may come from."""

    place: str
    type: str  # key of the function type, "asm" in inline assembly
    node: str


class Guard(NamedTuple):
    """A clause that held where a call stands: ways apart by "|", their tests by "&"."""

    caller: str
    place: str
    callee: str  # "*" where indirect
    clause: str


@dataclass(slots=True)
class Unit:
    """What one object's facts file says."""

    object: str  # e.g. "mm/vmscan.o"
    compiler: str
    pointer_bytes: int
    files: list[str] = field(default_factory=list)  # relative to the tree
    functions: list[Function] = field(default_factory=list)
    calls: dict[str, list[CallSite]] = field(default_factory=dict)  # by caller
    sources: list[IndirectSource] = field(default_factory=list)
    flows: list[tuple[str, str]] = field(default_factory=list)  # to node, from node
    values: list[tuple[str, str, str]] = field(default_factory=list)  # node, function, variable
    aliases: list[tuple[str, str]] = field(default_factory=list)
    guards: list[Guard] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)  # key to text

    def at(self, place: str) -> tuple[str, int]:
        """Return a place as file and line; ("", 0) where gcc knew none."""
        number, _, rest = place.partition(":")
        if not rest:
            return "", 0
        return self.files[int(number)], int(rest.partition(":")[0])


def is_kernel(object_path: str) -> bool:
    """Whether an object is linked into the running kernel, by where it lies."""
    return not object_path.startswith(OTHER_UNITS) and "/vdso/" not in object_path


def parse(data: bytes, object_path: str) -> Unit:
    """Return what a facts file says.

    Raises FactsError.
    """
    name = object_path.removesuffix(".o") + SUFFIX
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise FactsError(name, "is not text") from error
    if CONTROL.search(text):
        raise FactsError(name, "has characters that no facts file has")
    lines = text.replace(LOCAL, f"@{object_path}").split("\n")
    head, tail = lines[0].split("\t"), lines[-2].split("\t") if len(lines) > 1 else [""]
    if head[:2] != ["stackhog", FORMAT] or len(head) != 5:  # noqa: PLR2004
        raise FactsError(name, "is not a facts file of this version of stackhog")
    if tail[0] != "end" or lines[-1]:
        raise FactsError(name, "is cut short")
    try:
        return _unit(lines, head, object_path)
    except (ValueError, IndexError, TypeError) as error:
        raise FactsError(name, "is damaged") from error


def _unit(lines: list[str], head: list[str], object_path: str) -> Unit:  # noqa: C901 - a kind a branch
    unit = Unit(object_path, head[2], int(head[3]))
    prefix = _prefix(head[4], object_path)
    calls: list[CallSite] = []
    for line in lines[1:-2]:
        kind, *rest = line.split("\t")
        if kind == "c":
            calls.append(CallSite(*rest))
        elif kind == "F":
            calls = []
            function = _function(unit, rest)
            unit.functions.append(function)
            unit.calls[function.id] = calls
        elif kind == "X":
            to, source = rest
            unit.flows.append((to, source))
        elif kind == "D":
            node, function_id, owner = rest
            unit.values.append((node, function_id, owner))
        elif kind == "I":
            unit.sources.append(IndirectSource(*rest))
        elif kind == "G":
            unit.guards.append(Guard(*rest))
        elif kind == "N":
            unit.files.append(_relative(rest[0], prefix))
        elif kind == "Y":
            unit.types[rest[0]] = rest[1]
        elif kind == "A":
            unit.aliases.append((rest[0], rest[1]))
        else:
            raise ValueError(line)
    return unit


def _function(unit: Unit, rest: list[str]) -> Function:
    function_id, place, frame, kind, flags, type_key, transient = rest
    sizes = int(frame), int(transient)
    if min(sizes) < 0 or max(sizes) > MAX_FRAME or kind not in {"s", "b", "d"}:
        raise ValueError(rest)
    file, line = unit.at(place)
    return Function(
        function_id, unit.object, file, line, sizes[0], kind, "w" in flags, "n" in flags,
        type_key, sizes[1], "r" in flags,
    )  # fmt: skip


def _prefix(main: str, object_path: str) -> str:
    """Return what stands before the tree's own paths: main is /build/src/mm/vmscan.c."""
    stem = object_path.removesuffix(".o")
    at = main.rfind(stem + ".")
    return main[:at] if at > 0 else ""


def _relative(path: str, prefix: str) -> str:
    path = path.removeprefix(prefix) if prefix else path
    return path.removeprefix("./")


def read(files: Mapping[str, bytes]) -> list[Unit]:
    """Parse the facts files among ``files`` (path relative to the object tree → content).

    Sorted by object; other link units are left out. Raises FactsError, MixedBuildError.
    """
    names = sorted(name for name in files if name.endswith(SUFFIX))
    objects = [(name, name.removesuffix(SUFFIX) + ".o") for name in names]
    units = [parse(files[name], path) for name, path in objects if is_kernel(path)]
    made: dict[tuple[str, int], Unit] = {}
    for unit in units:
        made.setdefault((unit.compiler, unit.pointer_bytes), unit)
    if len(made) > 1:
        said = ", ".join(
            f"{one.object} by gcc {one.compiler} for {one.pointer_bytes * 8} bits"
            for one in made.values()
        )
        raise MixedBuildError(f"the objects come from different builds ({said}): make clean first")
    return units
