"""What a linked kernel says of its own stack: call sites and frames, read off its instructions.

The static analysis is compared with this. It needs a vmlinux (x86-64 or i386, linked, with its
symbols, without debug information) and binutils' objdump.

A function is a symbol in an executable section; its `fn.cold` parts belong to it. Symbols at
one address are one function, and a label inside a function is an entry of its own that shares
the function's code; `__pfx_fn` and `__cfi_fn`, which nothing calls, are left out. The stack
pointer is followed from the entry along every jump, through jump tables, the exception table
and the jump labels, and past a WARN but not past a BUG. A call is followed by what comes after
it only when the callee can come back, which is found for all functions together.

What is uncertain:

* The code is read as linked. Alternatives, static calls, jump labels and paravirt calls are
  patched at boot: a site has the target that it is linked with, both ways of a jump label are
  followed, and code that stands only in `.altinstr_replacement` is not seen.
* `jmp *table(,%reg,8)`, or the same through a register, is a switch when the first word of the
  table lies inside the function, and an indirect tail jump otherwise. A table ends where the
  next one begins or at its first word that lies elsewhere.
* `jmp *%reg` with no table in sight is an indirect tail jump. When bytes are left on the stack
  there, `doubts` says so.
* A callee that comes back only by ways not seen here (it changes its return address, or is
  itself patched) counts as one that does not. `doubts` names calls and pushes never reached.
* Assembly may enter a function with more on the stack than a return address (entry code), or
  leave it so. Frames of such functions count from their own symbol on.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import subprocess
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from itertools import pairwise
from pathlib import Path
from typing import Self


class Kind(StrEnum):
    """How control goes to another function."""

    CALL = "call"
    TAIL = "tail jump"
    INDIRECT = "indirect call"
    INDIRECT_TAIL = "indirect tail jump"


@dataclass(frozen=True)
class Site:
    """One call, or one jump to another function."""

    address: int
    kind: Kind
    targets: tuple[str, ...] = ()
    """Every name of the target; `name+0x10` for a place inside a function; none if indirect."""
    to: int | None = None
    """The address of the target: names of static functions are not unique."""


@dataclass(frozen=True)
class Function:
    """One function, or one label inside a function that may be entered."""

    name: str
    address: int
    frame: int | None
    """The most bytes on the stack from the return address (counted) down, at any of its own
    instructions. None when only running it would tell, see `dynamic`."""
    dynamic: bool
    """The stack pointer is aligned (`frame` is then what it is at worst) or set from a register
    or from memory (`frame` is then None)."""
    sites: tuple[Site, ...]
    """By address. A function that runs on into the next one has a tail jump at its end."""
    aliases: tuple[str, ...]
    file: str = ""
    """The base name of the source file of a static function, as the symbol table has it."""
    doubts: tuple[str, ...] = ()
    """What was met in the code that a compiler does not write, or that was not understood."""


def read(vmlinux: Path) -> dict[str, Function]:
    """Return all functions, by name, by `name@file` where the name is not unique.

    By `name@address` where that is not either. Every alias of a function is a key to it.
    """
    with Elf(vmlinux) as elf:
        program = Program(elf, Symbols(elf))
        program.load(vmlinux)
        program.follow()
        functions = [program.function(entry) for entry in program.entries()]
    return keyed(functions, program.symbols.files)


def stackusage(build_dir: Path) -> dict[tuple[str, str], int]:
    """Return what gcc's .su files say, by (source file of the object, function).

    The file is the .su file's path below the directory, as a .c file. The column is the name
    with its suffix, which gcc cuts: `fn.constprop`. Of several, the largest counts.
    """
    found: dict[tuple[str, str], int] = {}
    for path in sorted(build_dir.rglob("*.su")):
        file = path.relative_to(build_dir).with_suffix(".c").as_posix()
        for line in path.read_text().splitlines():
            place, size, _ = line.split("\t")
            key = (file, place.split(":", 3)[3])
            found[key] = max(found.get(key, 0), int(size))
    return found


def keyed(functions: list[Function], files: dict[tuple[int, str], str]) -> dict[str, Function]:
    """Return functions by names that are unique."""
    names = [(n, f, files.get((f.address, n), "")) for f in functions for n in (f.name, *f.aliases)]
    plain = Counter(name for name, _, _ in names)
    in_file = Counter((name, file) for name, _, file in names)
    found = {}
    for name, function, file in names:
        key = name
        if plain[name] > 1:
            alone = file and in_file[name, file] == 1
            key = f"{name}@{file}" if alone else f"{name}@{function.address:x}"
        found[key] = function
    return found


# --- the file ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """A section with an address."""

    name: str
    start: int
    end: int
    offset: int | None
    """None when the file does not hold it (.bss)."""
    runs: bool


@dataclass(frozen=True)
class Symbol:
    """A symbol, in the order of the table."""

    name: str
    address: int
    size: int
    kind: int
    bind: int
    file: str
    section: int


NOTYPE, FUNC, FILE = 0, 2, 4
LOCAL, GLOBAL, WEAK = 0, 1, 2
SYMTAB, NOBITS = 2, 8
ALLOC, EXECUTE = 2, 4


class Elf:
    """A linked little-endian ELF file."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self.data[:4] != b"\x7fELF" or self.number(16, 2) not in {2, 3}:
            raise ValueError(f"{path} is not a linked ELF file")
        self.wide = self.data[4] == 2
        self.word = 8 if self.wide else 4
        self.sections: list[Section] = []
        self.symbols: list[Symbol] = []
        self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.data.close()

    def number(self, offset: int, size: int, *, signed: bool = False) -> int:
        """Return a number in the file."""
        return int.from_bytes(self.data[offset : offset + size], "little", signed=signed)

    def _read(self) -> None:
        start, size, count, names = (
            (self.number(40, 8), 64, self.number(60, 2), self.number(62, 2))
            if self.wide
            else (self.number(32, 4), 40, self.number(48, 2), self.number(50, 2))
        )
        layout = "<IIQQQQIIQQ" if self.wide else "<IIIIIIIIII"
        headers = [struct.unpack_from(layout, self.data, start + i * size) for i in range(count)]
        self.by_index: dict[int, Section] = {}
        for index, (name, kind, flags, address, offset, length, *_) in enumerate(headers):
            if flags & ALLOC and address:  # percpu data is linked to address 0
                held = None if kind == NOBITS else offset
                label = self._text(headers[names][4] + name)
                section = Section(
                    label, address, address + length, held, runs=bool(flags & EXECUTE)
                )
                self.by_index[index] = section
                self.sections.append(section)
        self.sections.sort(key=lambda section: section.start)
        for header in headers:
            if header[1] == SYMTAB:
                self.symbols = list(self._symbols(header[4], header[5], headers[header[6]][4]))

    def _text(self, offset: int) -> str:
        return self.data[offset : self.data.find(b"\0", offset)].decode()

    def _symbols(self, offset: int, length: int, texts: int) -> Iterator[Symbol]:
        layout = struct.Struct("<IBBHQQ" if self.wide else "<IIIBBH")
        file = ""
        for row in layout.iter_unpack(self.data[offset : offset + length]):
            if self.wide:
                name, info, _, index, address, size = row
            else:
                name, address, size, info, _, index = row
            kind, bind = info & 15, info >> 4
            if kind == FILE:
                file = self._text(texts + name)
            elif name:
                # the linker puts global symbols last, after the file of the last local one
                owner = file if bind == LOCAL else ""
                yield Symbol(self._text(texts + name), address, size, kind, bind, owner, index)

    def at(self, address: int, size: int, *, signed: bool = False) -> int | None:
        """Return the number at an address, None when there is none in the file."""
        place = bisect_right(self.sections, address, key=lambda section: section.start) - 1
        if place < 0:
            return None
        section = self.sections[place]
        if section.offset is None or address + size > section.end:
            return None
        return self.number(section.offset + address - section.start, size, signed=signed)

    def table(self, name: str) -> tuple[int, int]:
        """Return where one of the kernel's tables starts and ends, (0, 0) without it."""
        ends = {symbol.name: symbol.address for symbol in self.symbols if name in symbol.name}
        if f"__start_{name}" in ends and f"__stop_{name}" in ends:
            return ends[f"__start_{name}"], ends[f"__stop_{name}"]
        return next(((s.start, s.end) for s in self.sections if s.name == name), (0, 0))

    def relative(self, address: int) -> int:
        """Return what a number of 32 bits points to, seen from where it stands."""
        offset = self.at(address, 4, signed=True)
        return 0 if offset is None else address + offset & (1 << 8 * self.word) - 1

    def runs(self, address: int) -> bool:
        """Return whether there is code at an address."""
        return any(s.runs and s.start <= address < s.end for s in self.sections)

    def exceptions(self) -> dict[int, int]:
        """Return where an instruction that faults goes on."""
        start, end = self.table("__ex_table")
        for stride in (12, 8):
            rows = {self.relative(at): self.relative(at + 4) for at in range(start, end, stride)}
            if all(self.runs(fault) and self.runs(fixup) for fault, fixup in rows.items()):
                return rows
        return {}

    def labels(self) -> dict[int, int]:
        """Return where instructions that jump labels patch may jump to."""
        start, end = self.table("__jump_table")
        stride = 8 + self.word
        rows = {self.relative(at): self.relative(at + 4) for at in range(start, end, stride)}
        return {code: goal for code, goal in rows.items() if self.runs(code) and self.runs(goal)}

    def warnings(self, traps: set[int]) -> set[int]:
        """Return the traps that the kernel reports and goes on after.

        The entries of the table grew over the years. The layout is the one by which most of them
        point at traps.
        """
        start, end = self.table("__bug_table")
        best: set[int] = set()
        most = 0
        for stride in (16, 12, 8, 6):
            for pointer in (self.relative, lambda at: self.at(at, 4)):
                rows = {pointer(at): at for at in range(start, end - stride + 1, stride)}
                known = {trap for trap in traps if trap in rows}
                if len(known) > most:
                    most = len(known)
                    flags = {trap: self.at(rows[trap] + stride - 2, 2) or 0 for trap in known}
                    best = {trap for trap, flag in flags.items() if flag & 1}
        return best


# --- the symbols ------------------------------------------------------------------------------

COLD = re.compile(r"(.+)\.cold(?:\.\d+)?")
NOT_CALLED = ("__pfx_", "__cfi_", ".")
INDIRECT_THUNK = re.compile(r"__x86_indirect_(\w+_)?thunk_")
RETURN_THUNK = "__x86_return_thunk"
TRACERS = {"__fentry__", "mcount"}


@dataclass(frozen=True)
class Part:
    """A piece of code without a symbol inside but those of labels."""

    start: int
    end: int
    owner: int | None
    """The address of the function that it belongs to; None for code without a symbol, such as
    what is left of a weak function that another one replaced."""


def rank(symbol: Symbol) -> tuple[bool, bool, int, int, str]:
    """Order the names of one address: the one that it is known by comes first."""
    binding = {GLOBAL: 0, WEAK: 1}.get(symbol.bind, 2)
    bare = symbol.name.lstrip("_")
    return symbol.kind != FUNC, not symbol.size, binding, len(symbol.name) - len(bare), bare


class Symbols:
    """Which function an address belongs to, and what it is called."""

    def __init__(self, elf: Elf) -> None:
        self.at: dict[int, list[Symbol]] = defaultdict(list)
        for symbol in elf.symbols:
            section = elf.by_index.get(symbol.section)
            if (
                section is not None
                and section.runs
                and symbol.kind in {NOTYPE, FUNC}
                and section.start <= symbol.address < section.end
                and not symbol.name.startswith(NOT_CALLED)
            ):
                self.at[symbol.address].append(symbol)
        for symbols in self.at.values():
            symbols.sort(key=rank)
        self.files = {(s.address, s.name): s.file for some in self.at.values() for s in some}
        self.inner = self._inner()
        self.cold = self._cold()
        self.parts = self._parts(elf)
        self.starts = [part.start for part in self.parts]
        named = {a: {s.name for s in symbols} for a, symbols in self.at.items()}
        self.tracers = {a for a, names in named.items() if names & TRACERS}
        self.returns = {a for a, names in named.items() if RETURN_THUNK in names}
        self.thunks = {a for a, some in named.items() if any(map(INDIRECT_THUNK.match, some))}

    def _inner(self) -> set[int]:
        """Return the addresses of labels: symbols without a size inside one that has one."""
        inner = set()
        reach = 0
        for address in sorted(self.at):
            size = max(symbol.size for symbol in self.at[address])
            if not size and address < reach:
                inner.add(address)
            reach = max(reach, address + size)
        return inner

    def _cold(self) -> dict[int, int]:
        """Return the function of each cold part, the one of its file when there are several."""
        homes: dict[str, dict[str, int]] = defaultdict(dict)
        for address, symbols in self.at.items():
            for symbol in symbols:
                homes[symbol.name][symbol.file] = address
        cold = {}
        for address, symbols in self.at.items():
            for symbol in symbols:
                if (match := COLD.fullmatch(symbol.name)) and match[1] in homes:
                    home = homes[match[1]]
                    cold[address] = home.get(symbol.file, home.get("", next(iter(home.values()))))
        return cold

    def _parts(self, elf: Elf) -> list[Part]:
        heads = sorted(self.at.keys() - self.inner)
        parts: list[Part] = []
        for section in elf.sections:
            if section.runs:
                inside = heads[bisect_left(heads, section.start) : bisect_left(heads, section.end)]
                if section.start not in self.at and section.start < section.end:
                    inside.insert(0, section.start)
                for start, end in pairwise([*inside, section.end]):
                    parts.extend(self._split(start, end))
        return parts

    def _split(self, start: int, end: int) -> Iterator[Part]:
        """Yield the parts from one symbol to the next: the function and what stands behind it."""
        sizes = [symbol.size for symbol in self.at.get(start, ())]
        size = max(sizes, default=0)
        stop = min(start + size, end) if size else end
        yield Part(start, stop, self.cold.get(start, start) if sizes else None)
        if stop < end:
            yield Part(stop, end, None)

    def part(self, address: int) -> Part | None:
        """Return the piece of code that an address is in."""
        place = bisect_right(self.starts, address) - 1
        if place < 0 or address >= self.parts[place].end:
            return None
        return self.parts[place]

    def owner(self, address: int) -> int | None:
        """Return the address of the function that an address belongs to."""
        part = self.part(address)
        return None if part is None else part.owner

    def names(self, address: int) -> tuple[str, ...]:
        """Return what an address is called."""
        if address in self.at:
            return tuple(dict.fromkeys(symbol.name for symbol in self.at[address]))
        owner = self.owner(address)
        return () if owner is None else (f"{self.at[owner][0].name}+{address - owner:#x}",)


# --- the instructions -------------------------------------------------------------------------


class Op(Enum):
    """What an instruction does that matters here; the argument follows it."""

    MOVE = auto()  # so many bytes more on the stack
    SAVE = auto()  # the frame pointer is the stack pointer plus so many bytes
    LOSE = auto()  # the frame pointer is something else
    RESTORE = auto()  # the stack pointer is the frame pointer plus so many bytes
    LEAVE = auto()
    ALIGN = auto()  # to so many bytes
    MARK = auto()  # a register points to what is so many bytes above the stack pointer
    UNMARK = auto()  # the stack pointer is so many bytes below a register
    DYNAMIC = auto()
    CALL = auto()
    INDIRECT = auto()
    JUMP = auto()
    BRANCH = auto()
    EDGE = auto()  # as BRANCH, but never to another function
    TABLE = auto()  # of addresses, at an address
    OFFSETS = auto()  # of offsets from the table, at an address
    LEAP = auto()  # an indirect jump
    RET = auto()
    IRET = auto()  # to an address known from the push before it, or 0
    TRAP = auto()
    STOP = auto()


Effect = tuple[Op, int]

PREFIXES = {
    "lock", "rep", "repz", "repnz", "bnd", "notrack", "data16", "addr32", "xacquire", "xrelease",
    "cs", "ds", "es", "ss", "fs", "gs",
}  # fmt: skip
SP = {"%rsp", "%esp", "%sp"}
BP = {"%rbp", "%ebp", "%bp", "%bpl"}
LAST = re.compile(r"(?:^|,)([^,()]*(?:\([^)]*\))?)$")
BASED = re.compile(r"(-?0x[0-9a-f]+)?\(%([er][sb]p)\)")
MARKED = re.compile(r"(-?0x(?:4|8|c|10|18))\(%(\w+)\)")
HEX = re.compile(r"[0-9a-f]+")
TABLE = re.compile(r"\*?(-?0x[0-9a-f]+)\(,%\w+,([48])\)")
THROUGH = re.compile(r"\*(?:0x0)?\(%(\w+),%\w+,([48])\)")
REGISTER = re.compile(r"\*%(\w+)")
OFFSET = re.compile(r"\(%(\w+),%(\w+),4\)")
READ_ONLY = ("cmp", "test", "bt", "ud", "nop", "push", "prefetch", "call", "jmp", "verw")
SHORT = re.compile(r"%(?:[a-d]x|[sd]i|[sb]p)")
ENDS = {
    "sysret": Op.STOP, "sysexit": Op.STOP, "int3": Op.STOP, "iret": Op.IRET, "ret": Op.RET,
    "lret": Op.RET, "leave": Op.LEAVE, "ud0": Op.TRAP, "ud1": Op.TRAP, "ud2": Op.TRAP,
}  # fmt: skip
PUSHED = {"pusha": 32, "popa": -32}
LOOPS = ("loop", "jcxz", "jecxz", "jrcxz", "xbegin")


def signed(text: str, bits: int) -> int:
    """Return an immediate or a displacement."""
    value = int(text, 16) & (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class Decoder:
    """Reads the lines of objdump: what each instruction does to the stack and to the flow."""

    def __init__(self, word: int) -> None:
        self.word = word
        self.bits = 8 * word
        self.recent: list[str] = []
        """The instructions since the last symbol, without their address."""
        self.readers: dict[str, Callable[[str, str], Iterable[Effect]] | None] = {}

    def effects(self, text: str) -> Iterable[Effect]:
        """Return what an instruction does, nothing for most."""
        words = text.split(None, 1)
        while len(words) > 1 and words[0] in PREFIXES:
            words = words[1].split(None, 1)
        if not words:
            return ()
        operands = words[1].partition("#")[0].strip() if len(words) > 1 else ""
        name = words[0].partition(",")[0]
        if name not in self.readers:
            self.readers[name] = self._reader(name)
        reader = self.readers[name]
        if reader is not None:
            return reader(name, operands)
        if "sp" in operands or "bp" in operands:
            return self._register(name, operands)
        return ()

    def _reader(self, name: str) -> Callable[[str, str], Iterable[Effect]] | None:
        bare = name[:-1] if name[-1] in "qlw" else name
        if bare in ENDS or name in ENDS:
            return self._end
        starts: dict[str, Callable[[str, str], Iterable[Effect]]] = {
            "push": self._push, "pop": self._push, "call": self._call, "lcall": self._call,
            "jmp": self._jump, "ljmp": self._jump, "enter": self._enter,
        }  # fmt: skip
        if name.startswith("popcnt"):
            return None
        for start, reader in starts.items():
            if name.startswith(start):
                return reader
        return self._branch if name.startswith(("j", *LOOPS)) else None

    def _end(self, name: str, _: str) -> Iterable[Effect]:
        bare = name if name in ENDS else name[:-1]
        if bare == "iret":
            return ((Op.IRET, self._pushed()),)
        return ((ENDS[bare], 0),)

    def _pushed(self) -> int:
        """Return the constant that the instruction before pushed."""
        before = self.recent[-1].split() if self.recent else []
        if len(before) > 1 and before[0].startswith("push") and before[1].startswith("$0x"):
            return int(before[1][1:], 16) & (1 << self.bits) - 1
        return 0

    def _push(self, name: str, operands: str) -> Iterable[Effect]:
        sign = 1 if name.startswith("push") else -1
        bare = name.removesuffix("l").removesuffix("w")
        if bare in PUSHED:
            size = PUSHED[bare] // (2 if name.endswith("w") else 1)
            return ((Op.MOVE, size), (Op.LOSE, 0))[: 1 if size > 0 else 2]
        size = 2 if name.endswith("w") or SHORT.fullmatch(operands) else self.word
        if sign < 0 and operands in SP:
            return ((Op.DYNAMIC, 0),)
        if sign < 0 and operands in BP:
            return ((Op.MOVE, -size), (Op.LOSE, 0))
        return ((Op.MOVE, sign * size),)

    def _enter(self, _: str, operands: str) -> Iterable[Effect]:
        size = int(operands.partition(",")[0].lstrip("$"), 16)
        return ((Op.MOVE, self.word), (Op.SAVE, 0), (Op.MOVE, size))

    def _call(self, _: str, operands: str) -> Iterable[Effect]:
        goal = HEX.match(operands)
        return ((Op.CALL, int(goal[0], 16)),) if goal else ((Op.INDIRECT, 0),)

    def _branch(self, _: str, operands: str) -> Iterable[Effect]:
        goal = HEX.match(operands)
        return ((Op.BRANCH, int(goal[0], 16)),) if goal else ()

    def _jump(self, name: str, operands: str) -> Iterable[Effect]:
        if name.startswith("l"):
            return ((Op.LEAP, 0),)
        if goal := HEX.match(operands):
            return ((Op.JUMP, int(goal[0], 16)),)
        return (self._table(operands),)

    def _table(self, operands: str) -> Effect:
        """Return the table that an indirect jump goes through, as far as one is in sight."""
        if match := TABLE.fullmatch(operands):
            return self._absolute(match)
        if match := THROUGH.fullmatch(operands):
            base = self._constant(match[1])
            return (Op.TABLE, base) if base and int(match[2]) == self.word else (Op.LEAP, 0)
        if match := REGISTER.fullmatch(operands):
            return self._loaded(match[1])
        return Op.LEAP, 0

    def _absolute(self, match: re.Match[str]) -> Effect:
        if int(match[2]) != self.word:
            return Op.LEAP, 0
        return Op.TABLE, signed(match[1].replace("-0x", "-"), self.bits) & (1 << self.bits) - 1

    def _loaded(self, register: str) -> Effect:
        """Return the table that a register was loaded from: its last change tells."""
        place, text = self._change(register, len(self.recent))
        name, _, operands = text.partition(" ")
        source = operands.strip().removesuffix(f",%{register}")
        if name.startswith("mov") and (match := TABLE.fullmatch(source)):
            return self._absolute(match)
        if name.startswith("mov") and (match := THROUGH.fullmatch("*" + source)):
            base = self._constant(match[1])
            return (Op.TABLE, base) if base and int(match[2]) == self.word else (Op.LEAP, 0)
        if name == "add" and source.startswith("%"):
            return self._offsets(register, source[1:], place)
        return Op.LEAP, 0

    def _offsets(self, register: str, other: str, place: int) -> Effect:
        """Return the table of `movslq (table,index,4),register; add table,register`."""
        for one, base in ((register, other), (other, register)):
            _, text = self._change(one, place)
            match = OFFSET.search(text)
            if text.startswith("movs") and match:
                found = self._constant(base) or self._constant(match[1]) or self._constant(match[2])
                if found:
                    return Op.OFFSETS, found
        return Op.LEAP, 0

    def _change(self, register: str, before: int) -> tuple[int, str]:
        """Return the last instruction that ends with a register, and its place."""
        ending = f",%{register}"
        for place in range(before - 1, -1, -1):
            text = self.recent[place].partition("#")[0].rstrip()
            if text.startswith("notrack "):
                continue
            if text.endswith(ending) and not text.startswith(READ_ONLY):
                return place, text
        return 0, ""

    def _constant(self, register: str) -> int:
        """Return the address that was last loaded into a register as a constant, 0 if none."""
        ending = f",%{register}"
        for text in reversed(self.recent):
            body, _, comment = text.partition("#")
            if body.rstrip().endswith(ending):
                if body.startswith("lea") and "(%rip)" in body and comment:
                    return int(comment.split()[0], 16)
                if match := re.match(r"mov(?:abs)?[lq]?\s+\$(0x[0-9a-f]+),", body):
                    return int(match[1], 16) & (1 << self.bits) - 1
        return 0

    def _register(self, name: str, operands: str) -> Iterable[Effect]:
        """Return what an ordinary instruction does to the stack pointer or the frame pointer."""
        if name.startswith(READ_ONLY):
            return ()
        found = LAST.search(operands)
        last = found[1] if found else ""
        if last in SP:
            return (self._stack(name, operands[: -len(last) - 1]),)
        if last in BP:
            return (self._frame(name, operands[: -len(last) - 1]),)
        if name.startswith(("xchg", "xadd")) and operands.partition(",")[0] in SP | BP:
            return ((Op.DYNAMIC if operands.partition(",")[0] in SP else Op.LOSE, 0),)
        above = MARKED.match(operands) if name.startswith("lea") else None
        if above and above[2] in {"rsp", "esp"}:
            return ((Op.MARK, int(above[1], 16)),)
        return ()

    def _stack(self, name: str, source: str) -> Effect:
        """Return what an instruction does that writes the stack pointer."""
        name = name.rstrip("lq")
        if source.startswith("$"):
            value = signed(source[1:], self.bits)
            if name in {"add", "sub"}:
                return Op.MOVE, value if name == "sub" else -value
            if name == "and" and value < 0:
                return Op.ALIGN, -value
        if name == "mov" and source in BP:
            return Op.RESTORE, 0
        if name == "lea" and (match := BASED.fullmatch(source)):
            offset = int(match[1] or "0", 16)
            return (Op.MOVE, -offset) if match[2].endswith("sp") else (Op.RESTORE, offset)
        if name == "lea" and (match := MARKED.fullmatch(source)):
            return Op.UNMARK, -int(match[1], 16)
        return Op.DYNAMIC, 0

    def _frame(self, name: str, source: str) -> Effect:
        """Return what an instruction does that writes the frame pointer."""
        if name.startswith("mov") and source in SP:
            return Op.SAVE, 0
        match = BASED.fullmatch(source) if name.startswith("lea") else None
        if match and match[2].endswith("sp"):
            return Op.SAVE, int(match[1] or "0", 16)
        return Op.LOSE, 0


# --- the flow ---------------------------------------------------------------------------------


@dataclass
class Walk:
    """What is found on the way through one function."""

    entry: int
    owner: int | None
    deepest: int
    returns: bool = False
    aligned: bool = False
    marked: bool = False
    dynamic: bool = False
    ends: set[int] = field(default_factory=set)
    """Functions that it runs on into."""
    strays: set[int] = field(default_factory=set)
    """Places without a symbol that it leads to."""
    doubts: dict[str, str] = field(default_factory=dict)
    depth: dict[int, int] = field(default_factory=dict)
    """The depth at each place, as first met."""
    frame: dict[int, int | None] = field(default_factory=dict)
    """The depth that the frame pointer points to at each place, None if it does not."""
    other: set[tuple[int, int]] = field(default_factory=set)
    """Further depths at a place."""
    subroutines: bool = False
    """There are calls inside the function."""

    def doubt(self, what: str, more: str = "") -> None:
        """Note what is odd, once of a kind."""
        self.doubts.setdefault(what, f"{what} {more}".rstrip())


State = tuple[int, int | None]
"""The bytes on the stack, and how many of them are above where the frame pointer points."""
Step = tuple[Walk, int, int, State]
"""Where a walk goes on: at an address, at a place not before some place, with a state."""
MANY = 256


def left(state: State) -> str:
    """Return how much is on the stack, in words."""
    return f"with {state[0]} bytes on the stack"


class Program:
    """All code of a kernel, and the walks through it."""

    def __init__(self, elf: Elf, symbols: Symbols) -> None:
        self.elf = elf
        self.word = elf.word
        self.symbols = symbols
        self.addresses: list[int] = []
        self.ops: list[Op] = []
        self.arguments: list[int] = []
        self.exceptions = elf.exceptions()
        self.labels = elf.labels()
        self.empty: set[int] = set()
        self.walks: dict[int, Walk] = {}
        self.queue: list[Step] = []
        self.waiting: dict[int, list[Step]] = defaultdict(list)
        """What goes on when a function comes back."""
        self.chained: dict[int, list[Walk]] = defaultdict(list)
        """Who comes back when a function comes back."""
        self.tables: dict[int, tuple[int, ...]] = {}
        self.bases: list[int] = []
        self.warnings: set[int] = set()
        self.owned: dict[int | None, list[Part]] = defaultdict(list)
        for part in symbols.parts:
            self.owned[part.owner].append(part)
        self.handlers: dict[Op, Callable[[Walk, int, State], State | None]] = {
            Op.MOVE: self._move, Op.SAVE: self._save, Op.LOSE: self._lose,
            Op.RESTORE: self._restore, Op.LEAVE: self._leave, Op.ALIGN: self._align,
            Op.MARK: self._mark, Op.UNMARK: self._unmark, Op.DYNAMIC: self._dynamic,
            Op.CALL: self._call, Op.JUMP: self._jump, Op.BRANCH: self._branch,
            Op.EDGE: self._edge, Op.TABLE: self._table, Op.OFFSETS: self._table,
            Op.LEAP: self._leap, Op.RET: self._ret, Op.IRET: self._iret, Op.TRAP: self._trap,
        }  # fmt: skip

    # reading

    def load(self, vmlinux: Path) -> None:
        """Read what objdump prints."""
        command = ["objdump", "-d", "-w", "--no-show-raw-insn", str(vmlinux)]
        busy: set[int] = set()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "LC_ALL": "C"}
        ) as process:
            assert process.stdout is not None
            self._lines(process.stdout, busy)
        if process.returncode:
            raise ValueError(f"objdump cannot read {vmlinux}")
        self.empty = {part.start for part in self.symbols.parts} - busy
        traps = {a for a, op in zip(self.addresses, self.ops, strict=True) if op is Op.TRAP}
        self.warnings = self.elf.warnings(traps)
        self.bases = sorted(
            argument
            for op, argument in zip(self.ops, self.arguments, strict=True)
            if op in {Op.TABLE, Op.OFFSETS}
        )

    def _lines(self, lines: Iterable[str], busy: set[int]) -> None:
        decoder = Decoder(self.word)
        part: Part | None = None
        padding = 0
        for line in lines:
            place, tab, text = line.partition(":\t")
            padding = padding + 1 if text == "int3\n" else 0
            if not tab or padding > 2:
                continue
            address = int(place, 16)
            if part is None or not part.start <= address < part.end:
                part = self.symbols.part(address)
                decoder.recent.clear()
            if part is not None and not padding and "nop" not in text:
                busy.add(part.start)
            text = text.rstrip()
            # a function may be meant to meet one, and goes on behind it
            self._record(address, () if padding == 1 else decoder.effects(text))
            decoder.recent.append(text)

    def _record(self, address: int, effects: Iterable[Effect]) -> None:
        if address in self.exceptions:
            self._add(address, Op.EDGE, self.exceptions[address])
        if address in self.labels:
            self._add(address, Op.EDGE, self.labels[address])
        for op, argument in effects:
            if op is not Op.JUMP or address not in self.labels:
                self._add(address, op, argument)

    def _add(self, address: int, op: Op, argument: int) -> None:
        self.addresses.append(address)
        self.ops.append(op)
        self.arguments.append(argument)

    # walking

    def entries(self) -> list[int]:
        """Return where functions start."""
        marks = {
            address  # without code, such as the end of a section
            for address in self.empty & self.symbols.at.keys()
            if not any(symbol.size for symbol in self.symbols.at[address])
        }
        return sorted(self.symbols.at.keys() - self.symbols.cold.keys() - marks)

    def follow(self) -> None:
        """Walk through all functions."""
        for entry in self.entries():
            walk = Walk(entry, self.symbols.owner(entry), self.word)
            self.walks[entry] = walk
            self.queue.append((walk, entry, 0, (self.word, None)))
        while self.queue:
            self._run(*self.queue.pop())

    def _run(self, walk: Walk, address: int, place: int, state: State) -> None:
        """Walk on until something stops the walk or turns it elsewhere."""
        part = self.symbols.part(address)
        if part is None:
            walk.doubt("jumps to where no code is:", f"{address:x}")
            return
        place = max(place, bisect_left(self.addresses, address))
        after: State | None = state
        while after is not None:
            if place == len(self.addresses) or self.addresses[place] >= part.end:
                self._runs_on(walk, part, after)
                return
            if not self._fresh(walk, place, after):
                return
            if part.owner is None:
                walk.strays.add(place)
            handler = self.handlers.get(self.ops[place])
            if handler is not None:
                after = handler(walk, place, after)
            elif self.ops[place] is Op.STOP:
                return
            place += 1

    def _fresh(self, walk: Walk, place: int, state: State) -> bool:
        """Return whether a state is new at a place."""
        depth, frame = state
        if walk.depth.setdefault(place, depth) != depth:
            if (place, depth) in walk.other:
                return False
            walk.other.add((place, depth))
            if len(walk.other) > MANY:
                walk.dynamic = True
                walk.doubt("the stack grows without a bound in sight")
                return False
            walk.doubt("ways with different depths meet")
            return True
        if place not in walk.frame:
            walk.frame[place] = frame
            return True
        if walk.frame[place] is None or walk.frame[place] == frame:
            return False
        walk.frame[place] = None
        return True

    def _runs_on(self, walk: Walk, part: Part, state: State) -> None:
        """Leave a function by its end."""
        behind = self.symbols.part(part.end)
        while behind is not None and behind.owner is None and behind.start in self.empty:
            behind = self.symbols.part(behind.end)
        if behind is not None and behind.owner == walk.owner is not None:
            self.queue.append((walk, behind.start, 0, state))
        elif behind is not None and behind.start in self.symbols.at:
            walk.ends.add(behind.start)
            self._chain(walk, behind.start)
            if state[0] != self.word:
                walk.doubt("runs on into the next function", left(state))
        else:
            walk.doubt("runs on into no function")

    def _deepen(self, walk: Walk, state: State) -> State:
        walk.deepest = max(walk.deepest, state[0])
        return state

    def _move(self, walk: Walk, place: int, state: State) -> State:
        return self._deepen(walk, (state[0] + self.arguments[place], state[1]))

    def _save(self, _: Walk, place: int, state: State) -> State:
        return state[0], state[0] - self.arguments[place]

    def _lose(self, _walk: Walk, _place: int, state: State) -> State:
        return state[0], None

    def _restore(self, walk: Walk, place: int, state: State) -> State:
        if state[1] is None:
            return self._dynamic(walk, place, state)
        return self._deepen(walk, (state[1] - self.arguments[place], state[1]))

    def _leave(self, walk: Walk, place: int, state: State) -> State:
        if state[1] is None:
            return self._dynamic(walk, place, state)
        return state[1] - self.word, None

    def _align(self, walk: Walk, place: int, state: State) -> State:
        walk.aligned = True
        return self._deepen(walk, (state[0] + self.arguments[place] - self.word, state[1]))

    def _mark(self, walk: Walk, place: int, state: State) -> State:
        """Note that a register points to the arguments, which gcc does before it aligns."""
        walk.marked |= state[0] == self.arguments[place]
        return state

    def _unmark(self, walk: Walk, place: int, state: State) -> State:
        """Undo the alignment of a frame whose arguments a register points to."""
        if walk.marked and walk.aligned:
            return self.arguments[place], state[1]
        return self._dynamic(walk, place, state)

    def _dynamic(self, walk: Walk, _: int, state: State) -> State:
        walk.dynamic = True
        return state

    def _call(self, walk: Walk, place: int, state: State) -> State | None:
        goal = self.arguments[place]
        if self._inside(walk, goal):
            deeper = self._deepen(walk, (state[0] + self.word, state[1]))
            self.queue.append((walk, goal, 0, deeper))
            if bisect_left(self.addresses, goal) == place + 1:
                return None  # it asks for its own address
            walk.subroutines = True
            return state
        callee = self.walks.get(goal)
        if callee is None or callee.returns or goal in self.symbols.thunks | self.symbols.tracers:
            return state
        self.waiting[goal].append((walk, self.addresses[place], place + 1, state))
        return None

    def _inside(self, walk: Walk, goal: int) -> bool:
        """Return whether a call or a jump stays in the function."""
        if goal in {walk.owner, walk.entry}:
            return False
        part = self.symbols.part(goal)
        return part is not None and part.owner in {walk.owner, None}

    def _go(self, walk: Walk, goal: int, state: State) -> None:
        """Jump to an address."""
        if goal in {walk.owner, walk.entry} or self._inside(walk, goal):
            self.queue.append((walk, goal, 0, state))
        elif goal in self.symbols.returns:
            self._leave_with(walk, state, "returns")
        elif goal in self.symbols.thunks:
            self._leave_with(walk, state, "jumps to an address in a register")
        else:
            if state[0] != self.word:
                walk.doubt("jumps to another function", left(state))
            self._chain(walk, goal)

    def _chain(self, walk: Walk, goal: int) -> None:
        """Return when another function does."""
        other = self.walks.get(goal)
        if other is None or other.returns:
            self._returns(walk)
        else:
            self.chained[goal].append(walk)

    def _returns(self, walk: Walk) -> None:
        """Note that a function comes back; go on wherever that was waited for."""
        back = [walk]
        while back:
            walk = back.pop()
            if not walk.returns:
                walk.returns = True
                self.queue.extend(self.waiting.pop(walk.entry, ()))
                back.extend(self.chained.pop(walk.entry, ()))

    def _leave_with(self, walk: Walk, state: State, how: str) -> None:
        if state[0] != self.word and not walk.dynamic:
            if walk.subroutines:
                return
            walk.doubt(how, left(state))
        self._returns(walk)

    def _jump(self, walk: Walk, place: int, state: State) -> None:
        self._go(walk, self.arguments[place], state)

    def _branch(self, walk: Walk, place: int, state: State) -> State:
        self._go(walk, self.arguments[place], state)
        return state

    def _edge(self, walk: Walk, place: int, state: State) -> State:
        if self._inside(walk, self.arguments[place]):
            self.queue.append((walk, self.arguments[place], 0, state))
        return state

    def _table(self, walk: Walk, place: int, state: State) -> None:
        goals = self._goals(place)
        if not goals:
            self._leap(walk, place, state)
        self.queue.extend((walk, goal, 0, state) for goal in goals)

    def _leap(self, walk: Walk, _: int, state: State) -> None:
        self._leave_with(walk, state, "jumps to an address in a register")

    def _ret(self, walk: Walk, _: int, state: State) -> None:
        self._leave_with(walk, state, "returns")

    def _iret(self, walk: Walk, place: int, state: State) -> State | None:
        """Go on behind an `iret` to the next instruction, which serializes."""
        goal = self.arguments[place]
        if goal and self._inside(walk, goal):
            size = 5 if self.elf.wide else 3
            self.queue.append((walk, goal, 0, (state[0] - size * self.word, state[1])))
        return None

    def _trap(self, _: Walk, place: int, state: State) -> State | None:
        return state if self.addresses[place] in self.warnings else None

    def _goals(self, place: int) -> tuple[int, ...]:
        """Return where a jump table leads, nothing when it is not one of this function."""
        if place not in self.tables:
            self.tables[place] = tuple(dict.fromkeys(self._entries(place)))
        return self.tables[place]

    def _entries(self, place: int) -> Iterator[int]:
        base = self.arguments[place]
        owner = self.symbols.owner(self.addresses[place])
        after = bisect_right(self.bases, base)
        end = self.bases[after] if after < len(self.bases) else 1 << 8 * self.word
        size = 4 if self.ops[place] is Op.OFFSETS else self.word
        for at in range(base, end, size):
            goal = self.elf.at(at, size, signed=self.ops[place] is Op.OFFSETS)
            if goal is None:
                return
            if self.ops[place] is Op.OFFSETS:
                goal = base + goal & (1 << 8 * self.word) - 1
            if owner is None or goal == owner or self.symbols.owner(goal) != owner:
                return
            yield goal

    # what came out

    def function(self, entry: int) -> Function:
        """Return what is known of a function after all walks."""
        walk = self.walks[entry]
        symbols = self.symbols.at[entry]
        inner = entry in self.symbols.inner
        doubts = {*walk.doubts.values(), *self._unreached(walk, inner=inner)}
        if inner:
            doubts.add("a label inside a function")
        sites = {site.address: site for site in self._sites(walk, inner=inner)}
        for end in walk.ends:
            sites.setdefault(end, Site(end, Kind.TAIL, self.symbols.names(end), end))
        return Function(
            name=symbols[0].name,
            address=entry,
            frame=None if walk.dynamic else walk.deepest,
            dynamic=walk.dynamic or walk.aligned,
            sites=tuple(sites[address] for address in sorted(sites)),
            aliases=tuple(sorted({symbol.name for symbol in symbols} - {symbols[0].name})),
            file=symbols[0].file,
            doubts=tuple(sorted(doubts)),
        )

    def _places(self, owner: int | None) -> Iterator[int]:
        """Return the places of all parts of a function."""
        for part in self.owned[owner]:
            yield from range(
                bisect_left(self.addresses, part.start), bisect_left(self.addresses, part.end)
            )

    def _unreached(self, walk: Walk, *, inner: bool) -> set[str]:
        if inner:
            return set()
        known = {Op.CALL, Op.INDIRECT, Op.MOVE}
        lost = [
            place
            for place in self._places(walk.owner)
            if self.ops[place] in known and place not in walk.depth
        ]
        return {f"code at {self.addresses[lost[0]]:x} is not reached"} if lost else set()

    def _sites(self, walk: Walk, *, inner: bool) -> Iterator[Site]:
        for place in [*self._places(walk.owner), *walk.strays]:
            if not inner or place in walk.depth:
                site = self._site(walk, place)
                if site is not None:
                    yield site

    def _site(self, walk: Walk, place: int) -> Site | None:
        address, op, goal = self.addresses[place], self.ops[place], self.arguments[place]
        if op is Op.INDIRECT:
            return Site(address, Kind.INDIRECT)
        if op is Op.LEAP or (op in {Op.TABLE, Op.OFFSETS} and not self._goals(place)):
            return Site(address, Kind.INDIRECT_TAIL)
        if op not in {Op.CALL, Op.JUMP, Op.BRANCH}:
            return None
        call = op is Op.CALL
        if goal in self.symbols.thunks:
            return Site(address, Kind.INDIRECT if call else Kind.INDIRECT_TAIL)
        stays = self._inside(walk, goal) or (not call and goal in {walk.owner, walk.entry})
        if stays or goal in self.symbols.tracers | self.symbols.returns:
            return None
        return Site(address, Kind.CALL if call else Kind.TAIL, self.symbols.names(goal), goal)
