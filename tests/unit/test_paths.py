"""The deepest path against brute force, on graphs small enough for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from workers.stack import paths
from workers.stack.paths import Deepest, Step

Graph = Sequence[Sequence[Step]]
NODES = 8


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Return a graph in which each node has one frame, and some calls are tail calls."""
    frames = draw(st.lists(st.integers(0, 50), min_size=NODES, max_size=NODES))
    calls = draw(st.sets(st.tuples(st.integers(0, NODES - 1), st.integers(0, NODES - 1))))
    tails = draw(st.sets(st.sampled_from(sorted(calls)))) if calls else set()
    found: list[list[Step]] = [[] for _ in range(NODES)]
    for caller, callee in sorted(calls):
        bytes_ = 0 if (caller, callee) in tails else frames[caller]
        found[caller].append(Step(callee, bytes_, len(found[caller])))
    return found


ENDS = st.dictionaries(st.integers(0, NODES - 1), st.integers(0, 60), max_size=NODES)


def brute(graph: Graph, ends: Mapping[int, int], at: int, seen: frozenset[int]) -> int:
    best = ends.get(at, -1)
    for step in graph[at]:
        if step.to not in seen:
            below = brute(graph, ends, step.to, seen | {step.to})
            if below >= 0:
                best = max(best, step.bytes + below)
    return best


def search(graph: Graph, ends: Mapping[int, int], budget: int = paths.BUDGET) -> Deepest | None:
    return paths.deepest([0], graph.__getitem__, ends, budget)


@given(graphs(), ENDS)
def test_with_its_budget_the_answer_is_the_longest_simple_path(
    graph: Graph, ends: Mapping[int, int]
) -> None:
    longest = brute(graph, ends, 0, frozenset({0}))
    found = search(graph, ends)
    if found is None:
        assert longest == -1
    else:
        assert found.witness == found.upper == longest


@given(graphs(), ENDS, st.integers(0, 12))
def test_without_budget_the_bounds_hold(graph: Graph, ends: Mapping[int, int], budget: int) -> None:
    longest = brute(graph, ends, 0, frozenset({0}))
    found = search(graph, ends, budget)
    assert (found is None) == (longest == -1)
    if found is not None:
        assert found.witness <= longest <= found.upper


@given(graphs(), ENDS, st.sampled_from([0, 5, paths.BUDGET]))
def test_the_witness_is_a_simple_path_that_adds_up(
    graph: Graph, ends: Mapping[int, int], budget: int
) -> None:
    found = search(graph, ends, budget)
    if found is None:
        return
    at, seen, bytes_ = 0, {0}, 0
    for step in found.steps:
        assert step in graph[at]
        assert step.to not in seen
        at, bytes_ = step.to, bytes_ + step.bytes
        seen.add(at)
    assert found.witness == bytes_ + ends[at]


@given(graphs(), ENDS, st.sampled_from([3, 20, paths.BUDGET]))
def test_one_question_has_one_answer(graph: Graph, ends: Mapping[int, int], budget: int) -> None:
    backwards = dict(sorted(ends.items(), reverse=True))
    assert search(graph, ends, budget) == search(graph, backwards, budget)


@given(graphs(), ENDS, st.lists(st.integers(0, NODES - 1), min_size=1, max_size=4))
def test_the_best_of_several_starts_is_found(
    graph: Graph, ends: Mapping[int, int], starts: list[int]
) -> None:
    longest = max(brute(graph, ends, start, frozenset({start})) for start in starts)
    found = paths.deepest(starts, graph.__getitem__, ends)
    assert (found.witness if found else -1) == longest
    assert (found.upper if found else -1) == longest


def test_what_is_not_taken_apart_is_charged_with_all_its_frames() -> None:
    # 0 → {1 ⇄ 2 ⇄ 3} → 4, all of which call one another
    inside = {1: 10, 2: 20, 3: 40}
    graph = [
        [Step(1, 5, 0)],
        *(
            [Step(to, bytes_, n) for n, to in enumerate(o for o in (*inside, 4) if o != at)]
            for at, bytes_ in inside.items()
        ),
        [],
    ]
    whole, cut = search(graph, {4: 8}), search(graph, {4: 8}, 1)
    assert whole is not None
    assert cut is not None
    assert (whole.witness, whole.upper) == (83, 83)
    assert cut.witness < 83 <= cut.upper
    assert ([one.exact for one in whole.cycles], [one.exact for one in cut.cycles]) == (
        [True], [False],
    )  # fmt: skip


@given(graphs())
def test_components_are_those_that_reach_one_another(graph: Graph) -> None:
    def reach(start: int) -> set[int]:
        seen, todo = {start}, [start]
        while todo:
            for step in graph[todo.pop()]:
                if step.to not in seen:
                    seen.add(step.to)
                    todo.append(step.to)
        return seen

    found = paths.components([0], graph.__getitem__)
    below = {node: reach(node) for node in reach(0)}
    wanted = {frozenset(n for n in below if n in below[m] and m in below[n]) for m in below}
    assert {frozenset(one) for one in found} == wanted
    place = {node: n for n, one in enumerate(found) for node in one}
    for node in below:  # callees first
        assert all(place[step.to] <= place[node] for step in graph[node])


def test_recursion_is_reported_even_where_it_costs_nothing() -> None:
    graph = [[Step(1, 10, 0)], [Step(1, 5, 0), Step(2, 5, 1)], [Step(1, 7, 0)]]
    found = search(graph, {2: 7})
    assert found is not None
    assert found.witness == 22
    assert [cycle.members for cycle in found.cycles] == [(1, 2)]
    alone = search([[Step(0, 10, 0)]], {0: 10})
    assert alone is not None
    assert [cycle.members for cycle in alone.cycles] == [(0,)]
