from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.contract import Chain, Depth, Hop
from bot.review.chaintable import WIDTH, headline, table
from bot.review.icicle import icicle

HOW = [
    "direct", "tail call", "static call way", "by type alone: s32(void*)",
    "field address_space_operations.writepage of ext4_aops",
    "tail call, field blk_mq_ops.queue_rq of virtio_mq_ops", "<b>&amp;\u202e\x1b[31m",
]  # fmt: skip


def hop(name: str, frame: int, how: str = "direct") -> Hop:
    return Hop(function=name, file="mm/vmscan.c", line=7, frame=frame, depth=0, how=how)


def depth(hops: Sequence[Hop], more: int = 0, **fields: tuple[str, ...]) -> Depth:
    summed, sum_ = [], 0
    for one in hops:
        sum_ += one.frame
        summed.append(one.model_copy(update={"depth": sum_}))
    return Depth(witness_bytes=sum_, upper_bytes=sum_ + more, hops=tuple(summed), **fields)


def chain(before: Depth | None, after: Depth | None, budget: int = 16384) -> Chain:
    return Chain(
        profile="direct-reclaim-writepage", name="ext4", waypoints=("system call", "->writepage"),
        before=before, after=after, budget_bytes=budget,
    )  # fmt: skip


SHORT = [hop("a", 100), hop("pageout", 88), hop("ext4_writepage", 128, HOW[4])]
GROWN = [hop("a", 100), hop("pageout", 480), hop("ext4_writepage", 128, HOW[4])]

HOPS = st.lists(
    st.builds(
        hop,
        st.text(min_size=1, max_size=60) | st.sampled_from(["pageout", "submit_bio"]),
        st.integers(0, 3000),
        st.sampled_from(HOW),
    ),
    min_size=1,
    max_size=90,
)
DEPTHS = st.builds(
    depth, HOPS, st.integers(0, 900),
    held=st.sampled_from([(), ("f() calls g() only if !a()|b()&c()",)]),
    cycles=st.sampled_from([(), ("recursion among 3 functions, charged in full: a, b, c",)]),
)  # fmt: skip
CHAINS = st.builds(chain, st.none() | DEPTHS, st.none() | DEPTHS)


def test_a_short_chain_is_told_hop_by_hop() -> None:
    assert table(chain(depth(SHORT), depth(GROWN, 40))) == (
        "ext4: 708 of 16,384 bytes (316 before), at most 748",
        "  depth  frame  function",
        "    100    100  a",
        "    580    480  pageout                         [+392, was 88]",
        "    708    128  ext4_writepage                  <- ->writepage of ext4_aops",
    )


def test_what_is_folded_keeps_its_bytes_and_changes_stay() -> None:
    long = [hop(f"f{n}", 10 + n) for n in range(60)]
    lines = table(chain(depth([*long, hop("last", 8)]), depth([*long, hop("x", 9)])), 12)
    assert len(lines) <= 12
    assert any("more frames" in line for line in lines)
    assert lines[-1].split()[:4] == [f"{sum(h.frame for h in long) + 9:,}", "9", "x", "[new]"]


@given(CHAINS, st.integers(3, 40))
def test_no_table_is_too_long_or_too_wide(found: Chain, limit: int) -> None:
    lines = table(found, limit)
    assert 1 <= len(lines) <= limit
    for line in lines:
        assert len(line) <= WIDTH
        assert line.isprintable()


@given(CHAINS, st.integers(8, 40))
def test_no_bytes_are_lost(found: Chain, limit: int) -> None:
    side = found.after or found.before
    if side is None:
        return
    rows = [line.split() for line in table(found, limit)[2:] if line[:7].strip()[:1].isdigit()]
    sizes = [int(row[1].replace(",", "")) for row in rows]
    assert sum(sizes) == side.witness_bytes
    assert int(rows[-1][0].replace(",", "")) == side.witness_bytes


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (depth(SHORT), depth(GROWN), "grows by 392 bytes, 316 to 708 of 16,384"),
        (depth(GROWN), depth(SHORT), "shrinks by 392 bytes, 708 to 316 of"),
        (depth(SHORT), depth(SHORT), "stays at 316 of 16,384"),
        (None, depth(SHORT), "can be taken now, 316 of"),
        (depth(SHORT), None, "cannot be taken any more"),
        (depth(SHORT, held=("x",)), depth(SHORT), "before, a condition held it"),
        (depth(SHORT), depth(SHORT, held=("x",)), "held by a condition now"),
    ],
)
def test_the_headline_says_what_became_of_it(
    before: Depth | None, after: Depth | None, words: str
) -> None:
    assert words in headline(chain(before, after))


@given(CHAINS)
def test_the_drawing_is_well_formed_whatever_the_names(found: Chain) -> None:
    text = icicle(found)
    root = ElementTree.fromstring(text.encode())  # noqa: S314 - our own text
    assert root.tag.endswith("svg")
    assert text == icicle(found)
    tags = {one.tag.rpartition("}")[2] for one in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "rect", "text", "g", "line"}


def test_the_drawing_has_both_sides_and_marks_what_changed() -> None:
    text = icicle(chain(depth(SHORT), depth(GROWN, 900), budget=600))
    assert text.count('class="changed"') == 2
    assert "end of the stack: 600 bytes" in text
    assert "at most 1,608" in text
    assert "before: 316 bytes" in text
    assert "after: 708 bytes" in text
