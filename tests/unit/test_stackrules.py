"""Policy of the stack analysis: its files, and what its rules mean in a small kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from policies import stackrules
from policies.stackrules import (
    Barrier,
    Exclusive,
    Fact,
    Handlers,
    Machine,
    NoReturn,
    Profile,
    Rules,
    Said,
    Scope,
    StackPolicyError,
    Tail,
    Waypoint,
)
from workers.stack.depth import Kernel
from workers.stack.program import Program
from workers.stack.rules import Compiled, RuleError
from workers.stack.unit import CallSite, Function, Guard, IndirectSource, Unit

WHY = "because the tests need it so"
SAID = Said(value=16, source="arch/test/entry.S")
MACHINE = Machine(
    name="test", detect="CONFIG_TEST=y", stack=Said(value=4096, source="arch/test/stack.h"),
    entry=SAID, interrupt=SAID, interrupt_stack=True, interrupt_source="arch/test/irq.c",
)  # fmt: skip


def rules(*barriers: Barrier, exclusive: tuple[Exclusive, ...] = ()) -> Rules:
    return Rules(
        no_return=NoReturn(follow=False, reason=WHY),
        handlers=Handlers(functions=("irq",), scope=("all",), reason=WHY),
        scope=(
            Scope(name="all", files=("**",), reason=WHY),
            Scope(name="mm", files=("mm/*",), reason=WHY),
        ),
        barrier=barriers, exclusive=exclusive,
    )  # fmt: skip


Calls = Sequence[str | CallSite]


def program(functions: Mapping[str, tuple[int, Calls]], guards: Sequence[Guard] = ()) -> Program:
    """Return a program; ``file:name`` says where a function is, a call is direct by default."""
    unit = Unit("a.o", "12.2.0", 8, files=["mm/a.c"], guards=list(guards))
    for key, (frame, calls) in functions.items():
        file, _, name = key.rpartition(":")
        unit.functions.append(
            Function(
                name,
                "a.o",
                file or "mm/a.c",
                1,
                frame,
                "s",
                weak=False,
                no_return=name.startswith("die"),
                type="t",
            )
        )
        unit.calls[name] = [
            CallSite("d", one, f"0:{n}:1", "") if isinstance(one, str) else one
            for n, one in enumerate(calls, start=1)
        ]
    return Program([unit])


def profile(*waypoints: Waypoint | str, tail: str = "all") -> Profile:
    made = [
        one if isinstance(one, Waypoint)
        else Waypoint(name=one, functions=(one,), scope=("all",), reason=WHY)
        for one in waypoints
    ]  # fmt: skip
    return Profile(name="p", reason=WHY, waypoint=tuple(made), tail=Tail(scope=(tail,), reason=WHY))


def depth(kernel: Program, rules_: Rules, *waypoints: Waypoint | str, tail: str = "all"):  # type: ignore[no-untyped-def]  # noqa: ANN201
    (chain,) = Kernel(kernel, Compiled(kernel, rules_), MACHINE).chains(
        profile(*waypoints, tail=tail)
    )
    return chain.after


SIMPLE = {"top": (100, ["mid"]), "mid": (40, ["low"]), "low": (30, ["leaf"]), "leaf": (8, [])}


def test_the_policy_that_comes_with_stackhog_is_sound() -> None:
    policy = stackrules.load()
    names = {one.name for one in policy.profiles}
    assert names >= {"direct-reclaim-writepage", "swap-out", "writeback", "hellwig-2010"}
    machines = {one.name: one for one in policy.machines}
    sizes = {name: one.stack.value for name, one in machines.items()}
    assert sizes == {"x86_64": 16384, "i386": 8192, "arm64": 16384, "riscv": 16384}
    assert {name for name, one in machines.items() if not one.interrupt_stack} == {"riscv"}
    old = policy.profile("hellwig-2010")
    assert old is not None
    assert old.machine is not None
    assert (old.machine.stack.value, old.machine.interrupt_stack) == (8192, False)
    for rule in policy.rules.barrier:
        text = rule.file.read_text().splitlines()
        assert text[rule.line - 1] == "[[barrier]]"


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("rules.toml", 'reason = "messages', 'reasons = "messages', r"rules.toml:\d+: barrier.1"),
        ("rules.toml", "[[barrier]]", "[[barrier]", "not TOML"),
        ("swap-out.toml", '"page cache", "swap"]', '"nowhere"]',
         r"swap-out.toml:\d+: no scope named 'nowhere'"),
        ("swap-out.toml", 'functions = ["pageout"]', "",
         r"swap-out.toml:\d+: waypoint.2.*either functions or a field"),
        ("machines.toml", "value = 8192", 'value = "much"',
         r"machines.toml:\d+: machine.1.stack.value"),
        ("writeback.toml", "[tail]", "[tail]\nmore = 1", r"writeback.toml:\d+: tail.more"),
        ("writeback.toml", 'reason = "where ->writepages is called (mm/page-writeback.c)"', "",
         r"writeback.toml:10: waypoint.1.reason: Field required"),
        ("writeback.toml", '"where ->writepages is called (mm/page-writeback.c)"', '"so"',
         r"writeback.toml:10: waypoint.1.reason: String should have at least 15"),
        ("writeback.toml", 'functions = ["do_writepages"]', 'address = ["do_writepages"]',
         r"writeback.toml:10: waypoint.1.*(address|functions or a field)"),
        ("writeback.toml", 'functions = ["do_writepages"]',
         'functions = ["do_writepages"]\nfield = "a.b"',
         r"writeback.toml:10: waypoint.1: .*either functions or a field"),
        ("swap-out.toml", '[tail]\nscope = ["library"', '[tail]\nscope = ["lib"',
         r"swap-out.toml:\d+: no scope named 'lib'"),
        ("rules.toml", 'callees = ["schedule"', 'calls = ["schedule"',
         r"rules.toml:\d+: barrier.0"),
        ("rules.toml", "follow = false", 'follow = "now"', r"rules.toml:\d+: no_return.follow"),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_named_with_file_and_line(
    tmp_path: Path, name: str, old: str, new: str, words: str
) -> None:
    for path in stackrules.HERE.glob("*.toml"):
        (tmp_path / path.name).write_text(path.read_text())
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new, 1))
    with pytest.raises(StackPolicyError, match=words):
        stackrules.load(tmp_path)


def test_a_rule_that_matches_nothing_is_an_error_with_its_place() -> None:
    rule = Barrier(callees=("nobody",), reason=WHY, file=Path("rules.toml"), line=7)
    compiled = Compiled(program(SIMPLE), rules(rule))
    with pytest.raises(RuleError, match=r"rules.toml:7: callees nobody matches nothing"):
        compiled.check()
    void = rule.model_copy(update={"needs": ("fs/xfs/*",)})
    Compiled(program(SIMPLE), rules(void)).check()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Barrier(callers=("nobody",), reason=WHY), "callers nobody"),
        (Barrier(callees=("no*", "none"), reason=WHY), r"callees no\*, none"),
        (Barrier(files=("mm/*/*.c",), reason=WHY), r"files mm/\*/\*.c"),
        (Barrier(fields=("ops.get",), reason=WHY), "fields ops.get"),
        (Barrier(callees=("leaf",), callers=("nobody",), reason=WHY), "callers nobody"),
        (Barrier(callees=("nobody",), needs=("gone", "mid"), reason=WHY), "callees nobody"),
        (Barrier(callees=("nobody",), needs=("mm/*",), reason=WHY), "callees nobody"),
    ],
)
def test_everything_that_a_rule_names_is_looked_for(rule: Barrier, words: str) -> None:
    placed = rule.model_copy(update={"file": Path("rules.toml"), "line": 12})
    with pytest.raises(RuleError, match=f"^rules.toml:12: {words} matches nothing in this kernel"):
        Compiled(program(SIMPLE), rules(placed)).check()


@pytest.mark.parametrize(
    "rule",
    [
        Barrier(callers=("mid",), callees=("low",), reason=WHY),
        Barrier(callees=("l?w", "nobody"), reason=WHY),
        Barrier(files=("**/a.c",), reason=WHY),
        Barrier(callees=("nobody",), needs=("gone",), reason=WHY),
        Barrier(callees=("outside",), reason=WHY),  # called, though nowhere defined
        Barrier(callees=("gone_inline",), reason=WHY),
    ],
)
def test_a_rule_that_matches_something_is_none(rule: Barrier) -> None:
    call = CallSite("d", "outside", "0:1:1", "gone_inline@a.o,0:1:1")
    Compiled(program({**SIMPLE, "leaf": (8, [call])}), rules(rule)).check()


@pytest.mark.parametrize(
    ("rule", "ends"),
    [
        (Barrier(callees=("low",), reason=WHY), True),
        (Barrier(callees=("lo",), reason=WHY), False),
        (Barrier(callers=("mid",), callees=("low",), reason=WHY), True),
        (Barrier(callers=("top",), callees=("low",), reason=WHY), False),
        (Barrier(files=("fs/*",), reason=WHY), True),
        (Barrier(files=("fs",), reason=WHY), False),
        (Barrier(files=("*b.c", "mm/a.c"), callees=("low",), reason=WHY), False),
        (Barrier(files=("**b.c",), reason=WHY), True),
        (Barrier(files=("*/b.c",), callees=("low",), reason=WHY), True),
        (Barrier(files=("mm/*",), callees=("low",), reason=WHY), False),
    ],
)
def test_all_that_a_barrier_says_must_hold(rule: Barrier, *, ends: bool) -> None:
    kernel = program(
        {"top": (100, ["mid"]), "mid": (40, ["low"]), "fs/b.c:low": (30, ["deep"]),
         "deep": (500, [])}
    )  # fmt: skip
    found = depth(kernel, rules(rule), "top", "mid")
    assert found.witness_bytes == 100 + 40 + 30 + 16 + (0 if ends else 500)


@pytest.mark.parametrize(("field", "ends"), [("ops.get", True), ("ops.put", False)])
def test_a_barrier_may_be_a_field(field: str, *, ends: bool) -> None:
    kernel = program({"top": (100, ["mid"]), "mid": (40, [CallSite("i", "", "0:7:1", "")]),
                      "low": (30, ["deep"]), "deep": (500, [])})  # fmt: skip
    unit = kernel.units["a.o"]
    unit.sources.append(IndirectSource("0:7:1", "t", "R:ops.get"))
    unit.values += [("R:ops.get", "low", "table"), ("R:ops.put", "deep", "table")]
    rule = Barrier(fields=(field,), reason=WHY)
    found = depth(Program([unit]), rules(rule), "top", "mid")
    assert found.witness_bytes == 100 + 40 + 30 + 16 + (0 if ends else 500)


@pytest.mark.parametrize("name", ["gone@a.o", "gone.constprop.0@a.o", "gone.part.0.isra.2"])
def test_a_barrier_holds_for_clones_and_static_functions(name: str) -> None:
    rule = Barrier(callees=("gone",), reason=WHY)
    for call in (CallSite("d", "deep", "0:1:1", f"{name},0:1:1"), CallSite("d", name, "0:1:1", "")):
        kernel = program({**SIMPLE, "low": (30, [call]), "deep": (900, ["more"]),
                          "more": (50, []), name: (900, ["more"])})  # fmt: skip
        assert depth(kernel, rules(rule), "top", "low").witness_bytes == 186 + 900


def test_a_chain_adds_up_what_lies_between_its_waypoints() -> None:
    found = depth(program(SIMPLE), rules(), "top", "low")
    assert [(hop.function, hop.frame) for hop in found.hops] == [
        ("top", 100), ("mid", 40), ("low", 30), ("leaf", 8), ("(interrupt)", 16),
    ]  # fmt: skip
    assert found.witness_bytes == found.upper_bytes == 194


def test_a_tail_call_leaves_no_frame() -> None:
    kernel = program({**SIMPLE, "mid": (40, [CallSite("t", "low", "0:1:1", "")])})
    found = depth(kernel, rules(), "top", "low")
    assert found.witness_bytes == 154
    assert [hop.how for hop in found.hops][2] == "tail call"


def test_a_barrier_ends_a_path_with_the_frame_behind_it() -> None:
    rule = Barrier(callees=("leaf",), cost=5, reason=WHY)
    kernel = program({**SIMPLE, "leaf": (8, ["deep"]), "deep": (900, [])})
    assert depth(kernel, rules(), "top", "low").witness_bytes == 194 + 900
    assert depth(kernel, rules(rule), "top", "low").witness_bytes == 194 + 5


def test_a_barrier_holds_for_what_was_inlined() -> None:
    rule = Barrier(callers=("low",), callees=("gone",), reason=WHY)
    call = CallSite("d", "deep", "0:1:1", "gone,0:1:1")
    kernel = program({**SIMPLE, "low": (30, [call]), "deep": (900, ["more"]), "more": (50, [])})
    assert depth(kernel, rules(), "top", "low").witness_bytes == 186 + 950
    assert depth(kernel, rules(rule), "top", "low").witness_bytes == 186 + 900


def test_what_leaves_the_scope_ends_there() -> None:
    kernel = program(
        {**SIMPLE, "low": (30, ["out"]), "net/b.c:out": (60, ["far"]), "far": (70, [])}
    )
    assert depth(kernel, rules(), "top", "low").witness_bytes == 186 + 130
    cut = depth(kernel, rules(), "top", "low", tail="mm")
    assert (cut.witness_bytes, cut.cut) == (186 + 60, 1)


def test_what_never_returns_is_not_followed() -> None:
    kernel = program({**SIMPLE, "low": (30, ["die"]), "die": (24, ["far"]), "far": (700, [])})
    assert depth(kernel, rules(), "top", "low").witness_bytes == 186 + 24


def test_one_filesystem_a_stack() -> None:
    only = Exclusive(parent="fs", shared=("jbd2",), reason=WHY)
    kernel = program(
        {
            "top": (10, ["ext4"]), "fs/ext4/a.c:ext4": (10, ["xfs", "jbd2", "own"]),
            "fs/xfs/a.c:xfs": (10, ["deep"]), "fs/xfs/b.c:deep": (900, []),
            "fs/jbd2/a.c:jbd2": (20, []), "fs/ext4/b.c:own": (15, []),
        }
    )  # fmt: skip
    assert depth(kernel, rules(exclusive=(only,)), "top", "ext4").witness_bytes == 10 + 10 + 20 + 16
    assert depth(kernel, rules(), "top", "ext4").witness_bytes == 10 + 10 + 10 + 900 + 16


CLAUSE = Guard("mid", "0:1:1", "low", "!folio_is_file_lru()|current_is_kswapd()&test_bit()")


def waypoint(*facts: tuple[str, bool]) -> Waypoint:
    made = tuple(Fact(test=test, value=value, reason=WHY) for test, value in facts)
    return Waypoint(name="top", functions=("top",), facts=made, reason=WHY)


@pytest.mark.parametrize(
    ("facts", "held"),
    [
        ([], False),
        ([("current_is_kswapd()", False)], False),
        ([("current_is_kswapd()", False), ("folio_is_file_lru()", True)], True),
        ([("current_is_kswapd()", True), ("folio_is_file_lru()", True)], False),
        ([("test_bit()", False), ("folio_is_file_lru()", True)], True),
        ([("folio_is_file_lru()", False)], False),
    ],
)
def test_a_condition_holds_a_chain(facts: list[tuple[str, bool]], *, held: bool) -> None:
    found = depth(program(SIMPLE, [CLAUSE]), rules(), waypoint(*facts), "low")
    assert found.witness_bytes == 194
    assert bool(found.held) == held
    if held:
        assert found.held == (f"mid() calls low() only if {CLAUSE.clause}",)


AWAY = CallSite("d", "low", "0:9:1", "")


def test_another_way_opens_a_held_chain() -> None:
    facts = ("current_is_kswapd()", False), ("folio_is_file_lru()", True)
    kernel = program({**SIMPLE, "top": (100, ["mid", "by"]), "by": (4, [AWAY])}, [CLAUSE])
    found = depth(kernel, rules(), waypoint(*facts), "low")
    assert not found.held
    assert [hop.function for hop in found.hops][1] == "by"


def test_a_waypoint_that_was_inlined_is_its_callers() -> None:
    call = CallSite("d", "leaf", "0:1:1", "gone,0:1:1")
    kernel = program({"top": (100, ["mid"]), "mid": (40, [call]), "leaf": (8, [])})
    found = depth(kernel, rules(), "top", "gone")
    assert found.witness_bytes == 100 + 40 + 8 + 16


def test_a_waypoint_that_is_nowhere_is_an_error() -> None:
    with pytest.raises(RuleError, match="waypoint nobody"):
        depth(program(SIMPLE), rules(), "top", "nobody")


def test_interrupts_on_the_same_stack_add_their_deepest_handler() -> None:
    kernel = program({**SIMPLE, "irq": (50, ["work"]), "work": (300, [])})
    old = stackrules.OldMachine(
        stack=Said(value=2048, source="arch/test/old.h"), interrupt_stack=False,
        interrupt_source="arch/test/old.c",
    )  # fmt: skip
    path = profile("top", "low").model_copy(update={"machine": old})
    (chain,) = Kernel(kernel, Compiled(kernel, rules()), MACHINE).chains(path)
    assert chain.after is not None
    assert (chain.after.witness_bytes, chain.budget_bytes) == (194 + 350, 2048)


def test_the_bound_is_that_of_all_ways_not_of_the_deepest_witness() -> None:
    kernel = program(
        {"topa": (100, ["low"]), "topb": (90, ["low"]), "low": (30, [])},
    )
    paths_ = Kernel(kernel, Compiled(kernel, rules()), MACHINE)
    both = Waypoint(name="top", functions=("top*",), scope=("all",), reason=WHY)
    (chain,) = paths_.chains(profile(both, "low"))
    assert chain.after is not None
    assert chain.after.witness_bytes == chain.after.upper_bytes == 146
    for key, (part, seen) in list(paths_.segments.items()):
        if part is not None and part.hops[0].function == "topb":
            paths_.segments[key] = replace(part, upper=part.upper + 500), seen
    (chain,) = paths_.chains(profile(both, "low"))
    assert chain.after is not None
    assert (chain.after.witness_bytes, chain.after.upper_bytes) == (146, 636)


@pytest.mark.xfail(strict=True, reason="headers of tables are known by their whole line")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[[barrier]]", "[[barrier]]  # sleeps"),
        ('reason = "the task sleeps', 'reason = """\n[[barrier]]\nthe task""" #'),
    ],
)
def test_a_header_of_a_table_may_be_followed_by_a_comment(
    tmp_path: Path, old: str, new: str
) -> None:
    for path in stackrules.HERE.glob("*.toml"):
        text = path.read_text()
        (tmp_path / path.name).write_text(text.replace(old, new, 1))
    assert {one.line for one in stackrules.load(tmp_path).rules.barrier}.isdisjoint({0})
