"""What a change does to a kernel's call graph: depth, reach, targets, guards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from bot.contract import Chain, GuardChange, TargetChange
from policies.stackrules import Machine, Profile, StackPolicy
from workers.stack import kernel as kernels
from workers.stack.depth import Kernel
from workers.stack.rules import RuleError, base
from workers.stack.unit import Unit

Units = Mapping[str, Unit]  # by object
Pair = tuple[str, str]  # names of caller and callee in the source; "*" for an indirect callee
Clauses = frozenset[str]


def chains(kernel: Kernel, profiles: Iterable[Profile]) -> dict[tuple[str, str], Chain]:
    """Return the chains of all profiles by (profile, branch), as ``after``."""
    found: dict[tuple[str, str], Chain] = {}
    for profile in profiles:
        for chain in _reached(kernel, profile):
            key = chain.profile, chain.name
            known = found.get(key)
            # two functions of one filesystem: the deeper is the filesystem's
            if known is None or _bytes(chain) > _bytes(known):
                found[key] = chain
    return found


def _reached(kernel: Kernel, profile: Profile) -> tuple[Chain, ...]:
    try:
        return tuple(kernel.chains(profile))
    except RuleError:  # a waypoint is gone: nothing passes it
        return ()


def _bytes(chain: Chain) -> int:
    return chain.after.witness_bytes if chain.after else -1


def compared(
    policy: StackPolicy, machine: Machine, before: Units, after: Sequence[tuple[int, Units]],
    names: Sequence[str] = (), first: Kernel | None = None,
) -> tuple[Chain, ...]:  # fmt: skip
    """Return the chains before and after a series, each with the patch that moved it furthest.

    ``after`` has all units of the kernel after each patch, ``first`` is ``before`` linked,
    where that is done already. Raises RuleError
    for a rule that matches nothing before the series; what the series takes away is its answer.
    """
    first = first or kernels.link(before, policy, machine)
    profiles = [one for one in policy.profiles if not names or one.name in names]
    profiles = [*kernels.applicable(first, profiles)]
    if not profiles:
        return ()
    first.compiled.check()
    steps = [chains(first, profiles)]
    last = chains(kernels.link(after[-1][1], policy, machine, first), profiles)
    changed = [key for key in sorted({*steps[0], *last}) if steps[0].get(key) != last.get(key)]
    if changed:
        touched = [one for one in profiles if one.name in {key[0] for key in changed}]
        for _, units in after[:-1]:
            steps.append(chains(kernels.link(units, policy, machine, first), touched))
    steps.append(last)
    patches = [patch for patch, _ in after]
    return tuple(_joined(key, steps, patches) for key in sorted({*steps[0], *last}))


def _joined(
    key: tuple[str, str], steps: Sequence[Mapping[tuple[str, str], Chain]], patches: Sequence[int]
) -> Chain:
    first, last = steps[0].get(key), steps[-1].get(key)
    shape = last or first
    assert shape is not None  # noqa: S101 - the key came from one of the two
    before, after = first.after if first else None, last.after if last else None
    if before == after:
        return shape.model_copy(update={"before": before, "after": after})
    patch, moves = _movers([step.get(key) for step in steps], patches)
    return shape.model_copy(
        update={"before": before, "after": after, "patch": patch, "moves": moves}
    )


def _movers(
    steps: Sequence[Chain | None], patches: Sequence[int]
) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Return the patch that opened or closed a chain or moved it furthest, and all moves."""
    worth: list[tuple[int, int, int]] = []
    moves: list[tuple[int, int]] = []
    for (old, new), patch in zip(pairwise(steps), patches, strict=True):
        was, is_ = old.after if old else None, new.after if new else None
        if was == is_:
            continue
        turned = (is_ is None or bool(is_.held)) != (was is None or bool(was.held))
        moved = (is_.witness_bytes if is_ else 0) - (was.witness_bytes if was else 0)
        worth.append((turned, abs(moved), patch))
        if was and is_ and moved:
            moves.append((patch, moved))
    return max(worth)[2] if worth else patches[-1], tuple(moves)


def guards(before: Units, after: Sequence[tuple[int, Units]]) -> tuple[GuardChange, ...]:
    """Return the guards that calls lost or gained over a series.

    A guard of a call is lost when a call of the same function in the same function is made
    without it; a call that is made no more, or not made before, has lost and gained nothing.
    """
    found = []
    last = after[-1][1]
    for name in sorted(before.keys() & last.keys()):
        if before[name] is last[name]:
            continue
        old, new = _sites(before[name]), _sites(last[name])
        for pair in sorted(old.keys() & new.keys()):
            lost = [*_missing(old[pair], new[pair])]
            gained = [*_missing(new[pair], old[pair])]
            found += [(name, pair, clause, False) for clause in lost]
            found += [(name, pair, clause, True) for clause in gained]
    return tuple(_guard(one, before, after) for one in found)


def _guard(
    found: tuple[str, Pair, str, bool], before: Units, after: Sequence[tuple[int, Units]]
) -> GuardChange:
    name, pair, clause, gained = found
    patch, old = after[-1][0], before
    for index, units in after:
        if units[name] is not old[name] and pair in _sites(units[name]):
            had = _has(old[name], pair, clause)
            has = _has(units[name], pair, clause)
            if had != has and has == gained:
                patch = index
        old = units
    end = after[-1][1][name]
    file, line = _place(end, pair, clause)
    return GuardChange(
        caller=pair[0], callee=pair[1], file=file, line=line, clause=clause, gained=gained,
        patch=patch, object=name,
    )  # fmt: skip


def _has(unit: Unit, pair: Pair, clause: str) -> bool:
    sites = _sites(unit).get(pair, {})
    return bool(sites) and all(_implied(clause, clauses) for clauses in sites.values())


def _place(unit: Unit, pair: Pair, clause: str) -> tuple[str, int]:
    sites = _sites(unit)[pair]
    open_ = [place for place, clauses in sorted(sites.items()) if not _implied(clause, clauses)]
    return unit.at((open_ or sorted(sites))[0])


def _missing(old: Mapping[str, Clauses], new: Mapping[str, Clauses]) -> Iterator[str]:
    """Yield the clauses that all old sites have and some new site does not imply."""
    common = frozenset.intersection(*old.values()) if old else frozenset()
    for clause in sorted(common):
        if any(not _implied(clause, clauses) for clauses in new.values()):
            yield clause


def _implied(clause: str, clauses: Clauses) -> bool:
    """Whether one of the clauses is as strong: each of its ways contains a way of ``clause``."""
    wanted = [frozenset(way.split("&")) for way in clause.split("|")]
    for one in clauses:
        ways = [frozenset(way.split("&")) for way in one.split("|")]
        if all(any(want <= way for want in wanted) for way in ways):
            return True
    return False


def _sites(unit: Unit) -> dict[Pair, dict[str, Clauses]]:
    """Return the calls of an object as the source has them: pair → place → clauses."""
    clauses: dict[tuple[str, str], set[str]] = defaultdict(set)
    for guard in unit.guards:
        clauses[guard.place, base(guard.callee)].add(guard.clause)
    found: dict[Pair, dict[str, Clauses]] = defaultdict(dict)
    for function, calls in unit.calls.items():
        for call in calls:
            caller = base(function)
            chain = [one.rpartition(",")[::2] for one in call.inlined.split(";") if one]
            for name, place in (*chain, (call.callee or "*", call.place)):
                callee = base(name)
                held = clauses.get((place, callee)) or clauses.get((place, "*")) or ()
                if place:
                    found[caller, callee][place] = frozenset(held)
                caller = callee
    return found


def targets(before: Units, after: Sequence[tuple[int, Units]]) -> tuple[TargetChange, ...]:
    """Return the functions that fields and variables can newly hold, or no longer."""
    last = after[-1][1]
    changed = [name for name in sorted(last) if before.get(name) is not last[name]]
    old = _stored([before[name] for name in changed if name in before])
    new = _stored([last[name] for name in changed])
    found = []
    for key in sorted(old.keys() ^ new.keys()):
        added = key in new
        patch, was = after[-1][0], not added
        for index, units in after:
            here = key in _stored([units[name] for name in changed if name in units])
            if here != was and here == added:
                patch = index
            was = here
        node, function = key
        found.append(
            TargetChange(
                field=node[2:].partition("@")[0], function=base(function),
                variable=(new if added else old)[key].partition("@")[0], added=added, patch=patch,
            )
        )  # fmt: skip
    return tuple(found)


def _stored(units: Iterable[Unit]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for unit in units:
        for node, function, owner in unit.values:
            found.setdefault((node, function), owner)
        for to, source in unit.flows:
            if source[0] == "f" and to[0] in "RV":
                found.setdefault((to, source[2:]), "")
    return found
