"""What a series does to a kernel of hand-made units, and which patch did it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bot.contract import Chain, Depth
from policies.stackrules import (
    Barrier,
    Fact,
    Handlers,
    Machine,
    NoReturn,
    Profile,
    Rules,
    Said,
    Scope,
    StackPolicy,
    Tail,
    Waypoint,
)
from workers.stack import change
from workers.stack.rules import RuleError
from workers.stack.unit import CallSite, Function, Guard, IndirectSource, Unit

WHY = "because the tests need it so"
SAID = Said(value=16, source="arch/test/entry.S")
MACHINE = Machine(
    name="test", detect="CONFIG_TEST=y", stack=Said(value=4096, source="arch/test/stack.h"),
    entry=SAID, interrupt=SAID, interrupt_stack=True, interrupt_source="arch/test/irq.c",
)  # fmt: skip
KSWAPD = "current_is_kswapd()"


def policy(*barriers: Barrier, needs: tuple[str, ...] = ()) -> StackPolicy:
    fact = Fact(test=KSWAPD, value=False, reason=WHY)
    ways = (
        Waypoint(name="top", functions=("top",), facts=(fact,), reason=WHY),
        Waypoint(name="->go", field="ops.go", scope=("all",), branch=True, reason=WHY),
    )
    rules = Rules(
        no_return=NoReturn(follow=False, reason=WHY),
        handlers=Handlers(functions=("irq",), scope=("all",), reason=WHY),
        scope=(Scope(name="all", files=("**",), reason=WHY),), barrier=barriers,
    )  # fmt: skip
    tail = Tail(scope=("all",), reason=WHY)
    profile = Profile(name="p", reason=WHY, waypoint=ways, tail=tail, needs=needs)
    return StackPolicy(rules=rules, machines=(MACHINE,), profiles=(profile,))


def made(
    name: str, functions: Mapping[str, tuple[int, Sequence[str | CallSite]]],
    guards: Sequence[Guard] = (), values: Sequence[tuple[str, str, str]] = (),
    flows: Sequence[tuple[str, str]] = (),
) -> Unit:  # fmt: skip
    """Return a unit; a call is direct by default, on the line of its number."""
    unit = Unit(f"{name}.o", "12.2.0", 8, files=[f"{name}.c"])
    unit.guards, unit.values, unit.flows = [*guards], [*values], [*flows]
    for one, (frame, calls) in functions.items():
        unit.functions.append(
            Function(one, f"{name}.o", f"{name}.c", 1, frame, "s", weak=False, no_return=False,
                     type="t")
        )  # fmt: skip
        unit.calls[one] = [
            CallSite("d", call, f"0:{n}:1", "") if isinstance(call, str) else call
            for n, call in enumerate(calls, start=1)
        ]
    return unit


THERE = "0:1:1"  # the first call of a function
POINTER = "0:8:1"
HELD = Guard("out", POINTER, "*", KSWAPD)


def kernel(
    size: int = 64, *, guards: Sequence[Guard] = (), more: Sequence[Unit] = (), go: bool = True
) -> dict[str, Unit]:
    """Return top() → out() → ops.go → ext_go() of ``size`` bytes → leaf()."""
    out = made("mm", {"top": (100, ["out"]), "out": (40, [CallSite("i", "", POINTER, "")])}, guards)
    out.sources = [IndirectSource(POINTER, "t", "R:ops.go")]
    values = [("R:ops.go", "ext_go", "ext_ops")] if go else []
    ext = made("ext", {"ext_go": (size, ["leaf"])}, values=values)
    return {one.object: one for one in (out, ext, made("lib", {"leaf": (8, [])}), *more)}


def depths(chains: Sequence[Chain]) -> dict[str, tuple[int | None, int | None]]:
    def bytes_(depth: Depth | None) -> int | None:
        return depth.witness_bytes if depth else None

    return {one.name: (bytes_(one.before), bytes_(one.after)) for one in chains}


REST = 100 + 40 + 8 + 16  # all but ext_go()


def test_an_unchanged_kernel_has_unchanged_chains() -> None:
    (chain,) = change.compared(policy(), MACHINE, kernel(), [(1, kernel()), (2, kernel())])
    assert chain.before == chain.after
    assert (chain.patch, chain.moves, chain.name) == (0, (), "ext")
    assert depths([chain]) == {"ext": (REST + 64, REST + 64)}


def test_the_patch_that_moves_a_chain_is_named() -> None:
    after = [(1, kernel()), (2, kernel(96)), (3, kernel(96))]
    (chain,) = change.compared(policy(), MACHINE, kernel(), after)
    assert depths([chain]) == {"ext": (REST + 64, REST + 96)}
    assert (chain.patch, chain.moves) == (2, ((2, 32),))


def test_of_several_patches_the_one_that_moves_it_furthest() -> None:
    after = [(1, kernel(80)), (2, kernel(280)), (4, kernel(272))]
    (chain,) = change.compared(policy(), MACHINE, kernel(), after)
    assert (chain.patch, chain.moves) == (2, ((1, 16), (2, 200), (4, -8)))


def test_what_a_later_patch_takes_back_is_no_change() -> None:
    (chain,) = change.compared(policy(), MACHINE, kernel(), [(1, kernel(900)), (2, kernel())])
    assert chain.before == chain.after
    assert (chain.patch, chain.moves) == (0, ())


def test_a_patch_that_opens_a_held_chain() -> None:
    shut = kernel(guards=[HELD])
    after = [(1, kernel(960, guards=[HELD])), (2, kernel(960)), (3, kernel(964))]
    (chain,) = change.compared(policy(), MACHINE, shut, after)
    assert chain.before is not None
    assert chain.after is not None
    assert chain.before.held == (f"out() calls ext_go() only if {KSWAPD}",)
    assert chain.after.held == ()
    assert chain.patch == 2  # though patch 1 adds more bytes


def test_a_patch_that_holds_an_open_chain() -> None:
    after = [(1, kernel()), (2, kernel(guards=[HELD]))]
    (chain,) = change.compared(policy(), MACHINE, kernel(), after)
    assert chain.after is not None
    assert (bool(chain.after.held), chain.patch) == (True, 2)


def another(size: int = 8) -> Unit:
    return made("fat", {"fat_go": (size, [])}, values=[("R:ops.go", "fat_go", "fat_ops")])


def test_a_chain_may_be_new() -> None:
    after = [(1, kernel()), (2, kernel(more=[another()]))]
    found = change.compared(policy(), MACHINE, kernel(), after)
    assert depths(found) == {"ext": (REST + 64, REST + 64), "fat": (None, 100 + 40 + 8 + 16)}
    assert {one.name: one.patch for one in found} == {"ext": 0, "fat": 2}


def test_a_chain_may_be_gone() -> None:
    both = kernel(more=[another()])
    after = [(1, kernel(more=[another()], go=False)), (2, kernel(more=[another()], go=False))]
    found = change.compared(policy(), MACHINE, both, after)
    assert depths(found)["ext"] == (REST + 64, None)
    assert {one.name: one.patch for one in found} == {"ext": 1, "fat": 0}


def test_the_last_chain_may_be_gone() -> None:
    (chain,) = change.compared(policy(), MACHINE, kernel(), [(1, kernel(go=False))])
    assert (chain.after, chain.patch) == (None, 1)


def test_a_profile_that_the_kernel_has_not_is_left_out() -> None:
    after = [(1, kernel(96))]
    assert change.compared(policy(needs=("nowhere",)), MACHINE, kernel(), after) == ()
    assert change.compared(policy(), MACHINE, kernel(), after, names=["other"]) == ()
    assert len(change.compared(policy(), MACHINE, kernel(), after, names=["p"])) == 1


def test_a_rule_that_matches_nothing_before_is_an_error() -> None:
    rule = Barrier(callees=("nobody",), reason=WHY, file=Path("rules.toml"), line=7)
    with pytest.raises(RuleError, match=r"rules.toml:7: callees nobody"):
        change.compared(policy(rule), MACHINE, kernel(), [(1, kernel())])


def test_a_rule_may_match_nothing_after() -> None:
    rule = Barrier(callees=("leaf",), cost=100, reason=WHY)
    after = kernel()
    after["ext.o"] = made("ext", {"ext_go": (64, [])}, values=[("R:ops.go", "ext_go", "ext_ops")])
    del after["lib.o"]
    (chain,) = change.compared(policy(rule), MACHINE, kernel(), [(1, after)])
    assert depths([chain]) == {"ext": (REST + 64 + 100, REST + 64 - 8)}


# guards


def site(*guards: str, calls: Sequence[str | CallSite] = ("go",), **more: str) -> dict[str, Unit]:
    """Return out(), which calls go() on line 1 under some clauses."""
    said = [Guard("out", THERE, "go", one) for one in guards]
    said += [Guard("out", place.replace("_", ":")[1:], "go", one) for place, one in more.items()]
    return {"mm.o": made("mm", {"out": (40, calls)}, said)}


def told(before: dict[str, Unit], *after: dict[str, Unit]) -> list[tuple[str, bool, int]]:
    numbered = [(n, one) for n, one in enumerate(after, start=1)]
    return [(one.clause, one.gained, one.patch) for one in change.guards(before, numbered)]


def test_equal_code_has_lost_no_guard() -> None:
    same = site(KSWAPD, "gfp/0x40")
    assert told(same, same) == []
    assert told(same, site("gfp/0x40", KSWAPD), site(KSWAPD, "gfp/0x40")) == []
    assert change.guards(same, [(1, {})]) == ()


def test_a_lost_guard_says_where_and_by_which_patch() -> None:
    before = site(KSWAPD, "gfp/0x40")
    steps = [(3, before), (5, site("gfp/0x40")), (7, site("gfp/0x40"))]
    (lost,) = change.guards(before, steps)
    assert (lost.caller, lost.callee, lost.clause) == ("out", "go", KSWAPD)
    assert (lost.file, lost.line, lost.object) == ("mm.c", 1, "mm.o")
    assert (lost.gained, lost.patch) == (False, 5)


def test_a_gained_guard() -> None:
    assert told(site(), site(), site(KSWAPD)) == [(KSWAPD, True, 2)]


def test_a_guard_that_comes_back_was_never_lost() -> None:
    assert told(site(KSWAPD), site(), site(KSWAPD)) == []


def test_the_last_patch_that_takes_a_guard_away_is_named() -> None:
    assert told(site(KSWAPD), site(), site(KSWAPD), site()) == [(KSWAPD, False, 3)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a()|b()&current_is_kswapd()", "b()&current_is_kswapd()"),
        ("a()|b()", "a()&gfp/0x40|b()"),
        ("a()|b()", "b()|a()"),
        ("a()&b()", "b()&a()"),
    ],
)
def test_a_stronger_guard_is_no_loss(old: str, new: str) -> None:
    assert [one for one in told(site(old), site(new)) if not one[1]] == []


@pytest.mark.parametrize(
    ("old", "new"), [("a()", "a()|b()"), ("a()&b()", "b()"), ("a()", "!a()"), ("a()", "b()")]
)
def test_a_weaker_guard_is_a_loss(old: str, new: str) -> None:
    assert (old, False, 1) in told(site(old), site(new))


def test_a_second_call_without_the_guard_is_a_loss_at_that_call() -> None:
    calls = ["go", "other", "go"]
    (lost,) = change.guards(site(KSWAPD), [(1, site(KSWAPD, calls=calls))])
    assert (lost.clause, lost.line, lost.gained) == (KSWAPD, 3, False)
    assert told(site(KSWAPD), site(KSWAPD, calls=calls, _0_3_1=KSWAPD)) == []


def test_a_call_that_is_not_made_any_more_has_lost_nothing() -> None:
    assert told(site(KSWAPD), site(calls=["other"])) == []
    assert told(site(calls=["other"]), site(KSWAPD)) == []


def test_a_guard_of_an_inlined_call_stays_when_it_is_inlined() -> None:
    inlined = CallSite("d", "deep", "0:9:1", "go@mm.o,0:1:1")
    assert told(site(KSWAPD), site(KSWAPD, calls=[inlined])) == []
    assert told(site(KSWAPD), site(calls=[inlined])) == [(KSWAPD, False, 1)]


def test_a_guard_within_a_function_stays_when_that_is_inlined() -> None:
    guard = Guard("go@mm.o", "0:9:1", "deep", KSWAPD)
    deep = CallSite("d", "deep", "0:9:1", "")
    apart = {"mm.o": made("mm", {"out": (40, ["go@mm.o"]), "go@mm.o": (8, [deep])}, [guard])}
    inlined = CallSite("d", "deep", "0:9:1", "go@mm.o,0:1:1")
    together = {"mm.o": made("mm", {"out": (40, [inlined])}, [guard])}
    without = {"mm.o": made("mm", {"out": (40, [inlined])})}
    assert change.guards(apart, [(1, together)]) == ()
    (lost,) = change.guards(apart, [(1, without)])
    assert (lost.caller, lost.callee, lost.clause) == ("go", "deep", KSWAPD)


def test_a_guard_stays_when_gcc_makes_a_clone() -> None:
    clone = CallSite("d", "go.constprop.0@mm.o", THERE, "")
    assert told(site(KSWAPD), site(KSWAPD, calls=[clone])) == []


def test_a_guard_moves_with_its_line() -> None:
    assert told(site(KSWAPD), site(calls=["other", "go"], _0_2_1=KSWAPD)) == []


# targets


def test_equal_code_has_no_new_target() -> None:
    assert change.targets(kernel(), [(1, kernel())]) == ()


def test_a_new_target_says_where_it_was_stored_and_by_which_patch() -> None:
    after = [(1, kernel()), (2, kernel(more=[another()])), (3, kernel(more=[another()]))]
    (found,) = change.targets(kernel(), after)
    assert (found.field, found.function, found.variable) == ("ops.go", "fat_go", "fat_ops")
    assert (found.added, found.patch) == (True, 2)


def test_a_target_may_be_gone() -> None:
    after = [(1, kernel()), (2, kernel(go=False))]
    (found,) = change.targets(kernel(), after)
    assert (found.function, found.variable, found.added, found.patch) == (
        "ext_go", "ext_ops", False, 2,
    )  # fmt: skip


def test_an_assigned_target_has_no_variable() -> None:
    more = made("fat", {"fat_go": (8, [])}, flows=[("R:ops.go", "f:fat_go")])
    (found,) = change.targets(kernel(), [(1, kernel(more=[more]))])
    assert (found.field, found.function, found.variable) == ("ops.go", "fat_go", "")


def test_parameters_and_copies_are_no_targets() -> None:
    flows = [("P:go#0", "f:fat_go"), ("S:0:1:1#0", "f:fat_go"), ("R:ops.go", "V:at")]
    more = made("fat", {"fat_go": (8, [])}, flows=flows)
    assert change.targets(kernel(), [(1, kernel(more=[more]))]) == ()


def test_a_target_that_comes_and_goes_is_none() -> None:
    after = [(1, kernel(more=[another()])), (2, kernel())]
    assert change.targets(kernel(), after) == ()


def test_what_moves_from_one_variable_to_another_stays_a_target() -> None:
    moved = kernel()
    moved["ext.o"] = replace(moved["ext.o"], values=[("R:ops.go", "ext_go", "other_ops")])
    assert change.targets(kernel(), [(1, moved)]) == ()
