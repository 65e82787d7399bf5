"""A chain of stack frames as an icicle: each frame as tall as it is large.

Two columns, before and after, share one scale; the budget is a line across both. All is computed
here, so that the page needs no script: a frame is a link to its row in the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.contract import Chain, Depth, Hop
from bot.review import chaintable

HEIGHT = 900.0  # of the budget, or of the chain where that is deeper
THIN = 11.0  # below which a frame has no room for its name
COLUMN, GAP, LEFT, TOP = 300.0, 24.0, 64.0, 10.0


@dataclass(frozen=True)
class Bar:
    """A frame in the picture."""

    number: int  # its row in the table, from 1
    function: str
    frame: int  # bytes
    depth: int  # bytes, of this frame and all before it
    x: float
    y: float
    height: float
    kind: str  # "same", "grown", "shrunk" or "new"
    how: str
    is_named: bool


@dataclass(frozen=True)
class Tick:
    """A line of the scale."""

    y: float
    text: str


@dataclass(frozen=True)
class Icicle:
    """A picture of a chain."""

    width: float
    height: float
    before: tuple[Bar, ...]
    after: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    budget: float | None  # y of the line
    column: float


@dataclass(frozen=True)
class Row:
    """A frame in the table."""

    number: int
    depth: int
    frame: int
    was: int | None  # bytes before; the same as `frame` where nothing changed, None: it is new
    function: str
    where: str
    how: str
    is_indirect: bool
    dynamic: bool


def draw(chain: Chain, *, of_budget: bool = True) -> Icicle:
    """Return the picture of a chain: against the budget, or of its own depth alone."""
    budget = chain.budget_bytes if of_budget else 0
    deepest = max([budget, 1, *(one.witness_bytes for one in _sides(chain))])
    scale = HEIGHT / deepest
    before, after = chain.before, chain.after
    right = LEFT + COLUMN + GAP if before else LEFT
    return Icicle(
        width=LEFT + 2 * COLUMN + GAP, height=HEIGHT + TOP + 24, column=COLUMN,
        before=_bars(before.hops, {}, scale, LEFT) if before else (),
        after=_bars(after.hops, _marks(chain), scale, right) if after else (),
        ticks=tuple(_ticks(deepest, scale)),
        budget=round(TOP + budget * scale, 2) if budget else None,
    )  # fmt: skip


def rows(chain: Chain) -> tuple[Row, ...]:
    """Return the frames after the change, or before where there is no other side."""
    shown = chain.after or chain.before
    marks = _marks(chain)
    return tuple(
        Row(
            number, hop.depth, hop.frame, marks.get(number - 1, hop.frame),
            chaintable.clean(hop.function), f"{chaintable.clean(hop.file)}:{hop.line}",
            chaintable.reached(hop), chaintable.is_indirect(hop), hop.dynamic,
        )
        for number, hop in enumerate(shown.hops if shown else (), 1)
    )  # fmt: skip


def _sides(chain: Chain) -> tuple[Depth, ...]:
    return tuple(one for one in (chain.before, chain.after) if one)


def _marks(chain: Chain) -> dict[int, int | None]:
    """Return the frames that changed, by their place, with what they were."""
    if chain.before is None or chain.after is None:
        return {}
    return dict(chaintable.changes(chain.after.hops, chain.before.hops))


def _bars(
    hops: Sequence[Hop], marks: dict[int, int | None], scale: float, x: float
) -> tuple[Bar, ...]:
    found = []
    for place, hop in enumerate(hops):
        top, height = TOP + (hop.depth - hop.frame) * scale, hop.frame * scale
        found.append(
            Bar(
                place + 1, chaintable.clean(hop.function), hop.frame, hop.depth, x, round(top, 2),
                round(height, 2), _kind(marks, place, hop), chaintable.reached(hop),
                height >= THIN,
            )
        )  # fmt: skip
    return tuple(found)


def _kind(marks: dict[int, int | None], place: int, hop: Hop) -> str:
    if place not in marks:
        return "same"
    was = marks[place]
    if was is None:
        return "new"
    return "grown" if hop.frame > was else "shrunk"


def _ticks(deepest: int, scale: float) -> list[Tick]:
    step = 2048 if deepest > 6144 else 512 if deepest > 1536 else 128  # noqa: PLR2004 - a few lines each
    return [Tick(round(TOP + at * scale, 2), f"{at:,}") for at in range(0, deepest + 1, step)]
