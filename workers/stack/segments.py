"""What a segment of a chain is made of, and how segments are put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bot.contract import Hop
from policies.stackrules import Fact
from workers.stack.paths import Step
from workers.stack.program import Edge


@dataclass(frozen=True)
class Leaf:
    """What ends a path at a function: nothing, or a call that is not followed."""

    bytes: int
    edge: Edge | None = None


@dataclass(frozen=True)
class Part:
    """A segment's deepest path."""

    witness: int
    upper: int
    hops: tuple[Hop, ...]
    cycles: tuple[str, ...]
    held: tuple[str, ...]
    cut: int  # calls out of scope that were not followed


@dataclass(frozen=True)
class State:
    """Where a chain has got to."""

    at: str  # function
    territory: tuple[str, str]
    facts: tuple[Fact, ...]
    parts: tuple[Part, ...] = ()
    upper: int = 0  # of all ways to get here, not only of the deepest witness

    @property
    def witness(self) -> int:
        """Bytes of the deepest way to here."""
        return sum(part.witness for part in self.parts)


@dataclass(frozen=True)
class Goal:
    """Where a segment ends."""

    functions: frozenset[str]
    node: str  # "R:…" where only calls through this field count


@dataclass
class Graph:
    """The calls of one segment with functions as numbers, in the order of their names."""

    names: list[str] = field(default_factory=list)
    steps: list[list[Step]] = field(default_factory=list)
    edges: list[list[Edge]] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)
    cut: int = 0


def deeper(leaf: Leaf, frame: int, beyond: int, edge: Edge) -> Leaf:
    """Return the deeper of two ways to end in a function: ``leaf``, or a call not followed."""
    bytes_ = beyond if edge.tail else frame + beyond
    return Leaf(bytes_, edge) if bytes_ > leaf.bytes else leaf


def towards(ways: dict[str, dict[str, tuple[int, Edge]]], goals: Iterable[str]) -> set[str]:
    """Return the functions from which a goal is reached."""
    callers: dict[str, list[str]] = {}
    for caller, found in ways.items():
        for callee in found:
            callers.setdefault(callee, []).append(caller)
    seen = {goal for goal in goals if goal in ways}
    todo = sorted(seen)
    while todo:
        for caller in callers.get(todo.pop(), ()):
            if caller not in seen:
                seen.add(caller)
                todo.append(caller)
    return seen


def joined(parts: Sequence[Part]) -> Iterator[Hop]:
    """Put segments together: a goal's hop, of no bytes, tells how the next one was reached."""
    reached: Hop | None = None
    for number, part in enumerate(parts):
        hops = list(part.hops)
        if reached is not None:
            first = hops[0]
            hops[0] = reached.model_copy(update={"frame": first.frame})
        last = number == len(parts) - 1
        if not last:
            reached = hops.pop()
        yield from hops
