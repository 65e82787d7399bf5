"""A kernel linked from hand-made units: names, aliases, and where pointers lead."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from workers.stack.program import Program, Site
from workers.stack.unit import CallSite, Function, IndirectSource, Unit

INT, LONG = "type of int", "type of long"


def made(  # noqa: PLR0913 - a unit has as many parts
    name: str, *functions: str, calls: dict[str, Sequence[CallSite]] | None = None,
    types: dict[str, str] | None = None, weak: Sequence[str] = (), frame: int = 16,
    values: Sequence[tuple[str, str, str]] = (), flows: Sequence[tuple[str, str]] = (),
    aliases: Sequence[tuple[str, str]] = (), sources: Sequence[IndirectSource] = (),
) -> Unit:  # fmt: skip
    """Return a unit whose functions take an int unless ``types`` says otherwise."""
    found = Unit(f"{name}.o", "12.2.0", 8, files=[f"{name}.c"])
    for one in functions:
        type_ = (types or {}).get(one, INT)
        found.functions.append(
            Function(
                one, f"{name}.o", f"{name}.c", 1, frame, "s", one in weak, no_return=False,
                type=type_,
            )
        )  # fmt: skip
        found.calls[one] = [*(calls or {}).get(one, ())]
    found.values, found.flows, found.aliases = [*values], [*flows], [*aliases]
    found.sources = [*sources]
    found.types = {INT: "s32(s32)", LONG: "s64(s64)"}
    return found


def direct(callee: str, inlined: str = "", kind: str = "d") -> CallSite:
    return CallSite(kind, callee, "0:5:1", inlined)


THERE = "0:9:1"
INDIRECT = CallSite("i", "", THERE, "")


def asking(node: str, *more: str, type_: str = INT) -> Unit:
    """Return a unit with f(), which calls what was loaded from some nodes."""
    sources = [IndirectSource(THERE, type_, one) for one in (node, *more)]
    return made("ask", "f", calls={"f": [INDIRECT]}, sources=sources)


def reached(*units: Unit, caller: str = "f") -> list[tuple[str, str]]:
    return [(edge.callee, edge.how) for edge in Program(units).edges(caller)]


FIELD = "R:ops.get"


def test_a_direct_call() -> None:
    (edge,) = Program([made("a", "f", calls={"f": [direct("g", "in@a.o,0:2:1;by,0:3:1")]})]).edges(
        "f"
    )
    assert (edge.callee, edge.how, edge.file, edge.line, edge.node) == ("g", "direct", "a.c", 5, "")
    assert edge.inlined == (("in@a.o", "0:2:1"), ("by", "0:3:1"))


def test_kinds_of_calls() -> None:
    kinds = [direct("g", kind=kind) for kind in "dta"]
    found = Program([made("a", "f", calls={"f": kinds})]).edges("f")
    assert [(edge.how, edge.tail) for edge in found] == [
        ("asm", False), ("direct", False), ("direct", True),
    ]  # fmt: skip


def test_what_gcc_adds_by_itself_is_no_call() -> None:
    calls = [direct("__fentry__"), direct("__stack_chk_fail"), direct("g")]
    assert reached(made("a", "f", calls={"f": calls})) == [("g", "direct")]


def test_a_function_that_is_nowhere_calls_nothing() -> None:
    assert Program([made("a", "f")]).edges("nowhere") == ()


def test_a_field_says_of_which_variable() -> None:
    by = made("b", "one", "two", values=[(FIELD, "one", "table"), (FIELD, "two", "list@b.o")])
    assert reached(asking(FIELD), by) == [
        ("one", "field ops.get of table"), ("two", "field ops.get of list"),
    ]  # fmt: skip


def test_an_assigned_field_has_no_variable() -> None:
    by = made("b", "one", flows=[(FIELD, "f:one")])
    assert reached(asking(FIELD), by) == [("one", "field ops.get")]


def test_another_field_is_another_place() -> None:
    by = made("b", "one", values=[("R:ops.put", "one", "table"), ("R:more.get", "one", "table")])
    assert reached(asking(FIELD), by) == []


@pytest.mark.parametrize(
    ("node", "how"),
    [
        ("R:ops.get", "field ops.get"), ("V:at", "variable at"), ("V:at@ask.o", "variable at"),
        ("P:f#0", "parameter f#0"), ("P:f@ask.o#1", "parameter f#1"),
        ("r:pick", "returned by pick"),
    ],
)  # fmt: skip
def test_every_kind_of_node_has_its_words(node: str, how: str) -> None:
    assert reached(asking(node), made("b", "one", flows=[(node, "f:one")])) == [("one", how)]


def test_values_flow_through_any_number_of_nodes() -> None:
    chain = ["f:one", "P:a#0", "r:a", "V:at", "R:in.slot", FIELD]
    flows = [(to, source) for source, to in pairwise(chain)]
    for order in (flows, flows[::-1]):
        units = [made(str(n), flows=[one]) for n, one in enumerate(order)]
        assert reached(asking(FIELD), made("b", "one"), *units) == [("one", "field ops.get")]


def test_values_flow_around_a_ring() -> None:
    flows = [("V:a", "V:b"), ("V:b", "V:c"), ("V:c", "V:a"), ("V:b", "f:one"), ("V:c", "f:two")]
    by = made("b", "one", "two", flows=flows)
    for node in ("V:a", "V:b", "V:c"):
        assert [name for name, _ in reached(asking(node), by)] == ["one", "two"]


def test_static_names_of_two_objects_are_apart() -> None:
    a = made("a", "one@a.o", flows=[("V:at@a.o", "f:one@a.o")])
    b = made("b", "one@b.o", flows=[("V:at@b.o", "f:one@b.o")])
    assert reached(asking("V:at@b.o"), a, b) == [("one@b.o", "variable at")]


def test_an_alias_is_its_function_however_it_is_reached() -> None:
    by = made(
        "b", "real@b.o", aliases=[("other", "real@b.o"), ("third", "other")],
        values=[(FIELD, "third", "table")],
    )  # fmt: skip
    assert reached(asking(FIELD), by) == [("real@b.o", "field ops.get of table")]
    assert reached(made("a", "f", calls={"f": [direct("other")]}), by) == [("real@b.o", "direct")]


def test_aliases_in_a_ring_end() -> None:
    by = made("b", aliases=[("a", "b"), ("b", "a")])
    assert len(reached(made("a", "f", calls={"f": [direct("a")]}), by)) == 1


@pytest.mark.parametrize("strong_first", [False, True])
def test_a_strong_function_replaces_a_weak_one(*, strong_first: bool) -> None:
    weak = made("a", "w", weak=["w"], calls={"w": [direct("weakly")]}, frame=100)
    strong = made("b", "w", calls={"w": [direct("strongly")]}, frame=200)
    units = (strong, weak) if strong_first else (weak, strong)
    program = Program(units)
    assert (program.functions["w"].object, program.functions["w"].frame) == ("b.o", 200)
    assert reached(*units, caller="w") == [("strongly", "direct")]


def test_an_alias_replaces_a_weak_function_of_another_object() -> None:
    weak = made("a", "w", weak=["w"])
    strong = made("b", "real", aliases=[("w", "real")])
    assert Program([weak, strong]).canonical("w") == "real"
    assert "w" not in Program([weak, strong]).functions


def test_functions_of_another_type_are_left_out() -> None:
    by = made(
        "b", "one", "wide", types={"wide": LONG},
        values=[(FIELD, "one", "table"), (FIELD, "wide", "table")],
    )  # fmt: skip
    program = Program([asking(FIELD), by])
    site = program.site(Site("ask.o", THERE))
    assert [name for name, _ in site.targets] == ["one"]
    assert (site.dropped, site.type, site.nodes, site.unknown) == (1, INT, (FIELD,), False)


def test_functions_of_another_type_stay_where_there_are_no_others() -> None:
    by = made("b", "wide", types={"wide": LONG}, values=[(FIELD, "wide", "table")])
    site = Program([asking(FIELD), by]).site(Site("ask.o", THERE))
    assert (site.targets, site.dropped) == ((("wide", "field ops.get of table"),), 0)


def test_functions_without_source_have_any_type() -> None:
    by = made("b", "one", values=[(FIELD, "one", "table"), (FIELD, "in_assembly", "table")])
    assert [name for name, _ in reached(asking(FIELD), by)] == ["in_assembly", "one"]


def test_assembly_calls_through_a_pointer_of_any_type() -> None:
    flows = [("V:at", "f:one"), ("V:at", "f:wide"), ("V:at", "f:without_source")]
    by = made("b", "one", "wide", types={"wide": LONG}, flows=flows)
    found = [name for name, _ in reached(asking("V:at", type_="asm"), by)]
    assert found == ["one", "wide", "without_source"]


def test_by_type_alone_means_those_whose_address_is_taken() -> None:
    by = made(
        "b", "one", "wide", "never", types={"wide": LONG},
        values=[("R:x.y", "one", "table"), ("R:x.z", "wide", "table")],
    )  # fmt: skip
    assert reached(asking(f"T:{INT}"), by) == [("one", "by type alone: s32(s32)")]


def test_what_is_known_by_type_alone_flows_on() -> None:
    by = made("b", "one", values=[("R:x.y", "one", "table")], flows=[(FIELD, f"T:{INT}")])
    assert reached(asking(FIELD), by) == [("one", "field ops.get")]


def test_a_call_without_a_source_is_unknown() -> None:
    program = Program([made("a", "f", calls={"f": [INDIRECT]})])
    ((function, call, site),) = program.sites()
    assert (function.id, call, site.targets, site.unknown) == ("f", INDIRECT, (), True)
    ((_, _, site),) = Program([asking("?")]).sites()
    assert (site.targets, site.unknown) == ((), True)


def test_one_node_of_several_may_be_unknown() -> None:
    program = Program([asking("?", "V:at"), made("b", "one", flows=[("V:at", "f:one")])])
    site = program.site(Site("ask.o", THERE))
    assert (site.targets, site.unknown) == ((("one", "variable at"),), True)


def test_arguments_pass_through_indirect_calls() -> None:
    # f() calls through FIELD with two as its second argument; run() calls what it was given
    ask = asking(FIELD)
    ask.flows = [(f"S:{THERE}#1", "f:two")]
    run = made(
        "run", "run", calls={"run": [INDIRECT]}, values=[(FIELD, "run", "table")],
        sources=[IndirectSource(THERE, INT, "P:run#1")],
    )  # fmt: skip
    assert reached(ask, run, made("b", "two"), caller="run") == [("two", "parameter run#1")]


def test_arguments_pass_through_indirect_calls_that_they_open() -> None:
    # each call hands on to the next the function that it will call
    units = [made("end", "last"), made("top", flows=[("V:at0", "f:go0")])]
    for n in range(5):
        one = made(
            f"u{n}", f"go{n}", f"by{n}", calls={f"by{n}": [INDIRECT]},
            sources=[IndirectSource(THERE, INT, f"V:at{n}")],
            flows=[(f"S:{THERE}#0", f"f:go{n + 1}" if n < 4 else "f:last"),
                   (f"V:at{n + 1}", f"P:go{n}#0")],
        )  # fmt: skip
        units.append(one)
    assert Program(units).held("V:at5") == {"last"}


def test_arguments_of_two_objects_at_one_place_are_apart() -> None:
    def unit(name: str, given: str) -> Unit:
        return made(
            name, f"f_{name}", calls={f"f_{name}": [INDIRECT]},
            sources=[IndirectSource(THERE, INT, f"V:at_{name}")],
            flows=[(f"V:at_{name}", f"f:run_{name}"), (f"S:{THERE}#0", f"f:{given}")],
        )  # fmt: skip

    program = Program(
        [unit("a", "one"), unit("b", "two"), made("c", "run_a", "run_b", "one", "two")]
    )
    assert program.held("P:run_a#0") == {"one"}
    assert program.held("P:run_b#0") == {"two"}


def test_a_static_call_goes_where_its_key_points() -> None:
    ask = made("a", "f", calls={"f": [direct("__SCT__way")]})
    by = made(
        "b", "one", "two", values=[("V:__SCK__way", "one", "__SCK__way")],
        flows=[("V:__SCK__way", "f:two")],
    )  # fmt: skip
    assert reached(ask, by) == [("one", "static call way"), ("two", "static call way")]
    assert Program([ask, by]).edges("f")[0].node == "V:__SCK__way"


def test_an_edge_tells_the_node_it_went_through() -> None:
    by = made("b", "one", values=[(FIELD, "one", "table")])
    (edge,) = Program([asking(FIELD), by]).edges("f")
    assert (edge.node, edge.place) == (FIELD, THERE)


def test_edges_are_sorted_and_each_is_there_once() -> None:
    calls = [direct("z"), direct("a"), direct("z"), CallSite("d", "m", "", "")]
    found = Program([made("a", "f", calls={"f": calls})]).edges("f")
    assert [edge.callee for edge in found] == ["a", "m", "z"]
    assert (found[1].file, found[1].line) == ("", 0)


def test_the_order_of_units_changes_nothing() -> None:
    units = [
        asking(FIELD), made("b", "one", values=[(FIELD, "one", "t1")]),
        made("c", "two", values=[(FIELD, "two", "t2")], flows=[("V:x", FIELD)]),
        made("d", "x", calls={"x": [INDIRECT]}, sources=[IndirectSource(THERE, INT, "V:x")]),
    ]  # fmt: skip
    said = {
        caller: {
            tuple(reached(*units[turn:], *units[:turn], caller=caller))
            for turn in range(len(units))
        }
        for caller in ("f", "x")
    }
    assert {len(one) for one in said.values()} == {1}
    assert [name for name, _ in next(iter(said["x"]))] == ["one", "two"]


@pytest.mark.xfail(strict=True, reason="an edge through several nodes tells the first of them")
def test_an_edge_tells_the_node_that_holds_its_function() -> None:
    by = made("b", "one", values=[("R:z.go", "one", "table")], flows=[("R:a.go", "f:two")])
    found = Program([asking("R:a.go", "R:z.go"), by, made("c", "two")]).edges("f")
    assert {edge.callee: edge.node for edge in found} == {"one": "R:z.go", "two": "R:a.go"}
