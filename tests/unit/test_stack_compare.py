"""What is new, what merely moved, and whose patch it was."""

from __future__ import annotations

from itertools import permutations

import pytest

from bot.contract import StackResult
from tests.unit.test_stack import EDGE, ci, node
from workers.stack.compare import compare, read
from workers.stack.facts import ObjectFacts


def of(**functions: str) -> ObjectFacts:
    """Return an object: each function with what it calls, "f='g h'"."""
    lines = [node(name, 48, line=10 * n) for n, name in enumerate(functions, 1)]
    for n, (name, callees) in enumerate(functions.items(), 1):
        lines += [EDGE.format(name, callee, 10 * n + 1) for callee in callees.split()]
    return read({"mm/a.ci": ci(*lines)})["mm/a.o"]


def calls(before: ObjectFacts, *after: ObjectFacts) -> list[tuple[str, str, bool]]:
    result = compare({"mm/a.o": before}, [(n, {"mm/a.o": one}) for n, one in enumerate(after, 1)])
    return [(call.caller, call.callee, call.added) for call in result.calls]


def sizes(*bytes_: int | None) -> StackResult:
    """Compare the frame of one function over time; None: it is not there."""
    first, *rest = [
        read({"mm/a.ci": ci(node("f", size)) if size is not None else ci()}) for size in bytes_
    ]
    return compare(first, list(enumerate(rest, 1)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (of(f="g", g="x y"), of(f="x y")),  # inlined into its only caller
        (of(f="g", g="h x", h="y"), of(f="x y")),  # with what it had
        (of(f="g h", g="x", h="x"), of(f="x h", h="x")),  # one of two
        (of(f="s", g="s", s="x y"), of(f="x y", g="s", s="x y")),  # into one of two callers
        (of(f="x y", g="x y"), of(f="s", g="s", s="x y")),  # split off, shared
        (of(f="x y", g="y"), of(f="s", g="s", s="x y")),  # where g had a constant argument
        (of(f="x", cb="y"), of(f="x", cb2="y")),  # an entry that was renamed
    ],
)
def test_inlining_either_way_is_no_new_call(before: ObjectFacts, after: ObjectFacts) -> None:
    assert [call for call in calls(before, after) if call[2]] == []
    assert calls(after, before) == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (of(f="x"), of(f="x y"), ("f", "y")),
        (of(f="g x", g="y"), of(f="g x y", g="y"), ("f", "y")),  # not instead of g
        (of(f="g", g="x"), of(f="x y"), ("f", "y")),  # besides what was inlined
        (of(f="x", g="x"), of(f="x g", g="x"), ("f", "g")),  # nothing moved out of f
        (of(f="x", g="x y"), of(f="g", g="x y"), ("f", "g")),  # g does more than f did
        (of(f="x"), of(f="x s", s="y"), ("s", "y")),  # a new function brings it
        (of(f="x y", g="x"), of(f="x s", g="x s", s="y"), ("s", "y")),  # new below g
        (of(f="x", g="z"), of(f="s", g="z s", s="x"), ("s", "x")),  # and is called by g, too
        (of(f="x"), of(f="x", cb="x"), ("cb", "x")),  # an entry that nobody here calls
        (of(f="x", g=""), of(f="x", g="y"), ("g", "y")),
        (of(f="g", g="y"), of(f="y", h="y"), ("h", "y")),  # g was no entry, h is not its new name
        (of(f="x"), of(f="x", r1="r2 y", r2="r1"), ("r1", "y")),  # call each other, nobody else
    ],
)
def test_a_real_new_call_is_told(
    before: ObjectFacts, after: ObjectFacts, expected: tuple[str, str]
) -> None:
    assert [call for call in calls(before, after) if call[2]] == [(*expected, True)]
    assert [call for call in calls(after, before) if not call[2]] == [(*expected, False)]


def test_a_call_inlined_at_one_of_two_places_is_no_new_call() -> None:
    frames, kept = (node("f", 48), node("s", 48, line=20)), EDGE.format("f", "s", 11)
    made = EDGE.format("s", "x", 21)
    before = read({"mm/a.ci": ci(*frames, kept, made)})["mm/a.o"]
    copied = read({"mm/a.ci": ci(*frames, kept, made, EDGE.format("f", "x", 21))})["mm/a.o"]
    written = read({"mm/a.ci": ci(*frames, kept, made, EDGE.format("f", "x", 12))})["mm/a.o"]
    assert calls(before, copied) == calls(copied, before) == []
    assert calls(before, written) == [("f", "x", True)]


def test_a_call_that_comes_and_goes_is_not_told() -> None:
    assert calls(of(f="x"), of(f="x y"), of(f="x")) == []


def test_a_call_that_went_is_told_where_it_stood() -> None:
    before, after = of(a="", f="x y"), of(f="x")
    over_time = enumerate((before, after, before, after, after))
    (call,) = compare({"mm/a.o": before}, [(n, {"mm/a.o": one}) for n, one in over_time]).calls
    assert (call.added, call.patch, call.line) == (False, 3, 21)


@pytest.mark.parametrize(
    ("over_time", "patch"),
    [
        ((48, 64, 560, 568), 2),  # the largest step
        ((48, 560, 400, 400), 1),  # not the last change
        ((48, 560, 48, 96, 96), 3),  # what was taken back does not count
        ((48, 8, 600), 2),  # growth after shrinking
        ((560, 300, 48), 1),  # equal rules for shrinking
        ((560, 600, 48), 2),
        ((None, 48, None, 32), 3),
        ((48, 64, None), 2),
        ((48, 56, 64), 1),  # equal steps: the first
    ],
)
def test_a_frame_belongs_to_the_patch_that_moved_it(
    over_time: tuple[int | None, ...], patch: int
) -> None:
    (frame,) = sizes(*over_time).frames
    assert (frame.before, frame.after) == (over_time[0], over_time[-1])
    assert frame.patch == patch


@pytest.mark.parametrize("over_time", [(48, 48), (48, 560, 48), (None, 48, None), (48, None, 48)])
def test_no_net_change_is_no_finding(over_time: tuple[int | None, ...]) -> None:
    assert sizes(*over_time).frames == ()


def test_an_object_that_left_takes_its_functions_with_it() -> None:
    result = compare({"mm/a.o": of(f="x")}, [(1, {}), (2, {})])
    assert [(f.function, f.after, f.patch) for f in result.frames] == [("f", None, 2)]
    assert [(c.callee, c.added) for c in result.calls] == [("x", False)]


def test_no_patch_no_change() -> None:
    assert compare({"mm/a.o": of(f="x")}, []) == compare({}, [])


def test_a_span_ends_before_the_next_function_of_the_same_file() -> None:
    def text(size: int) -> bytes:
        return ci(node("h", 8, line=15, file="include/h.h"), node("f", size), node("g", 8, line=30))

    result = compare(read({"mm/a.ci": text(48)}), [(1, read({"mm/a.ci": text(560)}))])
    (span,) = result.spans
    assert (span.function, span.first, span.last) == ("f", 10, 29)


def test_places_are_told_as_they_are_after_the_patch_named() -> None:
    texts = [ci(node("f", size, line=line)) for size, line in ((48, 10), (560, 11), (560, 90))]
    first, *rest = [read({"mm/a.ci": text}) for text in texts]
    result = compare(first, list(enumerate(rest, 1)))
    assert [(frame.patch, frame.line) for frame in result.frames] == [(1, 11)]
    assert [(span.patch, span.first) for span in result.spans] == [(1, 11)]


def test_calls_that_two_functions_of_equal_name_swap_did_not_move() -> None:
    before = {"mm/a.o": of(init="x"), "mm/b.o": of(init="y")}
    after = {"mm/a.o": of(init="y"), "mm/b.o": of(init="x")}
    assert len(compare(before, [(1, after)]).calls) == 4


def test_the_order_of_objects_and_lines_does_not_matter() -> None:
    parts = [node("f", 48), node("g", 56, line=30), EDGE.format("f", "x", 11)]
    more = [node("f", 560), node("g", 96, line=30), EDGE.format("f", "y", 11)]
    results = {
        compare(
            read({"mm/a.ci": ci(*(parts[n] for n in order))}),
            [(1, read({"mm/a.ci": ci(*(more[n] for n in order))}))],
        ).model_dump_json()
        for order in permutations(range(3))
    }
    assert len(results) == 1
