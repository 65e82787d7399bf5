"""The deepest chain before and after a change as an SVG icicle: the stack grows downwards.

The two stacks stand next to each other, the axis between them, their functions at the
outer sides. A frame is as high as its bytes; a name that finds no room at its frame moves
aside on a line of its own, and the smallest go without one where there are too many. What
colour says is said by shape or word as well.

Standalone: no script, no font, no address that a viewer would fetch. Every text in it may
come from a hostile build and is escaped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bot.contract import Chain, Depth, Hop
from bot.review import chaintable

BAR = 132  # pixels of a stack's width
AXIS = 84  # between the stacks
NAMES, SHORTER = 448, 348  # beside a stack, to the right and to the left
MARGIN = 24
LEADER = 30  # from a frame to its name
SIZES = 44  # column of a frame's bytes
PITCH = 12.5  # from one name to the next
LETTER = 6.65  # of an 11 px monospace letter
LEAST, MOST = 520.0, 2100.0  # pixels that the whole stack takes
ROOMY = 12.0  # pixels of height for each name
BEYOND = 1.25  # how far past everything else an upper bound is still drawn
XMLNS = 'xmlns="http://www.w3.org/2000/svg"'
FEW, MANY = 3000, 24_000  # bytes: finer and coarser axes

LIGHT = {
    "page": "#ffffff", "ink": "#1d2329", "soft": "#57606a", "even": "#dde9f5", "odd": "#b7cfe8",
    "cut": "#5b7693", "well": "#f5f7f9", "changed": "#ffd49b", "edge": "#8a3b00",
    "budget": "#b3261e",
}  # fmt: skip
DARK = {
    "page": "#12171d", "ink": "#e6edf3", "soft": "#9aa6b2", "even": "#21364c", "odd": "#34557a",
    "cut": "#7f9dbd", "well": "#1a2129", "changed": "#6b3f0c", "edge": "#ffb86b",
    "budget": "#ff8a80",
}  # fmt: skip
SHAPES = """\
.hog text{font:11px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.hog .title{font:600 17px system-ui,"Segoe UI","DejaVu Sans",sans-serif}
.hog .side{font:600 13px system-ui,"Segoe UI","DejaVu Sans",sans-serif}
.hog .plain{font:12px system-ui,"Segoe UI","DejaVu Sans",sans-serif}
.hog .end{text-anchor:end}.hog .mid{text-anchor:middle}.hog .bold{font-weight:700}
.hog .frame{stroke-width:.6}.hog .frame.changed{stroke-width:2}
.hog .well{stroke-width:1}.hog .held{stroke-dasharray:2 3}
.hog .turn{stroke-width:2;fill:none}.hog .leader{stroke-width:.6;fill:none}
.hog .tick{stroke-width:.8}.hog .band{fill-opacity:.5;stroke-width:.8;stroke-dasharray:1 2}
.hog .upper{stroke-width:1.6;stroke-dasharray:7 4}.hog .budget{stroke-width:2.4}
.hog .over{fill-opacity:.28;stroke-width:1.6}
"""


def _colours(of: Mapping[str, str]) -> str:
    return (
        ".hog .page{{fill:{page}}}.hog text{{fill:{ink}}}.hog .soft{{fill:{soft}}}"
        ".hog .well{{fill:{well};stroke:{soft}}}"
        ".hog .even{{fill:{even};stroke:{cut}}}.hog .odd{{fill:{odd};stroke:{cut}}}"
        ".hog .changed{{fill:{changed};stroke:{edge}}}.hog .band{{fill:{changed};stroke:{edge}}}"
        ".hog .leader,.hog .tick,.hog .upper{{stroke:{soft}}}.hog .turn{{stroke:{ink}}}"
        ".hog .leader.was{{stroke:{edge}}}.hog text.was,.hog tspan.was{{fill:{edge}}}"
        ".hog .budget,.hog .over{{stroke:{budget}}}.hog .over{{fill:{budget}}}"
        ".hog .red{{fill:{budget}}}\n"
    ).format_map(of)


STYLE = f"{SHAPES}{_colours(LIGHT)}@media (prefers-color-scheme:dark){{\n{_colours(DARK)}}}\n"


@dataclass(frozen=True)
class _Side:
    """One of the stacks: what it holds, and where it stands."""

    label: str
    depth: Depth | None
    marks: Mapping[int, int | None]
    turns: Mapping[int, str]
    x: float
    left: bool  # its names stand to the left


@dataclass(frozen=True)
class _Label:
    """A text beside a stack."""

    y: float  # where it belongs
    rank: float  # the smallest go without a text where there are too many
    size: str
    parts: tuple[tuple[str, str], ...]  # (class, text)
    look: str = ""


@dataclass(frozen=True)
class _Page:
    """Where the bytes are."""

    top: float
    scale: float  # pixels of a byte
    most: int  # bytes that are drawn
    width: float

    def y(self, bytes_: float) -> float:
        return self.top + bytes_ * self.scale

    @property
    def bottom(self) -> float:
        return self.y(self.most)


def icicle(chain: Chain) -> str:
    """Return the drawing of a chain."""
    sides = _sides(chain)
    two = len(sides) == 2  # noqa: PLR2004 - before and after
    width = 2 * MARGIN + AXIS + BAR + NAMES + (BAR + SHORTER if two else 0)
    header = [*_header(chain, width)]
    top = MARGIN + 18.0 * len(header) + 60
    deepest = max([chain.budget_bytes, 1, *(s.depth.witness_bytes for s in sides if s.depth)])
    upper = max((s.depth.upper_bytes for s in sides if s.depth), default=0)
    most = max(deepest, upper) if upper <= deepest * BEYOND else deepest
    page = _Page(top, _height(sides, most) / most, most, width)
    height = page.bottom + 70
    mark = hashlib.sha256(chain.model_dump_json().encode("utf-8", "replace")).hexdigest()[:8]
    size = f'viewBox="0 0 {width} {height:.0f}" width="{width}" height="{height:.0f}"'
    parts = [
        f'<svg {XMLNS} class="hog" role="img" aria-labelledby="t{mark} d{mark}" {size}>',
        f'<title id="t{mark}">{_text(f"Deepest stack of {_name(chain)}")}</title>',
        f'<desc id="d{mark}">{_text(_described(chain))}</desc>',
        f"<style>\n{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height:.0f}"/>',
        *header,
        *(_bands(sides, page) if two else ()),
        *(line for side in sides for line in _stack(chain, side, page)),
        *_axis(page, sides, chain.budget_bytes),
        *(line for side in sides for line in _names(chain, side, page)),
        *_budget(chain, sides, page),
        *_legend(page.bottom + 50, sides),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _name(chain: Chain) -> str:
    return f"{chain.profile}, {chain.name}" if chain.name else chain.profile


def _sides(chain: Chain) -> list[_Side]:
    """Return the stacks to draw: one is enough if both are the same, or nobody compared."""
    before, after = chain.before, chain.after
    first = float(MARGIN + SHORTER)
    if before == after or (before is None and not chain.patch):
        label = "before and after" if before == after else ""
        return [_side(chain, label, after, None, float(MARGIN + AXIS), left=False)]
    return [
        _side(chain, "before", before, after, first, left=True),
        _side(chain, "after", after, before, first + BAR + AXIS, left=False),
    ]


def _side(
    chain: Chain, label: str, depth: Depth | None, other: Depth | None, x: float, *, left: bool
) -> _Side:
    hops = depth.hops if depth else ()
    marks = chaintable.changes(hops, other.hops) if other else {}
    return _Side(label, depth, marks, chaintable.waypoints(chain, hops), x, left)


def _height(sides: Sequence[_Side], most: int) -> float:
    """Return a height at which most names stand at their frames."""
    wanted = LEAST
    for side in sides:
        if side.depth and side.depth.witness_bytes > 0:
            count = sum(1 for hop in side.depth.hops if hop.frame > 0)
            wanted = max(wanted, ROOMY * count * most / side.depth.witness_bytes)
    return min(wanted, MOST)


def _header(chain: Chain, width: float) -> Iterator[str]:
    room = width - 2 * MARGIN
    lines = [("title", _name(chain)), ("plain", _sum(chain))]
    lines += [("soft", line) for line in _wrap(" → ".join(chain.waypoints), room)]
    for label, clauses in _held(chain):
        said = "; ".join(chaintable.spoken(one) for one in clauses)
        lines += [("soft", line) for line in _wrap(f"{label}: {said}", room)]
    for number, (look, line) in enumerate(lines):
        text = _text(_short(line, room))
        yield f'<text class="{look}" x="{MARGIN}" y="{MARGIN + 14 + 18 * number}">{text}</text>'


def _held(chain: Chain) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what holds the chain, and when."""
    before = chain.before.held if chain.before else ()
    after = chain.after.held if chain.after else ()
    if before == after or not (chain.before or chain.patch):
        sides = [("held by a condition", after)]
    else:
        sides = [("held by a condition before", before), ("held by a condition after", after)]
    yield from (one for one in sides if one[1])


def _sum(chain: Chain) -> str:
    before, after, of = chain.before, chain.after, f"of {chain.budget_bytes:,} bytes"
    if after is None:
        was = f"; it was {before.witness_bytes:,} {of} deep" if before else ""
        return f"The path cannot be taken{was}."
    if before is None:
        new = "; it could not be reached before" if chain.patch else ""
        return f"Deepest stack: {after.witness_bytes:,} {of}{new}."
    more = after.witness_bytes - before.witness_bytes
    if not more:
        return f"Deepest stack: {after.witness_bytes:,} {of}, as before."
    return f"Deepest stack: {before.witness_bytes:,} → {after.witness_bytes:,} {of} ({more:+,d})."


def _described(chain: Chain) -> str:
    said = [_sum(chain)]
    for name, side in (("Before", chain.before), ("After", chain.after)):
        if side is not None:
            held = ", held by a condition" if side.held else ""
            said.append(f"{name}: {side.witness_bytes:,} bytes in {len(side.hops)} frames{held}.")
    if chain.before and chain.after:
        marks = chaintable.changes(chain.after.hops, chain.before.hops)
        said += [f"{_change(chain.after.hops[n], was)}." for n, was in sorted(marks.items())]
    return " ".join(said)


def _change(hop: Hop, was: int | None) -> str:
    had = "is new" if was is None else f"had {was:,} bytes, now"
    return f"{hop.function} {had} {hop.frame:,}" + (" bytes" if was is None else "")


def _stack(chain: Chain, side: _Side, page: _Page) -> Iterator[str]:
    """Draw a stack: its whole extent as a well, the frames in it from the top."""
    middle, depth = side.x + BAR / 2, side.depth
    used = depth.witness_bytes if depth else 0
    free = chain.budget_bytes - used
    held = " held" if depth and depth.held else ""
    end = page.y(max(chain.budget_bytes, used)) - page.top
    yield f'<text class="side mid" x="{middle}" y="{page.top - 26:.1f}">{side.label}</text>'
    told = "cannot be reached" if depth is None else f"{used:,} bytes{held and ', held'}"
    told += f", {-free:,} too many" if free < 0 else ""
    yield f'<text class="plain mid" x="{middle}" y="{page.top - 9:.1f}">{told}</text>'
    yield (
        f'<rect class="well{held}" x="{side.x}" y="{page.top:.1f}" width="{BAR}" '
        f'height="{end:.1f}"/>'
    )
    if depth is None:
        return
    yield from _frames(side, depth, page)
    if free < 0:
        yield (
            f'<rect class="over" x="{side.x - 5}" y="{page.y(chain.budget_bytes):.1f}" '
            f'width="{BAR + 10}" height="{-free * page.scale:.1f}"/>'
        )
    low = max(used, depth.upper_bytes)
    if (chain.budget_bytes - low) * page.scale > 2 * PITCH:
        y = page.y((chain.budget_bytes + low) / 2) + 4
        yield f'<text class="plain soft mid" x="{middle}" y="{y:.1f}">{free:,} free</text>'


def _frames(side: _Side, depth: Depth, page: _Page) -> Iterator[str]:
    shade = 0
    for number, hop in enumerate(depth.hops):
        if number in side.turns or chaintable.is_machine(hop):
            shade += 1
        if hop.frame > 0 and number not in side.marks:
            yield _frame(hop, side, page, ("even", "odd")[shade % 2])
    for number in sorted(side.marks):  # on top, so that their edges are whole
        if depth.hops[number].frame > 0:
            yield _frame(depth.hops[number], side, page, "changed", side.marks[number])
    for number in side.turns:
        y = page.y(depth.hops[number].depth - depth.hops[number].frame)
        yield f'<path class="turn" d="M{side.x - 5} {y:.1f}H{side.x + BAR + 5}"/>'


def _frame(hop: Hop, side: _Side, page: _Page, look: str, was: int | None = None) -> str:
    y, height = page.y(hop.depth - hop.frame), hop.frame * page.scale
    return (
        f"<g><title>{_text(_told(hop, look, was, side))}</title>"
        f'<rect class="frame {look}" x="{side.x}" y="{y:.1f}" width="{BAR}" '
        f'height="{height:.1f}"/></g>'
    )


def _told(hop: Hop, look: str, was: int | None, side: _Side) -> str:
    """Say all that is known of a frame."""
    other = "after" if side.left else "before"
    change = ""
    if look == "changed":
        change = f" ({was:,} {other})" if was is not None else f" (not on the path {other})"
    plus = ", and a part of unknown size" if hop.dynamic else ""
    via = f", through inlined {', '.join(hop.inlined)}" if hop.inlined else ""
    where = f", {hop.file}:{hop.line}" if hop.file and hop.line else ""
    return (
        f"{hop.function}: {hop.frame:,} bytes{change}{plus}, {hop.depth:,} so far\n"
        f"{hop.how}{via}{where}"
    )


def _bands(sides: Sequence[_Side], page: _Page) -> Iterator[str]:
    """Lead from each changed frame to what it was."""
    old, new = sides
    if old.depth is None or new.depth is None:
        return
    paired = chaintable.pairs(new.depth.hops, old.depth.hops)
    for number in sorted(new.marks):
        if number in paired:
            was, now = old.depth.hops[paired[number]], new.depth.hops[number]
            left, right = old.x + BAR, new.x
            corners = (
                (left, was.depth - was.frame), (right, now.depth - now.frame),
                (right, now.depth), (left, was.depth),
            )  # fmt: skip
            path = "L".join(f"{x} {page.y(bytes_):.1f}" for x, bytes_ in corners)
            yield f'<path class="band" d="M{path}Z"/>'


def _axis(page: _Page, sides: Sequence[_Side], budget: int) -> Iterator[str]:
    step = 256 if page.most <= FEW else 1024
    while page.most > step * MANY // 1024:
        step *= 2
    right = sides[-1].x
    left = right - AXIS if len(sides) > 1 else None
    for bytes_ in range(0, page.most + 1, step):
        y = page.y(bytes_)
        yield f'<path class="tick" d="M{right - 8} {y:.1f}H{right}"/>'
        if abs(y - page.y(budget)) < PITCH:
            continue  # the end of the stack has a name of its own
        if left is None:
            yield f'<text class="soft end" x="{right - 12}" y="{y + 4:.1f}">{bytes_:,}</text>'
        else:
            yield f'<path class="tick" d="M{left} {y:.1f}H{left + 8}"/>'
            x = (left + right) / 2
            yield f'<text class="soft mid" x="{x}" y="{y + 4:.1f}">{bytes_:,}</text>'


def _names(chain: Chain, side: _Side, page: _Page) -> Iterator[str]:
    """Write the names beside a stack, none over another."""
    if side.depth is None:
        return
    labels = [*_of_frames(side, side.depth, page)]
    upper, used = side.depth.upper_bytes, side.depth.witness_bytes
    if upper > used:
        drawn = upper <= page.most
        y = page.y(min(upper, page.most))
        if drawn:
            ends = f"M{side.x - 8} {y:.1f}H{side.x + BAR + 8}"
            yield f'<path class="upper" d="{ends}"/>'
        text = f"no path is deeper than {upper:,}" + ("" if drawn else ", beyond this picture")
        labels.append(_Label(y, float("inf"), "", (("soft", text),)))
    if not side.left:
        text = f"end of the stack: {chain.budget_bytes:,} bytes"
        labels.append(_Label(page.y(chain.budget_bytes), float("inf"), "", (("red", text),)))
    room = max(1, int((page.bottom - page.top) / PITCH) + 1)
    kept = sorted(labels, key=lambda one: -one.rank)[:room]
    kept.sort(key=lambda one: one.y)
    for label, y in zip(kept, _spread([one.y for one in kept], page), strict=True):
        yield from _label(label, y, side)


def _of_frames(side: _Side, depth: Depth, page: _Page) -> Iterator[_Label]:
    for number, hop in enumerate(depth.hops):
        turn, changed = number in side.turns, number in side.marks
        if hop.frame <= 0 and not turn:
            continue
        y = page.y(hop.depth - hop.frame / 2)
        parts = [("bold" if turn or changed else "", hop.function)]
        if changed:
            parts.append(("was", _difference(hop, side.marks[number], left=side.left)))
        how = chaintable.reached(hop)
        if how and not side.left:
            parts.append(("soft", how))
        size = f"{hop.frame:,}{'+' if hop.dynamic else ''}"
        rank = hop.frame + (1e9 if turn or changed else 0)
        yield _Label(y, rank, size, tuple(parts), "was" if changed else "")


def _difference(hop: Hop, was: int | None, *, left: bool) -> str:
    if left:
        return "gone" if was is None else ""
    return "new" if was is None else f"{hop.frame - was:+,d}, was {was:,}"


def _spread(wanted: Sequence[float], page: _Page) -> list[float]:
    """Move texts apart, each as little as can be (isotonic regression, neighbours pooled)."""
    pools: list[tuple[float, int]] = []
    for number, y in enumerate(wanted):
        total, count = y - number * PITCH, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            total, count = total + pools[-1][0], count + pools[-1][1]
            pools.pop()
        pools.append((total, count))
    lowest = page.bottom + PITCH - (len(wanted) - 1) * PITCH
    places = [total / count for total, count in pools for _ in range(count)]
    return [
        max(page.top, min(place, lowest)) + n * PITCH for n, place in enumerate(places)
    ]  # fmt: skip


def _label(label: _Label, y: float, side: _Side) -> Iterator[str]:
    """Write one text, with a line from where it belongs."""
    sign, edge = (-1, side.x) if side.left else (1, side.x + BAR)
    far = edge + sign * LEADER
    yield (
        f'<path class="leader {label.look}" d="M{edge + sign * 5} {label.y:.1f}'
        f'L{far - sign * 7} {y:.1f}H{far - sign * 2}"/>'
    )
    start = far if side.left or not label.size else far + SIZES
    if label.size:
        x = start - 3 if side.left else start - 4
        yield f'<text class="end {label.look}" x="{x}" y="{y + 4:.1f}">{label.size}</text>'
    room = (SHORTER if side.left else NAMES) - LEADER - SIZES
    written = _written(label.parts, room)
    x = start - SIZES if side.left else start + 4
    yield f'<text class="{"end" if side.left else "start"}" x="{x}" y="{y + 4:.1f}">{written}</text>'  # noqa: E501 # fmt: skip


def _written(parts: Sequence[tuple[str, str]], room: float) -> str:
    """Return the parts one after the other as far as there is room."""
    left = room
    out: list[str] = []
    for look, text in parts:
        if not text or left < 6 * LETTER:
            continue
        gap = "  " if out else ""
        short = _short(text, left - len(gap) * LETTER)
        left -= (len(gap) + len(short)) * LETTER
        dx = f' dx="{LETTER:.1f}"' if out else ""
        out.append(f'<tspan class="{look}"{dx}>{_text(short)}</tspan>')
    return "".join(out)


def _budget(chain: Chain, sides: Sequence[_Side], page: _Page) -> Iterator[str]:
    y = page.y(chain.budget_bytes)
    yield f'<path class="budget" d="M{sides[0].x - 14} {y:.1f}H{sides[-1].x + BAR + 14}"/>'


def _legend(y: float, sides: Sequence[_Side]) -> Iterator[str]:
    """Say what the looks mean, of those that are there."""
    x = float(MARGIN)
    depths = [side.depth for side in sides if side.depth]
    entries = [("even", "a frame")]
    if any(side.turns for side in sides):
        entries += [("odd", "the shade turns at a waypoint (bold)")]
    if any(side.marks for side in sides):
        entries += [("changed", "a frame that changed")]
    if any(depth.held for depth in depths):
        entries += [("well held", "held by a condition")]
    for look, text in entries:
        yield f'<rect class="frame {look}" x="{x}" y="{y - 10:.1f}" width="16" height="12"/>'
        yield f'<text class="plain soft" x="{x + 22}" y="{y:.1f}">{text}</text>'
        x += 22 + len(text) * LETTER + 26


def _wrap(text: str, room: float) -> Iterator[str]:
    """Break a text at spaces into at most three lines."""
    lines, most = [""], int(room / LETTER)
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > most:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    yield from lines[:3]


def _short(text: str, pixels: float) -> str:
    return chaintable.cut(text, max(3, int(pixels / LETTER)))


def _text(text: str) -> str:
    """Return text as XML; only what every parser and every font takes."""
    return escape("".join(c if c.isprintable() or c == "\n" else "?" for c in text))
