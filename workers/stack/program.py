"""The kernel as one program: its functions, and which of them a call can reach.

**Indirect calls** are resolved field by field: all objects of a record type are one, so a
call through ``mapping->a_ops->writepage`` reaches every function that is stored anywhere
into ``address_space_operations.writepage``, by an initialiser or an assignment, directly
or through parameters, returns and variables (Pearce, Kelly and Hankin: "Efficient
field-sensitive pointer analysis of C", 2007, without the offsets). Functions of another
type than the call's are left out where some of the right type remain: a call through a
pointer of another type is undefined in C and a trap under kCFI. Where nothing is known of
a pointer, every function of the call's type whose address is taken is a target, and the
edge says so.

**Not calls**: work functions, timers, softirq handlers and kthreads start on a stack of
their own; nothing flows from the function that queues them to them, since no call does.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from workers.stack.unit import CallSite, Function, Unit

NOTHING: set[str] = set()
MAX_ROUNDS = 20  # of arguments through indirect calls; a 6.1 kernel needs 4
STATIC_CALL = "__SCT__"  # trampoline: include/linux/static_call_types.h
STATIC_KEY = "V:__SCK__"
COMPILER_CALLS = frozenset({"__fentry__", "mcount", "__stack_chk_fail"})


class Edge(NamedTuple):
    """One way a call can go."""

    callee: str  # id
    how: str  # "direct", "field address_space_operations.writepage of ext4_aops", …
    file: str  # of the call
    line: int
    inlined: tuple[tuple[str, str], ...]  # (id, place) of functions inlined around it
    tail: bool  # the caller's frame is gone
    node: str  # what the pointer was loaded from, "" where direct
    place: str


class Site(NamedTuple):
    """An indirect call of the source, which may stand in several functions after inlining."""

    unit: str  # object
    place: str


@dataclass(frozen=True)
class Resolved:
    """Where an indirect call can go."""

    targets: tuple[tuple[str, str], ...]  # (id, how), sorted
    nodes: tuple[str, ...]
    type: str
    unknown: bool  # a part of it could not be followed
    dropped: int  # functions left out because of their type


class Program:
    """All units of one kernel, linked."""

    def __init__(self, units: Iterable[Unit]) -> None:
        self.units = {unit.object: unit for unit in units}
        self.functions: dict[str, Function] = {}
        self.calls: dict[str, list[CallSite]] = {}
        self.aliases: dict[str, str] = {}
        self.types: dict[str, str] = {}
        self._link()
        self._points = _Points(self)
        self._edges: dict[str, tuple[Edge, ...]] = {}

    @property
    def pointer_bytes(self) -> int:
        """Size of a pointer, and of a return address, in bytes."""
        return next((unit.pointer_bytes for unit in self.units.values()), 8)

    def _link(self) -> None:
        for unit in self.units.values():
            for function in unit.functions:
                old = self.functions.get(function.id)
                if old is None or (old.weak and not function.weak):
                    self.functions[function.id] = function
                    self.calls[function.id] = unit.calls[function.id]
            self.types.update(unit.types)
        for unit in self.units.values():
            for alias, target in unit.aliases:
                known = self.functions.get(alias)
                # SYSCALL_DEFINE0() makes an alias where kernel/sys_ni.c has a weak function
                if known is None or (known.weak and known.object != unit.object):
                    self.functions.pop(alias, None)
                    self.calls.pop(alias, None)
                    self.aliases[alias] = target

    def canonical(self, function_id: str) -> str:
        """Return the function that a name stands for, through its aliases."""
        for _ in range(8):
            if function_id not in self.aliases:
                break
            function_id = self.aliases[function_id]
        return function_id

    def edges(self, caller: str) -> tuple[Edge, ...]:
        """Return where a function's calls can go, sorted, each once."""
        known = self._edges.get(caller)
        if known is None:
            known = self._edges[caller] = tuple(sorted(set(self._edges_of(caller))))
        return known

    def _edges_of(self, caller: str) -> Iterable[Edge]:
        function = self.functions.get(caller)
        if function is None:
            return
        unit = self.units[function.object]
        for call in self.calls[caller]:
            if call.callee in COMPILER_CALLS:
                continue
            file, line = unit.at(call.place)
            chain = tuple(_inlined(call.inlined))
            tail = call.kind in "tj"
            for callee, how, node in self._targets(unit, call):
                yield Edge(callee, how, file, line, chain, tail, node, call.place)

    def _targets(self, unit: Unit, call: CallSite) -> Iterable[tuple[str, str, str]]:
        if call.callee.startswith(STATIC_CALL):
            name = call.callee.removeprefix(STATIC_CALL)
            found = self._points.of(STATIC_KEY + name)
            for target in sorted(found):
                yield target, f"static call {name}", STATIC_KEY + name
        elif call.callee:
            how = "asm" if call.kind == "a" else "direct"
            yield self.canonical(call.callee), how, ""
        else:
            site = self.site(Site(unit.object, call.place))
            node = site.nodes[0] if site.nodes else "?"
            for target, how in site.targets:
                yield target, how, node

    def held(self, node: str) -> set[str]:
        """Return the functions that a node can hold, e.g. ``R:file_operations.read``."""
        return self._points.of(node)

    def site(self, site: Site) -> Resolved:
        """Return where an indirect call can go."""
        return self._points.site(site)

    def sites(self) -> Iterable[tuple[Function, CallSite, Resolved]]:
        """Yield every indirect call that is left in the kernel, in order."""
        for function_id in sorted(self.calls):
            function = self.functions[function_id]
            for call in self.calls[function_id]:
                if not call.callee:
                    yield function, call, self.site(Site(function.object, call.place))


def _inlined(text: str) -> Iterable[tuple[str, str]]:
    for one in text.split(";") if text else ():
        name, _, place = one.rpartition(",")
        yield name, place


class _Points:
    """Field-based points-to: which functions each node can hold."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._held: dict[str, set[str]] = defaultdict(set)
        self._out: dict[str, set[str]] = defaultdict(set)  # node to the nodes it flows into
        self._owners: dict[tuple[str, str], str] = {}  # (node, function) to variable
        self._sources: dict[Site, tuple[str, set[str]]] = {}
        self._by_type: dict[str, set[str]] = defaultdict(set)  # of those whose address is taken
        self._defined = frozenset(program.functions)
        self._of_type: dict[str, set[str]] = defaultdict(set)
        self._resolved: dict[Site, Resolved] = {}
        self._read()
        self._solve()

    def of(self, node: str) -> set[str]:
        return self._held.get(node, NOTHING)

    def _read(self) -> None:
        canonical = self._program.canonical
        taken: set[str] = set()
        for unit in self._program.units.values():
            for node, function, owner in unit.values:
                target = canonical(function)
                self._held[node].add(target)
                self._owners.setdefault((node, target), owner)
                taken.add(target)
            for into, source in unit.flows:
                to = self._qualified(unit, into)
                if source[0] == "f":
                    target = canonical(source[2:])
                    self._held[to].add(target)
                    taken.add(target)
                else:
                    self._out[source].add(to)
            for place, type_key, node in unit.sources:
                known = self._sources.setdefault(Site(unit.object, place), (type_key, set()))
                known[1].add(node)
                if node[0] == "f":
                    self._held[node].add(canonical(node[2:]))
        for function_ in self._program.functions.values():
            self._of_type[function_.type].add(function_.id)
        for name in taken:
            if name in self._program.functions:
                self._by_type[self._program.functions[name].type].add(name)

    @staticmethod
    def _qualified(unit: Unit, node: str) -> str:
        """Arguments of an indirect call are named by a place, which only the unit knows."""
        return f"{node}@{unit.object}" if node[0] == "S" else node

    def _solve(self) -> None:
        for source in [source for source in self._out if source[0] == "T"]:
            self._held[source] |= self._by_type[source[2:]]
        self._spread(sorted(node for node in self._out if self._held.get(node)))
        arguments = self._arguments()
        for _ in range(MAX_ROUNDS):
            changed = []
            for site, numbers in arguments:
                for target in self._targets(site)[0] if site in self._sources else ():
                    for number, node in numbers:
                        to = f"P:{target}#{number}"
                        if to not in self._out[node]:
                            self._out[node].add(to)
                            changed.append(node)
            if not changed:
                break
            self._spread(sorted(set(changed)))

    def _spread(self, todo: list[str]) -> None:
        while todo:
            node = todo.pop()
            held = self._held.get(node)
            for to in self._out.get(node, ()):
                if held and not held <= self._held[to]:
                    self._held[to] |= held
                    if to in self._out:
                        todo.append(to)

    def _arguments(self) -> Sequence[tuple[Site, list[tuple[str, str]]]]:
        found: dict[Site, list[tuple[str, str]]] = defaultdict(list)
        names = {to for out in self._out.values() for to in out if to[0] == "S"}
        names |= {to for to in self._held if to[0] == "S"}
        for node in sorted(names):
            name, _, unit = node[2:].partition("@")
            place, _, number = name.rpartition("#")
            found[Site(unit, place)].append((number, node))
        return sorted(found.items())

    def site(self, site: Site) -> Resolved:
        known = self._resolved.get(site)
        if known is None:
            known = self._resolved[site] = self._resolve(site)
        return known

    def _targets(self, site: Site) -> tuple[set[str], int]:
        """Return the functions that a call can reach, and how many its type left out."""
        type_key, nodes = self._sources[site]
        held = set().union(*(self._at(node) for node in nodes))
        if type_key == "asm":
            return held, 0
        fitting = held - self._defined
        fitting |= held & self._of_type.get(type_key, NOTHING)
        return (fitting, len(held) - len(fitting)) if fitting else (held, 0)

    def _resolve(self, site: Site) -> Resolved:
        if site not in self._sources:
            return Resolved((), (), "", unknown=True, dropped=0)
        type_key, nodes = self._sources[site]
        targets, dropped = self._targets(site)
        found = tuple((name, self._how(nodes, name)) for name in sorted(targets))
        return Resolved(
            found, tuple(sorted(nodes)), type_key, unknown="?" in nodes, dropped=dropped
        )

    def _at(self, node: str) -> set[str]:
        return self._by_type.get(node[2:], NOTHING) if node[0] == "T" else self.of(node)

    def _how(self, nodes: set[str], target: str) -> str:
        for node in sorted(nodes) if len(nodes) > 1 else nodes:
            if target in self._at(node):
                return self._words(node, target)
        return "unknown"

    def _words(self, node: str, target: str) -> str:
        kind, name = node[0], re.sub(r"@[^#]*", "", node[2:])
        if kind == "R":
            owner = self._owners.get((node, target), "").partition("@")[0]
            return f"field {name}" + (f" of {owner}" if owner else "")
        if kind == "T":
            return "by type alone: " + self._program.types.get(name, name)
        words = {"V": "variable", "P": "parameter", "r": "returned by"}
        return f"{words[kind]} {name}" if kind in words else "pointer"
