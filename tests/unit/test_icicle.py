"""The chain as a drawing: sizes true to the bytes, readable, and XML whatever the names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.contract import Chain, Depth
from bot.review.icicle import DARK, LIGHT, MOST, PITCH, icicle
from tests.unit.test_chaintable import (
    CHAINS,
    GROWN,
    GUARD,
    SHORT,
    WRITEPAGE,
    chain,
    depth,
    hop,
    path,
)

SVG = "{http://www.w3.org/2000/svg}"
GOLDEN = """\
one: 100 bytes, 100 so far
direct, mm/vmscan.c:7
pageout: 480 bytes (88 before), and a part of unknown size, 580 so far
direct, through inlined shrink_list, shrink_page_list, mm/vmscan.c:7
new: 8 bytes (not on the path before), 588 so far
field address_space_operations.writepage of ext4_aops, mm/vmscan.c:7"""


def drawn(found: Chain) -> ElementTree.Element:
    return ElementTree.fromstring(icicle(found))  # noqa: S314 - our own text


def of_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [one for one in root.iter() if name in one.get("class", "").split()]


def frames(root: ElementTree.Element) -> Iterator[tuple[float, float, float]]:
    """Yield (x, y, height) of each frame."""
    for one in root.iter(f"{SVG}g"):
        rect = one.find(f"{SVG}rect")
        assert rect is not None
        yield float(rect.get("x", "")), float(rect.get("y", "")), float(rect.get("height", ""))


def written(root: ElementTree.Element) -> str:
    return "\n".join("".join(one.itertext()) for one in root.iter(f"{SVG}text"))


@given(CHAINS)
def test_it_is_well_formed_and_harmless_whatever_the_names(found: Chain) -> None:
    text = icicle(found)
    root = ElementTree.fromstring(text.encode())  # noqa: S314 - our own text
    assert text == icicle(found)
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= {
        "svg", "title", "desc", "style", "rect", "text", "tspan", "g", "path",
    }  # fmt: skip
    for one in root.iter():
        assert not any(name.startswith("on") or "href" in name for name in one.keys())  # noqa: SIM118 - not a dict
    style = root.findtext(f"{SVG}style") or ""
    assert "url(" not in style
    assert "@import" not in style
    assert root.get("role") == "img"
    title, desc = root[0], root[1]
    assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    assert title.text
    assert desc.text
    assert "nan" not in re.sub(r"<t.*", "", text)


@given(CHAINS)
def test_heights_are_true_to_the_bytes_and_add_up(found: Chain) -> None:
    sides = [one for one in (found.before, found.after) if one]
    if found.before == found.after or (found.before is None and not found.patch):
        sides = sides[-1:]
    root = drawn(found)
    columns: dict[float, list[tuple[float, float]]] = {}
    for x, y, height in frames(root):
        columns.setdefault(x, []).append((y, height))
    drawn_sides = [side for side in sides if side.witness_bytes]
    assert len(columns) == len(drawn_sides)
    for (_, rects), side in zip(sorted(columns.items()), drawn_sides, strict=True):
        rects.sort()
        whole = rects[-1][0] + rects[-1][1] - rects[0][0]
        assert whole <= MOST + 1
        assert len(rects) == sum(1 for one in side.hops if one.frame)
        heights = sorted(height for _, height in rects)
        wanted = sorted(one.frame * whole / side.witness_bytes for one in side.hops if one.frame)
        assert heights == pytest.approx(wanted, abs=0.11)


@given(CHAINS)
def test_no_name_stands_over_another_or_outside(found: Chain) -> None:
    root = drawn(found)
    _, _, width, height = (float(one) for one in root.get("viewBox", "").split())
    sides: dict[tuple[str, str], list[float]] = {}
    for one in root.iter(f"{SVG}text"):
        x, y = float(one.get("x", "")), float(one.get("y", ""))
        assert 0 <= x <= width
        assert 0 <= y <= height
        if one.find(f"{SVG}tspan") is not None:
            sides.setdefault((one.get("class", ""), "names"), []).append(y)
    for places in sides.values():
        for above, below in pairwise(places):
            assert below - above >= PITCH - 0.11
    for one in root.iter(f"{SVG}text"):  # 448 pixels beside a stack
        if one.find(f"{SVG}tspan") is not None:
            assert len("".join(one.itertext())) <= 448 / 6.65


def test_before_and_after_stand_side_by_side_with_what_changed_marked() -> None:
    root = drawn(chain(depth(SHORT), depth(GROWN, 900), budget=1000))
    assert len(of_class(root, "changed")) == 3  # both sides, and the legend
    assert len(of_class(root, "band")) == 1
    text = written(root)
    assert "Deepest stack: 316 → 708 of 1,000 bytes (+392)." in text
    assert "pageout+392, was 88" in text
    assert "end of the stack: 1,000 bytes" in text
    assert "no path is deeper than 1,608, beyond this picture" in text
    assert "684 free" in text
    assert "before\n316 bytes\nafter\n708 bytes" not in text  # each over its own stack
    assert len({one.get("x") for one in of_class(root, "side")}) == 2
    assert "pageout had 88 bytes, now 480." in (root.findtext(f"{SVG}desc") or "")


def test_a_frame_tells_all_that_is_known_of_it() -> None:
    before = depth([hop("one", 100), hop("pageout", 88)])
    after = depth([
        hop("one", 100),
        hop("pageout", 480, inlined=("shrink_list", "shrink_page_list"), dynamic=True),
        hop("new", 8, WRITEPAGE),
    ])  # fmt: skip
    root = drawn(chain(before, after))
    told = [one.findtext(f"{SVG}title") or "" for one in root.iter(f"{SVG}g")]
    assert "\n".join(told[-3:]) == GOLDEN
    assert "pageout: 88 bytes (480 after), 188 so far" in told[1]


def test_one_stack_is_enough_where_both_are_the_same_or_nobody_compared() -> None:
    same, alone = depth(path(88)), depth(path(88), 400)
    assert [one.text for one in of_class(drawn(chain(same, same)), "side")] == ["before and after"]
    root = drawn(chain(None, alone, patch=0))
    assert len(of_class(root, "well")) == 1
    assert "before" not in written(root)
    assert len(of_class(root, "upper")) == 1
    assert "no path is deeper than" in written(root)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (None, depth(SHORT), "it could not be reached before."),
        (depth(SHORT), None, "The path cannot be taken; it was 316 of 16,384 bytes deep."),
    ],
)
def test_a_path_that_opens_or_closes_leaves_one_stack_empty(
    before: Depth | None, after: Depth | None, said: str
) -> None:
    root = drawn(chain(before, after))
    assert len(of_class(root, "well")) == 2
    assert said in written(root)
    assert "cannot be reached" in written(root)


def test_a_held_path_is_dashed_and_says_by_what() -> None:
    root = drawn(chain(depth(SHORT, held=(GUARD,)), depth(SHORT)))
    assert len([one for one in of_class(root, "well") if "held" in one.get("class", "")]) == 2
    assert "316 bytes, held" in written(root)
    assert (
        "held by a condition before: shrink_folio_list() calls pageout() only if "
        "!folio_is_file_lru() or current_is_kswapd()"
    ) in written(root)


def test_a_stack_that_is_too_deep_runs_over_its_end() -> None:
    root = drawn(chain(depth(SHORT), depth(GROWN), budget=400))
    (over,) = of_class(root, "over")
    (line,) = of_class(root, "budget")
    assert f" {over.get('y')}H" in line.get("d", "")
    assert "708 bytes, 308 too many" in written(root)


def test_a_chain_of_very_many_frames_keeps_its_scale_and_what_matters() -> None:
    many = [hop(f"f{n}", 8) for n in range(900)]
    root = drawn(chain(depth([*many, hop("pageout", 88)]), depth([*many, hop("pageout", 480)])))
    height = float(root.get("height", ""))
    assert height < MOST + 300
    assert all(float(one.get("y", "")) < height for one in root.iter(f"{SVG}text"))
    assert "pageout+392, was 88" in written(root)
    assert len([*frames(root)]) == 2 * 901


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def mixed(one: str, other: str) -> str:
    pairs = [(int(one[n : n + 2], 16), int(other[n : n + 2], 16)) for n in (1, 3, 5)]
    return "#" + "".join(f"{(a + b) // 2:02x}" for a, b in pairs)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_is_that_of_wcag_aa(colours: Mapping[str, str]) -> None:
    band = mixed(colours["changed"], colours["page"])
    for text, ground in [
        ("ink", "page"), ("soft", "page"), ("soft", "well"), ("edge", "page"), ("budget", "page"),
    ]:  # fmt: skip
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["soft"], band) >= 4.5  # the axis over it
    for line, ground in [
        ("cut", "page"), ("cut", "even"), ("edge", "page"), ("edge", "changed"), ("soft", "well"),
        ("budget", "well"), ("ink", "odd"),
    ]:  # fmt: skip
        assert contrast(colours[line], colours[ground]) >= 3, (line, ground)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_a_hostile_name_stays_text(name: str) -> None:
    evil = f"{name}]]>\"'/></title><script>alert(1)</script>&x;"
    found = chain(None, depth([hop(evil, 4000, evil, inlined=(evil,))], held=(evil,)))
    found = found.model_copy(update={"name": evil, "profile": evil, "waypoints": (evil, evil)})
    assert not [one for one in drawn(found).iter() if "script" in one.tag]
