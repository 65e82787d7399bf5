"""What changed of whole call chains, turned into findings by policy.

A change in one place moves every chain that passes it, so that there is one finding of
growth and one of reach for each patch, of the chain that it moved furthest; the others are
named in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bot.contract import (
    Chain,
    Depth,
    Finding,
    FindingKind,
    Frame,
    GuardChange,
    Severity,
    StackResult,
    TargetChange,
)
from bot.review.chaintable import table
from policies.schema import Gates

LINES = 28  # of a chain's table in a mail
NAMED = 6  # other chains that are named


def find(gates: Gates, arch: str, stack: StackResult) -> Iterator[Finding]:
    """Yield the findings of a stack result that concern the whole kernel."""
    for patch in sorted({one.patch for one in stack.chains if one.patch}):
        chains = [one for one in stack.chains if one.patch == patch and is_reached(one)]
        yield from _reached(gates, arch, patch, chains, stack)
    told = False
    for patch in _movers(stack.chains):
        for finding in _grown(gates, arch, patch, stack, table_too=not told):
            told = True
            yield finding
    for guard in stack.guards:
        if not guard.gained and gates.guard.matches(guard.callee):
            yield _guard(gates, arch, guard)
    for target in stack.targets:
        yield from _target(gates, target)


def is_reached(chain: Chain) -> bool:
    """Whether a path can be taken after the change and could not before."""
    before, after = chain.before, chain.after
    return after is not None and not after.held and (before is None or bool(before.held))


def growth(chain: Chain) -> int:
    """Return by how many bytes the chain got deeper; 0 where one side cannot be reached."""
    if chain.before is None or chain.after is None:
        return 0
    return chain.after.witness_bytes - chain.before.witness_bytes


def fails(gates: Gates, chains: Iterable[Chain], guards: Iterable[GuardChange]) -> bool:
    """Whether policy lets none of this pass."""
    if gates.guard.fails and any(
        not one.gained and gates.guard.matches(one.callee) for one in guards
    ):
        return True
    return any(
        (gates.chain.reached_fails and is_reached(one)) or _fails(gates, one, growth(one))
        for one in chains
    )


def _fails(gates: Gates, chain: Chain, more: int) -> bool:
    """Whether growth by ``more`` bytes fails; a path that cannot be taken today never does."""
    if chain.after is None or chain.after.held:
        return False
    deep = chain.after.witness_bytes > chain.budget_bytes
    return more >= gates.chain.fail_bytes or (more > 0 and deep)


def _movers(chains: Iterable[Chain]) -> list[int]:
    """Return the patches that moved a chain, the one that moved one furthest first."""
    most: dict[int, int] = {}
    for chain in chains:
        for patch, moved in left(chain).items():
            most[patch] = max(most.get(patch, moved), moved)
    return sorted(most, key=lambda patch: (-most[patch], patch))


def left(chain: Chain) -> dict[int, int]:
    """Return by how many bytes each patch deepened a chain, less what later ones took back.

    What is taken back is taken from the patch before; what a patch adds to a chain that the
    series had made shallower counts from where the series found it.
    """
    added: list[list[int]] = []
    owed = 0  # bytes by which the chain is shallower than before the series
    for patch, moved in chain.moves:
        paid = min(max(moved, 0), owed)
        owed -= paid
        added.append([patch, max(moved, 0) - paid])
        back = max(-moved, 0)
        for one in reversed(added):
            taken = min(one[1], back)
            one[1] -= taken
            back -= taken
        owed += back
    most = max(growth(chain), 0)
    found = {patch: min(more, most) for patch, more in added if more}
    # where a chain was closed in between the moves do not add up: who opened it again did it
    lacking = most - sum(found.values())
    if lacking > 0 and chain.patch:
        found[chain.patch] = found.get(chain.patch, 0) + lacking
    return found


def _depth(chain: Chain) -> Depth:
    assert chain.after is not None  # noqa: S101 - only chains that can be reached come here
    return chain.after


def spoken(clause: str) -> str:
    """Return a clause as a person reads it."""
    return clause.replace("|", " or ").replace("&", " and ")


def name_of(chain: Chain) -> str:
    """Return what a reader calls the chain."""
    return f"{chain.profile} ({chain.name})" if chain.name else chain.profile


def _others(chains: Sequence[tuple[Chain, int]]) -> str:
    """Name the other chains that the same change moves, those of one profile together."""
    names: dict[tuple[int, str], list[str]] = {}
    for chain, moved in chains:
        names.setdefault((-moved, chain.profile), []).append(chain.name)
    said = [
        f"{profile} ({', '.join(one)}) by {-moved}" if any(one) else f"{profile} by {-moved}"
        for (moved, profile), one in sorted(names.items())
    ]
    return f"It also moves {'; '.join(said)}." if said else ""


def _grown(
    gates: Gates, arch: str, patch: int, stack: StackResult, *, table_too: bool
) -> Iterator[Finding]:
    moved = [(one, left(one).get(patch, 0)) for one in stack.chains]
    grown = [
        (one, more) for one, more in moved
        if one.after and growth(one) > 0
        and (more >= gates.chain.note_bytes or _fails(gates, one, more))
    ]  # fmt: skip
    if not grown:
        return
    # what can happen today comes first
    grown.sort(key=lambda one: (
        bool(_depth(one[0]).held), -one[1], -_depth(one[0]).witness_bytes, name_of(one[0]),
    ))  # fmt: skip
    (chain, more), *others = grown
    depth = _depth(chain)
    whole = f" ({growth(chain)} with the whole series)" if growth(chain) != more else ""
    said = (
        f"the deepest stack of {name_of(chain)} grows by {more} bytes{whole}, "
        f"to {depth.witness_bytes} of {chain.budget_bytes}"
    )
    function, file, line = _cause(chain, patch, stack.frames)
    yield Finding(
        kind=FindingKind.CHAIN_GREW,
        severity=Severity.FAIL if any(_fails(gates, *one) for one in grown) else Severity.NOTE,
        patch=patch, file=file, line=line, function=function,
        before=depth.witness_bytes - more, after=depth.witness_bytes,
        text=(said, _others(others), *(table(chain, LINES) if table_too else ())),
        reproduce=_see(arch, chain) if table_too else "",
    )  # fmt: skip


def _cause(chain: Chain, patch: int, frames: Sequence[Frame]) -> tuple[str | None, str, int | None]:
    """Return the function on the chain whose frame the patch moved most, and where it is."""
    on = {hop.function for hop in _depth(chain).hops}
    moved = [one for one in frames if one.function in on and one.after is not None]
    own = [one for one in moved if one.patch == patch] or moved
    if not own:
        return None, "", None
    most = max(own, key=lambda one: ((one.after or 0) - (one.before or 0), one.function))
    return most.function, most.file, most.line


def _reached(
    gates: Gates, arch: str, patch: int, chains: Sequence[Chain], stack: StackResult
) -> Iterator[Finding]:
    if not chains:
        return
    ordered = sorted(chains, key=lambda one: (-_depth(one).witness_bytes, name_of(one)))
    chain, *others = ordered
    depth = _depth(chain)
    said = (
        f"{_start(chain)} now reaches {_end(chain)} of {chain.name or chain.profile}, "
        f"{depth.witness_bytes} of {chain.budget_bytes} bytes deep"
    )
    why = chain.before.held[0] if chain.before and chain.before.held else ""
    before = f"Until now {spoken(why)}." if why else "Until now there was no way."
    guards = [g for g in stack.guards if g.patch == patch and not g.gained]
    guard = next((g for g in guards if gates.guard.matches(g.callee)), None)
    yield Finding(
        kind=FindingKind.CHAIN_REACHED,
        severity=Severity.FAIL if gates.chain.reached_fails else Severity.NOTE,
        patch=patch, file=guard.file if guard else "", line=guard.line if guard else None,
        function=guard.caller if guard else None, before=None, after=depth.witness_bytes,
        text=(
            said, f"{before} {_also(others)}".strip(),
            *table(chain, LINES),
        ),
        reproduce=_see(arch, chain),
    )  # fmt: skip


def _also(chains: Sequence[Chain]) -> str:
    names = ", ".join(name_of(one) for one in chains[:NAMED])
    more = f" and {len(chains) - NAMED} more" if len(chains) > NAMED else ""
    return f"The same opens for {names}{more}." if chains else ""


def _start(chain: Chain) -> str:
    """Return the last waypoint before the first call through a field: who reaches it."""
    names = chain.waypoints
    at = next((n for n, one in enumerate(names) if one.startswith("->")), 1)
    return "direct reclaim" if "direct reclaim" in names[:at] else names[0]


def _end(chain: Chain) -> str:
    named = [one for one in chain.waypoints if one.startswith("->")]
    return named[-1] if named else chain.waypoints[-1]


def _guard(gates: Gates, arch: str, guard: GuardChange) -> Finding:
    target = guard.object or "vmlinux"
    return Finding(
        kind=FindingKind.GUARD_LOST,
        severity=Severity.FAIL if gates.guard.fails else Severity.NOTE,
        patch=guard.patch, file=guard.file, line=guard.line, function=guard.caller,
        before=None, after=None, text=(guard.callee, guard.clause, gates.guard.reason),
        reproduce=f'make ARCH={arch} KCFLAGS="$(stackhog stack --flags)" {target}',
    )  # fmt: skip


def _target(gates: Gates, target: TargetChange) -> Iterator[Finding]:
    gate = next((one for one in gates.target if one.matches(target.field)), None)
    if target.added and gate is not None:
        yield Finding(
            kind=FindingKind.TARGET_NEW, severity=Severity.NOTE, patch=target.patch, file="",
            line=None, function=target.function, before=None, after=None,
            text=(target.field, gate.reason), reproduce="",
        )  # fmt: skip


def _see(arch: str, chain: Chain) -> str:
    return (
        f'make ARCH={arch} KCFLAGS="$(stackhog stack --flags)" && '
        f"stackhog stack . --profile {chain.profile}"
    )
