"""Answers questions about the calls of one kernel: who calls whom, and the deepest way between two.

The way is looked for as the profiles' ways are, under the same rules (policies/stack/rules.toml):
within the scopes, no further than its barriers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

from bot.contract import Chain
from bot.contract.explore import Around, Explored, Near, Question
from policies.stackrules import Profile, StackPolicy, Waypoint
from workers.stack import kernel as kernels
from workers.stack import unit
from workers.stack.depth import Kernel
from workers.stack.pack import unpack
from workers.stack.program import Edge
from workers.stack.rules import base

MOST = 60  # names, callers and callees that are told
WHY = "asked for on the page, between any two functions"
Fetch = Callable[[str], bytes]


class Explorer:
    """One kernel, ready for questions."""

    def __init__(self, kernel: Kernel, policy: StackPolicy) -> None:
        self._kernel, self._policy = kernel, policy

    @cached_property
    def _callers(self) -> Mapping[str, tuple[tuple[str, Edge], ...]]:
        found: dict[str, list[tuple[str, Edge]]] = {}
        program = self._kernel.program
        for caller in sorted(program.functions):
            for edge in program.edges(caller):
                found.setdefault(edge.callee, []).append((caller, edge))
        return {callee: tuple(calls) for callee, calls in found.items()}

    def answer(self, question: Question) -> Explored:
        """Answer all that is asked."""
        names = self._kernel.compiled.names
        problem = ""
        for name in (question.around, question.start, question.end):
            if name and name not in names and not problem:
                problem = f"this kernel has no function {name[:80]}(): it may be inlined everywhere"
        ask = not problem and question.start and question.end
        chain = self._chain(question.start, question.end) if ask else None
        if ask and (chain is None or chain.after is None):
            problem = (
                f"no path leads from {question.start}() to {question.end}() within the scopes and "
                "barriers of the stack policy"
            )
        return Explored(
            functions=len(self._kernel.program.functions),
            names=_matching(question.text, names) if question.text else (),
            around=self._around(question.around) if question.around in names else None,
            chain=chain, problem=problem,
        )  # fmt: skip

    def _around(self, name: str) -> Around:
        program, compiled = self._kernel.program, self._kernel.compiled
        ids = compiled.names[name]
        callers = [one for key in ids for one in self._callers.get(key, ())]
        edges = [edge for key in ids for edge in program.edges(key)]
        into = _once(self._near(who, edge) for who, edge in callers)
        out = _once(self._near(edge.callee, edge) for edge in edges)
        first = program.functions[ids[0]]
        return Around(
            function=name, file=first.file, line=first.line,
            frame=max(compiled.frame(one) for one in ids), callers=into[:MOST], callees=out[:MOST],
            fan_in=len({one.function for one in into}), fan_out=len({one.function for one in out}),
        )  # fmt: skip

    def _near(self, who: str, edge: Edge) -> Near:
        frame = self._kernel.compiled.frame(who)
        return Near(function=base(who), file=edge.file, line=edge.line, how=edge.how, frame=frame)

    def _chain(self, start: str, end: str) -> Chain | None:
        scopes = tuple(one.name for one in self._policy.rules.scope)
        points = tuple(
            Waypoint(name=name, functions=(name,), scope=scopes, reason=WHY)
            for name in (start, end)
        )
        profile = Profile(name="explored", reason=WHY, waypoint=points)
        return next(iter(self._kernel.chains(profile)), None)


def opened(question: Question, fetch: Fetch) -> Explorer:
    """Return the kernel that a question is about; ``fetch`` gets an artifact by its key.

    Raises FactsError, PackError, ObjectDirectoryError, MixedBuildError and what ``fetch`` raises.
    """
    policy = kernels.policy()
    units = unit.read(unpack(fetch(question.facts)))
    machine = kernels.by_arch(policy, question.arch)
    return Explorer(kernels.link({one.object: one for one in units}, policy, machine), policy)


def _matching(text: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that hold a text: those that are it, then those that begin so."""
    wanted = text.lower()
    found = [name for name in names if wanted in name.lower()]
    found.sort(key=lambda one: (one.lower() != wanted, not one.lower().startswith(wanted), one))
    return tuple(found[:MOST])


def _once(found: Iterable[Near]) -> tuple[Near, ...]:
    """Return each function once for each way of calling, the largest frames first."""
    by_way = {(one.function, one.how): one for one in found}
    ordered = sorted(by_way.values(), key=lambda one: (-one.frame, one.function, one.how))
    return tuple(ordered)
