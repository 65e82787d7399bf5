"""The stack analysis of object directories, for somebody at a desk: no queue, no sandbox."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.contract import Call, Chain, Frame, GuardChange, StackResult, TargetChange
from policies.stackrules import Machine, StackPolicy
from workers.stack import change, compare, unit
from workers.stack import kernel as kernels
from workers.stack.depth import Kernel
from workers.stack.kernel import ObjectDirectoryError
from workers.stack.program import Program, Resolved
from workers.stack.rules import base as name_of
from workers.stack.unit import CallSite, FactsError, Function, Unit

TRACEPOINTS = "__traceiter_"  # one for each tracepoint: include/linux/tracepoint.h
TYPE_ALONE = "T:"
Sites = Sequence[tuple[Function, CallSite, Resolved]]


@dataclass(frozen=True)
class Unresolved:
    """An indirect call without a target."""

    function: str
    file: str
    line: int
    through: str  # e.g. "dma_map_ops.unmap_page"
    reason: str


@dataclass(frozen=True)
class Stats:
    """Counts of one kernel; indirect calls without those that call the probes of tracepoints."""

    objects: int
    functions: int
    calls: int
    tracepoint_calls: int
    indirect_calls: int
    resolved: int
    by_type_alone: int
    without_target: int
    unknown: int
    targets_median: float
    targets_mean: float


@dataclass(frozen=True)
class Analysis:
    """All that `stackhog stack` says."""

    machine: Machine
    chains: tuple[Chain, ...]
    frames: tuple[Frame, ...]
    calls: tuple[Call, ...]
    guards: tuple[GuardChange, ...]
    targets: tuple[TargetChange, ...]
    unresolved: tuple[Unresolved, ...]
    stats: Stats


@contextmanager
def _without_collector() -> Iterator[None]:
    """Facts are millions of small objects and no cycles: looking for some costs a third."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def load(directory: Path) -> dict[str, Unit]:
    """Return the units of an object directory.

    Raises ObjectDirectoryError, MixedBuildError.
    """
    with _without_collector():
        try:
            return {one.object: one for one in unit.read(kernels.read(directory))}
        except FactsError as error:
            raise ObjectDirectoryError(f"{directory}/{error}") from error


def _config(directory: Path) -> str:
    try:
        return (directory / ".config").read_text(errors="replace")
    except OSError as error:
        raise ObjectDirectoryError(
            f"{directory} has no .config: is it a kernel's object directory?"
        ) from error


def analyse(
    directory: Path, base: Path | None, names: Sequence[str] = (), machine: str | None = None
) -> Analysis:
    """Analyse an object directory, and what changed since another one if there is a ``base``.

    Raises ObjectDirectoryError, MixedBuildError, RuleError, OursError.
    """
    policy = kernels.policy()
    _known(policy, names)
    after = load(directory)
    of = kernels.machine(policy, _config(directory), machine)
    with _without_collector():
        kernel = kernels.link(after, policy, of)
        sites = [*kernel.program.sites()]
        if base is None:
            chains = _chains(policy, kernel, names)
            return Analysis(
                of,
                chains,
                (),
                (),
                (),
                (),
                unresolved(kernel.program, sites),
                stats(kernel.program, sites),
            )
        before = _shared(load(base), after)
        if kernels.machine(policy, _config(base), machine) != of:
            raise ObjectDirectoryError(f"{base} and {directory} are of different architectures")
        steps = [(1, after)]
        result = _compared(base, directory, before, after)
        return Analysis(
            of, change.compared(policy, of, before, steps, names), result.frames, result.calls,
            change.guards(before, steps), change.targets(before, steps),
            unresolved(kernel.program, sites), stats(kernel.program, sites),
        )  # fmt: skip


def _known(policy: StackPolicy, names: Sequence[str]) -> None:
    for name in names:
        if policy.profile(name) is None:
            known = ", ".join(one.name for one in policy.profiles)
            raise ObjectDirectoryError(f"no profile is called {name}: there are {known}")


def _chains(policy: StackPolicy, kernel: Kernel, names: Sequence[str]) -> tuple[Chain, ...]:
    wanted = [one for one in policy.profiles if not names or one.name in names]
    profiles = kernels.applicable(kernel, wanted)
    missing = {one.name for one in wanted} - {one.name for one in profiles}
    if not profiles or (names and missing):
        left = ", ".join(sorted(missing))
        raise ObjectDirectoryError(
            f"this kernel does not have what {left} need{'s' if len(missing) == 1 else ''}: build "
            "it with a configuration that has reclaim, writeback and a block device"
        )
    kernel.compiled.check()
    found = change.chains(kernel, profiles)
    return tuple(found[key] for key in sorted(found))


def _shared(before: dict[str, Unit], after: dict[str, Unit]) -> dict[str, Unit]:
    """Return ``before`` with the units of ``after`` where the two are equal."""
    return {name: after[name] if after.get(name) == one else one for name, one in before.items()}


def _compared(
    base: Path, directory: Path, before: dict[str, Unit], after: dict[str, Unit]
) -> StackResult:
    changed = sorted(name for name in {*before, *after} if before.get(name) is not after.get(name))
    old, new = (compare.read(_side_files(where, changed)) for where in (base, directory))
    return compare.compare(old, [(1, new)])


def _side_files(directory: Path, objects: Sequence[str]) -> dict[str, bytes]:
    found = {}
    for name in objects:
        for suffix in (".ci", ".su"):
            path = (directory / name).with_suffix(suffix)
            if path.exists():
                found[name.removesuffix(".o") + suffix] = path.read_bytes()
    return found


def unresolved(program: Program, sites: Sites) -> tuple[Unresolved, ...]:
    """Return the indirect calls without a target, each place of the source once."""
    found = {}
    for function, call, site in sites:
        if site.targets:
            continue
        file, line = program.units[function.object].at(call.place)
        through = ", ".join(node[2:].partition("@")[0] for node in site.nodes)
        reason = (
            "where the pointer comes from could not be followed"
            if site.unknown
            else "nothing in this configuration stores a function there"
        )
        one = Unresolved(name_of(function.id), file, line, through, reason)
        found[file, line, through] = one
    return tuple(found[key] for key in sorted(found))


def stats(program: Program, every: Sites) -> Stats:
    """Count."""
    sites = [site for function, _, site in every if not function.id.startswith(TRACEPOINTS)]
    sizes = [len(site.targets) for site in sites if site.targets]
    return Stats(
        objects=len(program.units),
        functions=len(program.functions),
        calls=sum(len(calls) for calls in program.calls.values()),
        tracepoint_calls=len(every) - len(sites),
        indirect_calls=len(sites),
        resolved=len(sizes),
        by_type_alone=sum(1 for s in sites if any(n.startswith(TYPE_ALONE) for n in s.nodes)),
        without_target=sum(1 for site in sites if not site.targets and not site.unknown),
        unknown=sum(1 for site in sites if site.unknown),
        targets_median=statistics.median(sizes) if sizes else 0,
        targets_mean=round(statistics.fmean(sizes), 2) if sizes else 0,
    )
