"""The chain as text: what is said, what is folded, and what hostile names cannot do to it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.contract import Chain, Depth, Hop
from bot.review.chaintable import (
    COLUMNS,
    WIDTH,
    changes,
    headline,
    pairs,
    reached,
    table,
    waypoints,
)

WRITEPAGE = "field address_space_operations.writepage of ext4_aops"
HOW = [
    "direct", "start", "tail call", "static call way", "by type alone: s32(void*)", WRITEPAGE,
    "tail call, field blk_mq_ops.queue_rq of virtio_mq_ops", "<b>&amp;\u202e\x1b[31m",
]  # fmt: skip
WAYPOINTS = ("system call", "select", "direct reclaim", "pageout", "->writepage", "submit_bio")


def hop(
    name: str, frame: int, how: str = "direct", *, inlined: tuple[str, ...] = (),
    dynamic: bool = False,
) -> Hop:  # fmt: skip
    return Hop(
        function=name, file="mm/vmscan.c", line=7, frame=frame, depth=0, how=how,
        inlined=inlined, dynamic=dynamic,
    )  # fmt: skip


def depth(
    hops: Sequence[Hop], more: int = 0, *, cycles: tuple[str, ...] = (),
    held: tuple[str, ...] = (),
) -> Depth:  # fmt: skip
    summed, sum_ = [], 0
    for one in hops:
        sum_ += one.frame
        summed.append(one.model_copy(update={"depth": sum_}))
    return Depth(
        witness_bytes=sum_, upper_bytes=sum_ + more, hops=tuple(summed), cycles=cycles, held=held
    )


def chain(before: Depth | None, after: Depth | None, budget: int = 16384, patch: int = 1) -> Chain:
    return Chain(
        profile="direct-reclaim-writepage", name="ext4", waypoints=WAYPOINTS, before=before,
        after=after, budget_bytes=budget, patch=patch,
    )  # fmt: skip


def path(pageout: int, *, last: Sequence[Hop] = (), wide: int = 56) -> list[Hop]:
    """Return a path like those of a real kernel, 42 frames long and more."""
    return [
        hop("(entry)", 168, "registers of user space"),
        hop("do_syscall_64", 16, "start"),
        hop("__x64_sys_pselect6", 120, "tail call"),
        hop("core_sys_select", 416, inlined=("__se_sys_pselect6", "do_pselect")),
        *(hop(f"alloc_step_{n}", wide + n % 3 * 8) for n in range(14)),
        hop("__alloc_pages_slowpath.constprop.0", 176),
        hop("try_to_free_pages", 144, inlined=("__perform_reclaim",)),
        hop("shrink_lruvec", 320),
        hop("shrink_folio_list", 168, inlined=("shrink_list", "shrink_inactive_list")),
        hop("pageout", pageout),
        hop("ext4_writepage", 128, WRITEPAGE),
        *(hop(f"ext4_step_{n}", 96 + n % 5 * 16) for n in range(12)),
        hop("submit_bio", 0, "tail call"),
        hop("virtio_queue_rq", 72, "field blk_mq_ops.queue_rq of virtio_mq_ops"),
        *last,
        hop("(interrupt)", 176, "then its own stack"),
    ]


SHORT = [hop("a", 100), hop("pageout", 88), hop("ext4_writepage", 128, WRITEPAGE)]
GROWN = [hop("a", 100), hop("pageout", 480), hop("ext4_writepage", 128, WRITEPAGE)]
DEEPEST, PATH = (f"the {what} from a() to ext4_writepage()" for what in ("deepest stack", "path"))
GUARD = "shrink_folio_list() calls pageout() only if !folio_is_file_lru()|current_is_kswapd()"

NAMES = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["pageout", "submit_bio", "(entry)", "f.isra.0", "f", "f.part.0", "_x" * 15, "y" * 90]
)
HOPS = st.lists(
    st.builds(
        hop, NAMES, st.integers(0, 3000) | st.just(10**9), st.sampled_from(HOW),
        inlined=st.sampled_from([(), ("a", "b"), ("\x1b" * 80,)]), dynamic=st.booleans(),
    ),
    min_size=1,
    max_size=50,
)  # fmt: skip
DEPTHS = st.builds(
    depth, HOPS, st.integers(0, 900) | st.integers(0, 10**6),
    held=st.sampled_from([(), ("f() calls g() only if !a()|b()&c()",), ("\x1b" * 300,)]),
    cycles=st.sampled_from([(), ("recursion among 3 functions, charged in full: a, b, c",)]),
)  # fmt: skip
CHAINS = st.builds(
    chain, st.none() | DEPTHS, st.none() | DEPTHS, st.integers(0, 20_000), st.integers(0, 1)
)
ROW = re.compile(r" *(\d[\d,]*) +(\d[\d,]*)[+ ] ( {2}\.\.\. \d+ more frames?$)?")


def rows(lines: Sequence[str], notes: int) -> list[tuple[int, int]]:
    """Return (depth, bytes) of the table's rows."""
    found = []
    for line in lines[2 : len(lines) - notes]:
        match = ROW.match(line)
        assert match, line
        found.append((int(match[1].replace(",", "")), int(match[2].replace(",", ""))))
    return found


def test_a_short_chain_is_told_hop_by_hop() -> None:
    assert table(chain(depth(SHORT), depth(GROWN, 40))) == (
        "ext4: 708 of 16,384 bytes (316 before), at most 748",
        "  depth  frame  function",
        "    100    100  a",
        "    580    480  pageout                         [+392, was 88]",
        "    708    128  ext4_writepage                  <- ->writepage of ext4_aops",
    )


def test_a_long_chain_is_folded_and_still_says_what_matters() -> None:
    before = depth(path(88, last=[hop("old_driver", 40)]), held=(GUARD,))
    after = depth(path(1112, last=[hop("new_driver", 48, dynamic=True)]), 96)
    assert table(chain(before, after), 22) == (
        "ext4: 5,440 of 16,384 bytes (held by a condition before), at most 5,536",
        "  depth  frame  function",
        "    168    168  (entry)                         <- registers of user space",
        "    184     16  do_syscall_64",
        "    304    120  __x64_sys_pselect6              <- tail call",
        "    720    416  core_sys_select                 <- via do_pselect",
        "  1,608    888    ... 14 more frames",
        "  1,784    176  __alloc_pages_slowpath.constprop.0",
        "  1,928    144  try_to_free_pages               <- via __perform_reclaim",
        "  2,248    320  shrink_lruvec",
        "  2,416    168  shrink_folio_list               <- via shrink_inactive_list",
        "  3,528  1,112  pageout                         [+1,024, was 88]",
        "  3,656    128  ext4_writepage                  <- ->writepage of ext4_aops",
        "  3,752     96  ext4_step_0",
        "  5,032  1,280    ... 10 more frames",
        "  5,144    112  ext4_step_11",
        "  5,144      0  submit_bio                      <- tail call",
        "  5,216     72  virtio_queue_rq                 <- ->queue_rq of virtio_mq..",
        "  5,264     48+ new_driver                      [new]",
        "  5,440    176  (interrupt)                     <- then its own stack",
        "  no longer on it: old_driver 40",
        "  +: part of this frame has no size known at compile time",
    )


def test_what_is_told_besides_the_frames_is_wrapped_and_counted() -> None:
    cycle = "recursion among 9 functions, charged in full: " + ", ".join(f"step_{n}" for n in "abcdef")  # noqa: E501 # fmt: skip
    exact = "recursion among 2 functions, each at most once on the stack: c, d"
    found = chain(None, depth(SHORT, 40, held=(GUARD,), cycles=(exact, cycle)))
    assert table(found)[5:] == (
        "  held: shrink_folio_list() calls pageout() only if !folio_is_file_lru() or",
        "    current_is_kswapd()",
        "  recursion among 9 functions, charged in full: step_a, step_b, step_c,",
        "    step_d, step_e, step_f",
    )
    assert table(found, 6)[2:] == (
        "    188    188    ... 2 more frames",
        "    316    128  ext4_writepage                  <- ->writepage of ext4_aops",
        "  held: shrink_folio_list() calls pageout() only if !folio_is_file_lru() or",
        "    current_is_kswapd() ..",
    )


def test_a_path_that_is_gone_is_shown_as_it_was() -> None:
    lines = table(chain(depth(SHORT), None))
    assert lines[0] == "ext4: 316 of 16,384 bytes before; it cannot be reached now"
    assert lines[2:] == table(chain(None, depth(SHORT)))[2:]
    assert table(chain(None, None)) == ("no path leads through all of its waypoints",)


def test_a_row_gives_up_what_can_be_spared_first() -> None:
    long = "blk_mq_dispatch_requests_from_the_scheduler"
    before = depth([hop("ext4_writepage", 128, WRITEPAGE)])
    after = depth([
        hop("ext4_writepage", 288, WRITEPAGE),
        hop(long, 8),
        hop(long, 8, "field elevator_mq_ops.insert_requests of mq_deadline"),
        hop(f"{long[:28]}.constprop.0", 8, "by type alone: s32(void*)"),
        hop("dd_insert_requests", 112, "field elevator_mq_ops.insert_requests of mq_deadline"),
    ])  # fmt: skip
    assert table(chain(before, after))[2:] == (
        "    288    288  ext4_writepage  [+160, was 128]  <- ->writepage of ext4_aops",
        "    296      8  blk_mq_dispatch_requests_from_the_scheduler  [new]",
        "    304      8  blk_mq_dispatch_requests_fro..  [new]  <- ->insert_requests",
        "    312      8  blk_mq_dispatch_requests_fro..  [new]  <- by type alone: s..",
        "    424    112  dd_insert_requests              [new]  <- ->insert_requests",
    )


def test_columns_hold_whatever_the_sizes() -> None:
    lines = table(chain(None, depth([hop("a", 8), hop("b", 123_456_789, dynamic=True)])))
    assert lines[2:4] == (
        "          8      8  a",
        "123,456,797 123,456,789+ b",
    )


@given(CHAINS, st.integers(-1, 40))
def test_no_table_is_too_long_or_too_wide(found: Chain, limit: int) -> None:
    lines = table(found, limit)
    assert len(lines) <= max(0, limit)
    assert lines or limit < 1
    for line in lines:
        assert len(line) <= WIDTH
        assert line == line.rstrip()
        assert line.isascii()
        assert line.isprintable()
    assert lines == table(found, limit)


@given(CHAINS, st.integers(3, 40))
def test_no_bytes_are_lost(found: Chain, limit: int) -> None:
    side = found.after or found.before
    if side is None:
        return
    lines = table(found, limit)
    assert lines[1] == COLUMNS
    notes = sum(1 for line in lines[2:] if line.startswith(("  no longer", "  held", "  +:", "  recursion", "    ")) and not ROW.match(line))  # noqa: E501 # fmt: skip
    shown = rows(lines, notes)
    assert sum(size for _, size in shown) == side.witness_bytes
    assert shown[-1][0] == side.witness_bytes
    assert [deep for deep, _ in shown] == sorted(deep for deep, _ in shown)
    assert not any("... 1 more frame" in line for line in lines) or limit < 6


@given(CHAINS)
def test_all_frames_are_shown_where_they_fit(found: Chain) -> None:
    side = found.after or found.before
    if side is not None:
        assert not any(re.search(r"\.\.\. \d+ more", line) for line in table(found, 300))


@given(HOPS, HOPS)
def test_each_frame_is_matched_once_and_in_order(hops: list[Hop], others: list[Hop]) -> None:
    found = pairs(hops, others)
    assert len(set(found.values())) == len(found)
    assert not changes(hops, hops)
    assert pairs(hops, hops) == {n: n for n in range(len(hops))}
    for one in {hop.function for hop in hops}:
        whole = [found[n] for n, hop in enumerate(hops) if hop.function == one and n in found]
        exact = [n for n in whole if others[n].function == one]
        assert exact == sorted(exact)


def test_a_clone_is_the_same_function_unless_it_is_there_itself() -> None:
    f, part, isra = hop("f", 8), hop("f.part.0", 16), hop("f.isra.0.cold", 24)
    assert changes([f], [isra]) == {0: 24}
    assert changes([part], [f, part]) == {}
    assert changes([f, f], [f]) == {1: None}
    assert changes([hop("f.x", 8)], [f]) == {0: None}


def test_waypoints_are_found_by_their_names() -> None:
    hops = path(88)
    found = waypoints(chain(None, depth(hops)), hops)
    assert [(hops[n].function, name) for n, name in found.items()] == [
        ("core_sys_select", "select"), ("pageout", "pageout"), ("ext4_writepage", "->writepage"),
        ("submit_bio", "submit_bio"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "inlined", "said"),
    [
        ("direct", (), ""), ("start", (), ""), ("direct", ("a", "b"), "via b"),
        (WRITEPAGE, (), "->writepage of ext4_aops"), ("tail call", (), "tail call"),
        ("tail call, field a.b of c", (), "tail, ->b of c"),
        ("field odd one.b", (), "field odd one.b"),
        ("by type alone: s32(void*)", (), "by type alone: s32(void*)"),
    ],
)  # fmt: skip
def test_how_a_frame_is_reached(how: str, inlined: tuple[str, ...], said: str) -> None:
    assert reached(hop("f", 8, how, inlined=inlined)) == said


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (SHORT, GROWN, f"{DEEPEST} grows by 392 bytes, 316 to 708 of 16,384 bytes."),
        (GROWN, SHORT, f"{DEEPEST} shrinks by 392 bytes, 708 to 316 of 16,384 bytes."),
        (SHORT, SHORT, f"{DEEPEST} stays at 316 of 16,384 bytes."),
        (SHORT[:1], SHORT[:1], "the deepest stack of a() stays at 100 of 16,384 bytes."),
        (None, SHORT, f"{PATH} can be taken now, 316 of 16,384 bytes deep."),
        (SHORT, None, f"{PATH} cannot be taken any more; it was 316 of 16,384 bytes deep."),
        (None, None, "no path leads through all of its waypoints."),
    ],
)  # fmt: skip
def test_the_headline_says_what_became_of_it(
    before: list[Hop] | None, after: list[Hop] | None, said: str
) -> None:
    found = chain(depth(before) if before else None, depth(after) if after else None)
    assert headline(found) == f"direct-reclaim-writepage, ext4: {said}"


def test_the_headline_says_which_condition_held() -> None:
    free, held = depth(SHORT), depth(SHORT, held=(GUARD,))
    assert headline(chain(held, free)).endswith(
        "can be taken now, 316 of 16,384 bytes deep; before, a condition held it: "
        "shrink_folio_list() calls pageout() only if !folio_is_file_lru() or current_is_kswapd()."
    )
    assert "is held by a condition now; it would be 316" in headline(chain(free, held))
    assert headline(chain(held, held)).endswith("316 of 16,384 bytes, and a condition still holds it.")  # noqa: E501 # fmt: skip


@given(CHAINS)
def test_the_headline_is_one_sentence_on_one_line(found: Chain) -> None:
    said = headline(found)
    assert said.isprintable()
    assert said.isascii()
    assert said.startswith("direct-reclaim-writepage, ext4: ")
    assert said.endswith(".")
    assert said == headline(found)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("field address_space_operations.writepage of ext4_aops", "->writepage of ext4_aops"),
        ("field <skbuff.h:887>.destructor", "->destructor"),
        ("tail call, field blk_mq_ops.queue_rq", "tail, ->queue_rq"),
    ],
)
def test_a_field_is_spelled_as_in_c(how: str, said: str) -> None:
    lines = table(chain(None, depth([hop("a", 8), hop("b", 8, how)])))
    assert lines[-1].endswith(f"<- {said}")
