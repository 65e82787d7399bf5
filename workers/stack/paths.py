"""The deepest path through a graph with cycles: a path that exists, and an upper bound.

A function stands on the stack once (recursion is reported, not followed), so what is
looked for is the longest simple path, which is NP-hard in general and cheap in a kernel
under policy: the graph falls apart into small strongly connected components (Tarjan 1972),
and each of these falls apart again once the function by which it is entered is taken out.
That is repeated until nothing is left, which is exact; where the budget ends first, what
remains of a component is charged with all its frames, once each. So

    witness <= longest simple path <= upper

and the two are equal where every component was taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

BUDGET = 3_000_000  # edges looked at in taking apart the components of one search
NOWHERE = -1  # bytes: no way leads to an end


@dataclass(frozen=True, slots=True)
class Step:
    """An edge: what it costs the caller's stack, in bytes, and where it leads."""

    to: int
    bytes: int
    mark: int  # of the caller's, to find its own edge again


@dataclass(frozen=True, slots=True)
class Way:
    """The best continuation known from a node, in bytes."""

    upper: int
    witness: int
    step: Step | None  # None: the path ends here
    rest: Way | None  # how it goes on behind the step


@dataclass(frozen=True)
class Cycle:
    """A component whose functions call one another."""

    members: tuple[int, ...]
    exact: bool


@dataclass(frozen=True)
class Deepest:
    """The answer from one start."""

    upper: int
    witness: int
    steps: tuple[Step, ...]
    cycles: tuple[Cycle, ...]


Steps = Callable[[int], Sequence[Step]]
Ends = Mapping[int, int]  # node to the bytes of a path that ends there
NO_WAY = Way(NOWHERE, NOWHERE, None, None)


class _ExhaustedError(Exception):
    """The budget is used up."""


def deepest(
    starts: Iterable[int], steps: Steps, ends: Ends, budget: int = BUDGET
) -> Deepest | None:
    """Return the deepest path from any start to any end; None if there is none.

    Equal depths: the first start, the first step as ``steps`` gives them.
    """
    search = _Search(steps, ends, budget)
    order = list(starts)
    ways = search.ways(order)
    best: Way | None = None
    for start in order:
        way = ways[start]
        if way.witness > NOWHERE and (best is None or way.witness > best.witness):
            best = way
    if best is None:
        return None
    upper = max(ways[start].upper for start in order)
    return Deepest(upper, best.witness, tuple(_steps(best)), tuple(search.cycles))


def _steps(way: Way) -> Iterator[Step]:
    while way.step is not None:
        yield way.step
        assert way.rest is not None  # noqa: S101 - a step leads somewhere
        way = way.rest


def components(  # noqa: C901 - Tarjan's algorithm, unrolled: recursion would be too deep
    roots: Iterable[int], steps: Steps, within: Collection[int] | None = None
) -> list[list[int]]:
    """Return the strongly connected components reached from roots, callees first (Tarjan)."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on: set[int] = set()
    found: list[list[int]] = []
    for root in roots:
        if root in number or (within is not None and root not in within):
            continue
        number[root] = low[root] = len(number)
        stack.append(root)
        on.add(root)
        work = [(root, iter(steps(root)))]
        while work:
            node, rest = work[-1]
            for step in rest:
                to = step.to
                if within is not None and to not in within:
                    continue
                if to not in number:
                    number[to] = low[to] = len(number)
                    stack.append(to)
                    on.add(to)
                    work.append((to, iter(steps(to))))
                    break
                if to in on and number[to] < low[node]:
                    low[node] = number[to]
            else:
                work.pop()
                if work and low[node] < low[work[-1][0]]:
                    low[work[-1][0]] = low[node]
                if low[node] == number[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        on.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    found.append(component)
    return found


class _Search:
    def __init__(self, steps: Steps, ends: Ends, budget: int) -> None:
        self._steps = steps
        self._ends = ends
        self._budget = budget
        self.cycles: list[Cycle] = []

    def ways(self, roots: Iterable[int]) -> dict[int, Way]:
        """Return the best way from every node that is reached from the roots."""
        found: dict[int, Way] = {}
        roots = list(roots)
        order = components(roots, self._steps)
        home = {node: n for n, component in enumerate(order) for node in component}
        entered = {*roots, *(
            step.to for node in home for step in self._steps(node) if home[step.to] != home[node]
        )}  # fmt: skip
        for component in order:
            if len(component) == 1:
                node = component[0]
                if any(step.to == node for step in self._steps(node)):
                    self.cycles.append(Cycle((node,), exact=True))
                found[node] = self._best(node, self._end(node), found)
            else:
                self._component(component, sorted(entered.intersection(component)), found)
        return found

    def _end(self, node: int) -> Way:
        bytes_ = self._ends.get(node, NOWHERE)
        return NO_WAY if bytes_ == NOWHERE else Way(bytes_, bytes_, None, None)

    def _best(self, node: int, way: Way, known: Mapping[int, Way]) -> Way:
        """Return the best of ``way`` and every step to a node whose way is known."""
        upper, witness, first, rest = way.upper, way.witness, way.step, way.rest
        for step in self._steps(node):
            behind = known.get(step.to)
            if behind is None or step.to == node:
                continue
            if behind.upper > NOWHERE and step.bytes + behind.upper > upper:
                upper = step.bytes + behind.upper
            if behind.witness > NOWHERE and step.bytes + behind.witness > witness:
                witness, first, rest = step.bytes + behind.witness, step, behind
        return Way(upper, witness, first, rest)

    def _component(
        self, component: list[int], entries: Sequence[int], found: dict[int, Way]
    ) -> None:
        """Add the ways from each entry, as exactly as the budget allows."""
        leave = {node: self._best(node, self._end(node), found) for node in component}
        members = frozenset(component)
        if all(way.upper == NOWHERE for way in leave.values()):
            found.update(leave)
            return
        best: dict[int, Way] = {}
        exact = True
        share = max(1, self._budget // len(entries))
        for entry in entries:
            best[entry], done = self._deepen(entry, members, leave, share)
            exact = exact and done
        self.cycles.append(Cycle(tuple(sorted(component)), exact))
        found.update(best)

    def _deepen(
        self, entry: int, members: frozenset[int], leave: Mapping[int, Way], share: int
    ) -> tuple[Way, bool]:
        """Take the component apart one level deeper each time, until exact or out of budget."""
        best = self._charged(entry, members, leave)
        left = [share]
        for depth in range(1, len(members) + 1):
            self._cut = False
            try:
                way = self._apart(entry, members, leave, depth, left)
            except _ExhaustedError:
                return best, False
            keep = way if way.witness > best.witness else best
            best = Way(min(way.upper, best.upper), keep.witness, keep.step, keep.rest)
            if not self._cut:
                return best, True
        return best, True

    def _apart(
        self, entry: int, members: frozenset[int], leave: Mapping[int, Way], depth: int,
        left: list[int],
    ) -> Way:  # fmt: skip
        """Return the best way from ``entry`` through ``members``, each at most once."""
        if depth == 0:
            self._cut = True
            self._spend(left, members)
            return self._charged(entry, members, leave)
        rest = members - {entry}
        known: dict[int, Way] = {}
        for component in components((s.to for s in self._steps(entry)), self._steps, rest):
            self._spend(left, component)
            if len(component) == 1:
                known[component[0]] = self._best(component[0], leave[component[0]], known)
                continue
            inner = frozenset(component)
            outer = {node: self._best(node, leave[node], known) for node in component}
            for node in sorted(self._entries(entry, rest, inner)):
                known[node] = self._apart(node, inner, outer, depth - 1, left)
        return self._best(entry, leave[entry], known)

    def _spend(self, left: list[int], nodes: Iterable[int]) -> None:
        """Count the edges that are looked at; raises _ExhaustedError when they are too many."""
        left[0] -= sum(len(self._steps(node)) for node in nodes)
        if left[0] < 0:
            raise _ExhaustedError

    def _entries(self, entry: int, rest: frozenset[int], inner: frozenset[int]) -> set[int]:
        callers = (rest - inner) | {entry}
        return {s.to for caller in callers for s in self._steps(caller) if s.to in inner}

    def _charged(self, entry: int, members: frozenset[int], leave: Mapping[int, Way]) -> Way:
        """Charge every member once; the witness is the best of shortest ways to each exit."""
        most = {
            node: max((s.bytes for s in self._steps(node) if s.to in members), default=0)
            for node in members
        }
        total = sum(most.values())
        ways = [
            total - most[node] + leave[node].upper
            for node in members
            if leave[node].upper > NOWHERE
        ]
        upper = max(ways, default=NOWHERE)
        best = leave[entry]
        for path, node in self._shortest(entry, members):
            way = leave[node]
            if way.witness == NOWHERE:
                continue
            for step in reversed(path):
                way = Way(NOWHERE, step.bytes + way.witness, step, way)
            if way.witness > best.witness:
                best = way
        return Way(upper, best.witness, best.step, best.rest)

    def _shortest(self, entry: int, members: frozenset[int]) -> Iterator[tuple[list[Step], int]]:
        paths: dict[int, list[Step]] = {entry: []}
        todo = [entry]
        for node in todo:
            for step in self._steps(node):
                if step.to in members and step.to not in paths:
                    paths[step.to] = [*paths[node], step]
                    todo.append(step.to)
        for node in todo:
            yield paths[node], node
