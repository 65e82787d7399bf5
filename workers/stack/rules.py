"""Policy against one kernel: which calls are cut, and whether every rule still means something.

gcc inlines the functions that rules rely on, so a rule holds for a function that was
inlined around a call as it does for one that is called.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from bot.contract import TheirsError
from policies.stackrules import Barrier, Fact, Patterns, Rules, Waypoint
from workers.stack.program import Edge, Program

CLONE = re.compile(r"\.(?:isra|constprop|part|cold|lto_priv)(?:\.\d+)?")


class RuleError(TheirsError):
    """A rule of the policy matches nothing in this kernel."""

    def __init__(self, file: Path, line: int, what: str) -> None:
        super().__init__(
            f"{file}:{line}: {what} matches nothing in this kernel: gcc may have inlined or "
            "renamed it; mend the rule, or say what it needs"
        )


def base(function_id: str) -> str:
    """Return a function's name in the source: without object, without clone suffix."""
    return CLONE.sub("", function_id.partition("@")[0])


def _regex(patterns: Patterns) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(one) for one in patterns) or r"(?!)")


def _paths(patterns: Patterns) -> re.Pattern[str]:
    """Compile patterns of files: * stays within a directory, ** crosses."""
    parts = [re.escape(one).replace(r"\*\*", ".*").replace(r"\*", "[^/]*") for one in patterns]
    return re.compile(f"(?:{'|'.join(parts)})$" if parts else r"(?!)")


class _Barrier:
    def __init__(self, rule: Barrier) -> None:
        self.rule = rule
        self.callers = _regex(rule.callers)
        self.callees = _regex(rule.callees)
        self.fields = {f"R:{one}" for one in rule.fields}
        self.files = _paths(rule.files)

    def holds(self, caller: str, callee: str, node: str, file: str) -> bool:
        rule = self.rule
        return not (
            (rule.callees and not self.callees.match(callee))
            or (rule.callers and not self.callers.match(caller))
            or (rule.fields and node not in self.fields)
            or (rule.files and not self.files.match(file))
        )


class Compiled:
    """The shared rules for one kernel."""

    def __init__(
        self, program: Program, rules: Rules, without: frozenset[int] = frozenset()
    ) -> None:
        self._program = program
        self.rules = rules
        self._barriers = [_Barrier(one) for n, one in enumerate(rules.barrier) if n not in without]
        self._by_name: dict[str, tuple[_Barrier, ...]] = {}
        self._scopes: dict[Patterns, tuple[re.Pattern[str], dict[str, bool]]] = {}
        self._territories: dict[str, tuple[str, str]] = {}
        self._checked = False
        self._waypoints: dict[Waypoint, tuple[str, ...]] = {}
        self._assembly = [(_regex(one.functions), one.bytes) for one in rules.assembly]

    @cached_property
    def names(self) -> Mapping[str, tuple[str, ...]]:
        """Every function of the kernel by its name in the source."""
        found: dict[str, list[str]] = {}
        for function_id in self._program.functions:
            found.setdefault(base(function_id), []).append(function_id)
        return {name: tuple(sorted(ids)) for name, ids in found.items()}

    @cached_property
    def _files(self) -> frozenset[str]:
        """The source files that have a function in this kernel."""
        return frozenset(function.file for function in self._program.functions.values())

    @cached_property
    def containers(self) -> Mapping[str, tuple[str, ...]]:
        """Functions that were inlined, by name, with the functions they stand in now."""
        found: dict[str, set[str]] = {}
        for caller, calls in self._program.calls.items():
            for call in calls:
                for one in call.inlined.split(";") if call.inlined else ():
                    found.setdefault(base(one.rpartition(",")[0]), set()).add(caller)
        return {name: tuple(sorted(ids)) for name, ids in found.items()}

    def check(self) -> None:
        """See that every rule matches something.

        Raises RuleError.
        """
        if not self._checked:
            self._check()
            self._checked = True

    def _check(self) -> None:
        called = {base(one) for one in self._called()} | self.names.keys()
        files = self._files
        for barrier in self._barriers:
            rule = barrier.rule
            if rule.needs and not self.has(rule.needs):
                continue
            for what, regex, there in (
                ("callees", barrier.callees, called),
                ("callers", barrier.callers, called),
                ("files", barrier.files, files),
            ):
                if not getattr(rule, what) or any(map(regex.match, there)):
                    continue
                if what == "files" or not any(map(regex.match, self.containers)):
                    raise RuleError(
                        rule.file, rule.line, f"{what} {', '.join(getattr(rule, what))}"
                    )
            if rule.fields and not any(self._program.held(one) for one in barrier.fields):
                raise RuleError(rule.file, rule.line, f"fields {', '.join(rule.fields)}")

    def _called(self) -> Iterator[str]:
        for calls in self._program.calls.values():
            for call in calls:
                if call.callee:
                    yield call.callee

    def has(self, needs: Patterns) -> bool:
        """Whether any of some functions, inlined or not, or source files is in this kernel."""
        regex, paths = _regex(needs), _paths(needs)
        return (
            any(map(regex.match, self.names))
            or any(map(paths.match, self._files))
            or any(map(regex.match, self.containers))  # last: it takes long to know them
        )

    def functions(self, waypoint: Waypoint) -> tuple[str, ...]:
        """Return the functions that a waypoint means; a function that was inlined: its callers.

        Raises RuleError.
        """
        known = self._waypoints.get(waypoint)
        if known is None:
            known = self._waypoints[waypoint] = self._functions(waypoint)
        return known

    def _functions(self, waypoint: Waypoint) -> tuple[str, ...]:
        skip = _regex(waypoint.skip)
        if waypoint.field:
            found = self._targets(f"R:{waypoint.field}")
        else:
            found = _named(waypoint.functions, self.names)
            if not found:
                found = _named(waypoint.functions, self.containers)
        kept = tuple(sorted(one for one in found if not skip.match(base(one))))
        if not kept:
            what = waypoint.field or ", ".join(waypoint.functions)
            raise RuleError(waypoint.file, waypoint.line, f"waypoint {waypoint.name} ({what})")
        return kept

    def _targets(self, node: str) -> set[str]:
        return self._program.held(node)

    def cost(self, caller: str, edge: Edge) -> int | None:
        """Return what comes on top of the callee's frame where a barrier ends a path, in bytes.

        None: no barrier does. A call that never returns ends it like a barrier.
        """
        names = [base(caller), *(base(name) for name, _ in edge.inlined), base(edge.callee)]
        function = self._program.functions.get(edge.callee)
        if function and function.no_return and not self.rules.no_return.follow:
            return 0
        file = function.file if function else ""
        last = len(names) - 1
        for at in range(1, len(names)):
            node = edge.node if at == last else ""
            where = file if at == last else ""
            for barrier in self._of(names[at]):
                if barrier.holds(names[at - 1], names[at], node, where):
                    return barrier.rule.cost
        return None

    def _of(self, callee: str) -> tuple[_Barrier, ...]:
        """Return the barriers that can hold for calls of this name."""
        known = self._by_name.get(callee)
        if known is None:
            known = self._by_name[callee] = tuple(
                one for one in self._barriers if not one.rule.callees or one.callees.match(callee)
            )
        return known

    def in_scope(self, function_id: str, patterns: Patterns) -> bool:
        """Whether a function's source is among the files; what has no source always is."""
        function = self._program.functions.get(function_id)
        if function is None or not patterns:
            return True
        if patterns not in self._scopes:
            self._scopes[patterns] = _paths(patterns), {}
        regex, known = self._scopes[patterns]
        found = known.get(function.file)
        if found is None:
            found = known[function.file] = bool(regex.match(function.file))
        return found

    def territory(self, function_id: str) -> tuple[str, str]:
        """Return (parent, directory) of the exclusive directory a function lies in, or two "" ."""
        known = self._territories.get(function_id)
        if known is None:
            known = self._territories[function_id] = self._territory(function_id)
        return known

    def _territory(self, function_id: str) -> tuple[str, str]:
        function = self._program.functions.get(function_id)
        if function is not None:
            for one in self.rules.exclusive:
                parts = function.file.removeprefix(f"{one.parent}/").split("/")
                inside = function.file.startswith(f"{one.parent}/") and len(parts) > 1
                if inside and parts[0] not in one.shared:
                    return one.parent, parts[0]
        return "", ""

    def frame(self, function_id: str) -> int:
        """Return a function's frame in bytes; without C source, what the policy says of it."""
        function = self._program.functions.get(function_id)
        if function is not None:
            return function.frame
        name = base(function_id)
        for regex, bytes_ in self._assembly:
            if regex.match(name):
                return bytes_
        return self._program.pointer_bytes  # the return address


def _named(patterns: Patterns, names: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Return the ids under all names that match; plain names are looked up."""
    wild = tuple(one for one in patterns if set(one) & set("*?["))
    matching = {one for one in patterns if one in names}
    if wild:
        matching.update(filter(_regex(wild).match, names))
    return {one for name in matching for one in names[name]}


class Guards:
    """The clauses of all call sites, and which calls they rule out under facts."""

    def __init__(self, program: Program) -> None:
        self._at: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for unit in program.units.values():
            for guard in unit.guards:
                where = self._at.setdefault((unit.object, guard.place), [])
                where.append((base(guard.callee), guard.clause))

    def of(self, unit: str, edge: Edge) -> Iterator[tuple[str, str]]:
        """Yield (callee, clause) of a call and of the inlined calls around it."""
        if not self._at:
            return
        for name, place in (*edge.inlined, (edge.callee, edge.place)):
            for callee, clause in self._at.get((unit, place), ()):
                if callee in {"*", base(name)}:
                    yield base(name), clause

    def held(self, unit: str, edge: Edge, facts: Iterable[Fact]) -> str:
        """Return the first clause that rules a call out, "" for none."""
        known = {fact.test: fact.value for fact in facts}
        for callee, clause in self.of(unit, edge) if known else ():
            if all(_contradicts(way, known) for way in clause.split("|")):
                return f"{callee}() only if {clause}"
        return ""


def _contradicts(way: str, known: Mapping[str, bool]) -> bool:
    for test in way.split("&"):
        value = known.get(test.removeprefix("!"))
        if value is not None and value == test.startswith("!"):
            return True
    return False
