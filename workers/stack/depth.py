"""How deep the stack gets on a path: segment by segment, from waypoint to waypoint.

Each segment is searched by itself (workers/stack/paths.py) among the calls that policy
leaves: within its scope, up to barriers, not where a guard rules the call out under the
facts that hold from some waypoint on. A tail call leaves no frame of its caller. The sum
over the segments is the chain's witness, a path that exists, and its upper bound.

Where guards rule out every way, the chain is searched once more without them and says by
which guards it is *held*: that is how deep it would be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bot.contract import Chain, Depth, Hop
from policies.stackrules import Fact, Machine, Patterns, Profile, Waypoint
from workers.stack import paths
from workers.stack.paths import Step
from workers.stack.program import Edge, Program
from workers.stack.rules import Compiled, Guards, base
from workers.stack.segments import Goal, Graph, Leaf, Part, State, deeper, joined, towards

NAMED = 6  # members of a cycle that are named


@dataclass(frozen=True)
class Known:
    """The segments of a kernel that differs in some functions alone."""

    kernel: Kernel
    changed: frozenset[str]

    def segment(self, key: object) -> tuple[Part | None, frozenset[str]] | None:
        """Return a segment's answer if nothing that was looked at for it has changed."""
        found = self.kernel.segments.get(key)
        return found if found and self.changed.isdisjoint(found[1]) else None


class Kernel:
    """A linked kernel under a policy, ready for questions."""

    def __init__(
        self, program: Program, compiled: Compiled, machine: Machine, known: Known | None = None
    ) -> None:
        self.program = program
        self.compiled = compiled
        self.machine = machine
        self.guards = Guards(program)
        self._sorted: dict[str, tuple[tuple[Edge, ...], Leaf]] = {}
        self.segments: dict[object, tuple[Part | None, frozenset[str]]] = {}
        self._known = known

    def chains(self, profile: Profile) -> Iterator[Chain]:
        """Yield the chains of a profile, one for each branch; ``before`` is left empty.

        Raises RuleError.
        """
        stack, own = self.machine.stack.value, self.machine.interrupt_stack
        if profile.machine:
            stack, own = profile.machine.stack.value, profile.machine.interrupt_stack
        for name, branch in self._branches(profile):
            found = self._chain(profile, branch, ignore_guards=False)
            held = found is None
            found = found or self._chain(profile, branch, ignore_guards=True)
            depth = self._depth(profile, found, own, held) if found else None
            yield Chain(
                profile=profile.name, name=name, before=None, after=depth, budget_bytes=stack,
                waypoints=tuple(one.name for one in profile.waypoint),
            )  # fmt: skip

    def _branches(self, profile: Profile) -> Iterator[tuple[str, str | None]]:
        """Yield (name, function that the branching waypoint is narrowed to)."""
        for waypoint in profile.waypoint:
            if waypoint.branch:
                for function in self.compiled.functions(waypoint):
                    yield self._branch_name(waypoint, function), function
                return
        yield "", None

    def _branch_name(self, waypoint: Waypoint, function: str) -> str:
        _, directory = self.compiled.territory(function)
        return directory or base(function).removesuffix("_" + waypoint.name.removeprefix("->"))

    def _chain(self, profile: Profile, branch: str | None, *, ignore_guards: bool) -> State | None:
        states = [
            State(one, self.compiled.territory(one), profile.waypoint[0].facts)
            for one in self.compiled.functions(profile.waypoint[0])
        ]
        for waypoint in profile.waypoint[1:]:
            goals = self.compiled.functions(waypoint)
            if waypoint.branch and branch is not None:
                goals = tuple(one for one in goals if one == branch)
            node = f"R:{waypoint.field}" if waypoint.field else ""
            states = [*self._advance(states, waypoint, goals, node, ignore_guards=ignore_guards)]
        if profile.tail:
            scope = self.compiled.rules.scope_files(profile.tail.scope)
            states = [
                replace(one, parts=(*one.parts, part), upper=one.upper + part.upper)
                for one in states
                if (part := self._segment(one, None, scope, ignore_guards=ignore_guards))
            ]
        deepest = max(states, key=lambda one: (one.witness, one.at), default=None)
        return deepest and replace(deepest, upper=max(one.upper for one in states))

    def _advance(
        self, states: Sequence[State], waypoint: Waypoint, goals: Sequence[str], node: str, *,
        ignore_guards: bool,
    ) -> Iterator[State]:  # fmt: skip
        """Yield the deepest way to each goal."""
        scope = self.compiled.rules.scope_files(waypoint.scope)
        for goal in goals:
            best: State | None = None
            upper = 0
            for state in states:
                wanted = Goal(frozenset((goal,)), node)
                part = self._segment(state, wanted, scope, ignore_guards=ignore_guards)
                if part is None:
                    continue
                territory = self.compiled.territory(goal)
                new = State(
                    goal, territory if territory[1] else state.territory,
                    (*state.facts, *waypoint.facts), (*state.parts, part),
                )  # fmt: skip
                upper = max(upper, state.upper + part.upper)
                if best is None or new.witness > best.witness:
                    best = new
            if best is not None:
                yield replace(best, upper=upper)

    def _segment(
        self, state: State, goal: Goal | None, scope: Patterns, *, ignore_guards: bool
    ) -> Part | None:
        facts = () if ignore_guards else state.facts
        key = (state.at, state.territory, state.facts, goal, scope, ignore_guards)
        if key not in self.segments:
            found = self._known.segment(key) if self._known else None
            self.segments[key] = found or self._search(state, goal, scope, facts)
        return self.segments[key][0]

    def _search(
        self, state: State, goal: Goal | None, scope: Patterns, facts: tuple[Fact, ...]
    ) -> tuple[Part | None, frozenset[str]]:
        """Return the deepest path, and the functions that were looked at for it."""
        graph, seen = self._graph(state, goal, scope, facts)
        return self._part(graph, state, goal), seen

    def _part(self, graph: Graph, state: State, goal: Goal | None) -> Part | None:
        if goal is None:
            ends = {number: leaf.bytes for number, leaf in enumerate(graph.leaves)}
        else:
            ends = {n: 0 for n, name in enumerate(graph.names) if name in goal.functions}
        start = graph.names.index(state.at)
        found = paths.deepest([start], graph.steps.__getitem__, ends)
        if found is None:
            return None
        hops, held = self._hops(graph, start, found, state.facts, open_end=goal is None)
        cycles = tuple(self._cycle(graph, one) for one in found.cycles if len(one.members) > 1)
        return Part(found.witness, found.upper, hops, cycles, held, graph.cut)

    def _graph(
        self, state: State, goal: Goal | None, scope: Patterns, facts: tuple[Fact, ...]
    ) -> tuple[Graph, frozenset[str]]:
        """Return the calls from a function that policy leaves; towards a goal, only those."""
        ways: dict[str, dict[str, tuple[int, Edge]]] = {}
        leaves: dict[str, Leaf] = {}
        graph = Graph()
        todo = [state.at]
        seen = {state.at}
        while todo:
            caller = todo.pop()
            ways[caller], leaves[caller] = self._calls(caller, state, goal, scope, facts, graph)
            for callee in ways[caller]:
                if callee not in seen:
                    seen.add(callee)
                    if goal is not None and callee in goal.functions:
                        ways[callee], leaves[callee] = {}, Leaf(0)
                    else:
                        todo.append(callee)
        looked_at = frozenset(seen)
        if goal is not None:
            seen = towards(ways, goal.functions) | {state.at}
        graph.names = sorted(seen)
        number = {name: n for n, name in enumerate(graph.names)}
        for name in graph.names:
            kept = sorted((number[to], way) for to, way in ways[name].items() if to in number)
            graph.edges.append([edge for _, (_, edge) in kept])
            graph.steps.append([Step(to, bytes_, n) for n, (to, (bytes_, _)) in enumerate(kept)])
            graph.leaves.append(leaves[name])
        return graph, looked_at

    def _calls(
        self, caller: str, state: State, goal: Goal | None, scope: Patterns,
        facts: tuple[Fact, ...], graph: Graph,
    ) -> tuple[dict[str, tuple[int, Edge]], Leaf]:  # fmt: skip
        """Return the calls of one function that may be followed, and how a path ends in it."""
        edges, leaf = self._allowed(caller)
        frame = self.compiled.frame(caller)
        unit = self.program.functions[caller].object if caller in self.program.functions else ""
        found: dict[str, tuple[int, Edge]] = {}
        for edge in edges:
            wanted = goal is not None and edge.callee in goal.functions
            if wanted and goal is not None and goal.node and edge.node != goal.node:
                continue
            if not wanted and not self._inside(edge.callee, state.territory, scope):
                graph.cut += 1
                leaf = deeper(leaf, frame, self.compiled.frame(edge.callee), edge)
                continue
            if facts and self.guards.held(unit, edge, facts):
                continue
            bytes_ = 0 if edge.tail else frame
            known = found.get(edge.callee)
            if known is None or bytes_ > known[0]:
                found[edge.callee] = bytes_, edge
        return found, leaf

    def _allowed(self, caller: str) -> tuple[tuple[Edge, ...], Leaf]:
        """Return a function's calls that no barrier ends, and the deepest that one does."""
        known = self._sorted.get(caller)
        if known is None:
            frame = self.compiled.frame(caller)
            function = self.program.functions.get(caller)
            leaf = Leaf(frame + (function.transient if function else 0))
            kept = []
            for edge in self.program.edges(caller):
                cost = self.compiled.cost(caller, edge)
                if cost is None:
                    kept.append(edge)
                else:
                    leaf = deeper(leaf, frame, self.compiled.frame(edge.callee) + cost, edge)
            known = self._sorted[caller] = tuple(kept), leaf
        return known

    def _inside(self, callee: str, territory: tuple[str, str], scope: Patterns) -> bool:
        theirs = self.compiled.territory(callee)
        if theirs[1]:
            return theirs == territory
        return self.compiled.in_scope(callee, scope)

    def _hops(
        self, graph: Graph, start: int, found: paths.Deepest, facts: tuple[Fact, ...], *,
        open_end: bool,
    ) -> tuple[tuple[Hop, ...], tuple[str, ...]]:  # fmt: skip
        hops, held = [], []
        at, edge = start, None
        for step in found.steps:
            hops.append(self._hop(graph.names[at], edge, step.bytes))
            edge = graph.edges[at][step.mark]
            function = self.program.functions.get(graph.names[at])
            clause = self.guards.held(function.object if function else "", edge, facts)
            if clause:
                held.append(f"{base(graph.names[at])}() calls {clause}")
            at = step.to
        if open_end:
            leaf = graph.leaves[at]
            beyond = leaf.edge and self.compiled.frame(leaf.edge.callee)
            own = 0 if leaf.edge and leaf.edge.tail else self.compiled.frame(graph.names[at])
            hops.append(self._hop(graph.names[at], edge, own if beyond else leaf.bytes))
            if leaf.edge:
                hops.append(self._hop(leaf.edge.callee, leaf.edge, leaf.bytes - own))
        elif edge is not None:
            # the goal's own hop opens the next segment; how it was reached is told there
            hops.append(self._hop(graph.names[at], edge, 0))
        return tuple(hops), tuple(held)

    def _hop(self, name: str, edge: Edge | None, bytes_: int) -> Hop:
        function = self.program.functions.get(name)
        if edge is None:
            file, line = (function.file, function.line) if function else ("", 0)
            how = "start"
        else:
            file, line, how = edge.file, edge.line, edge.how
        if edge is not None and edge.tail:
            how = f"tail call, {how}" if how != "direct" else "tail call"
        return Hop(
            function=name.partition("@")[0], file=file, line=line, frame=bytes_, depth=0, how=how,
            inlined=tuple(base(one) for one, _ in edge.inlined) if edge else (),
            dynamic=bool(function and function.kind == "d"),
        )  # fmt: skip

    def _cycle(self, graph: Graph, cycle: paths.Cycle) -> str:
        names = [base(graph.names[one]) for one in cycle.members]
        shown = ", ".join(names[:NAMED])
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        way = "each at most once on the stack" if cycle.exact else "charged in full"
        return f"recursion among {len(names)} functions, {way}: {shown}{more}"

    def _depth(self, profile: Profile, state: State, own: bool, held: bool) -> Depth:  # noqa: FBT001
        hops = [*self._entry(profile), *joined(state.parts)]
        witness, upper = state.witness, state.upper
        interrupt = self._interrupt(own)
        hops += interrupt.hops
        witness += interrupt.witness
        upper += interrupt.upper
        depth, summed = 0, []
        for hop in hops:
            depth += hop.frame
            summed.append(hop.model_copy(update={"depth": depth}))
        witness += depth - witness if profile.waypoint[0].entered else 0
        upper += self.machine.entry.value if profile.waypoint[0].entered else 0
        cycles = {one: None for part in (*state.parts, interrupt) for one in part.cycles}
        return Depth(
            witness_bytes=witness, upper_bytes=upper, hops=tuple(summed), cycles=tuple(cycles),
            held=tuple(one for part in state.parts for one in part.held) if held else (),
            cut=sum(part.cut for part in (*state.parts, interrupt)),
        )  # fmt: skip

    def _entry(self, profile: Profile) -> Iterator[Hop]:
        if profile.waypoint[0].entered:
            entry = self.machine.entry
            yield Hop(
                function="(entry)", file=entry.source.partition(":")[0], line=0,
                frame=entry.value, depth=0, how="registers of user space",
            )  # fmt: skip

    def _interrupt(self, own: bool) -> Part:  # noqa: FBT001
        """Return what an interrupt at the deepest point takes of the same stack."""
        entry = self.machine.interrupt
        how = "then its own stack" if own else "then the same stack"
        hop = Hop(
            function="(interrupt)", file=entry.source.partition(":")[0], line=0,
            frame=entry.value, depth=0, how=how,
        )  # fmt: skip
        parts = [] if own else [*self._handlers()]
        best = max(parts, key=lambda one: one.witness, default=None)
        if best is None:
            return Part(entry.value, entry.value, (hop,), (), (), 0)
        upper = max(part.upper for part in parts)
        return Part(
            entry.value + best.witness, entry.value + upper, (hop, *best.hops), best.cycles, (), 0
        )

    def _handlers(self) -> Iterator[Part]:
        handlers = self.compiled.rules.handlers
        scope = self.compiled.rules.scope_files(handlers.scope)
        for name in handlers.functions:
            for function in self.compiled.names.get(name, ()):
                state = State(function, ("", ""), ())
                part = self._segment(state, None, scope, ignore_guards=True)
                if part is not None:
                    yield part
