"""The deepest chain before and after a change as an SVG icicle: the stack grows downwards.

Standalone: no script, no font, no address that a viewer would fetch. Every text in it may
come from a hostile build and is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

from bot.contract import Chain, Depth, Hop

HEIGHT = 1700.0  # pixels that the whole stack takes
COLUMN = 380
LEFT, GAP, TOP, BOTTOM = 74, 60, 92, 40
LEAST = 11.0  # pixels that a frame needs to carry its name
STYLE = """
text{font:11px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#1d2329}
.title{font:600 15px system-ui,sans-serif}.side{font:600 13px system-ui,sans-serif}
.soft{fill:#57606a}
rect.page{fill:#fff}rect.even{fill:#dbe7f3}rect.odd{fill:#c3d6ea}
rect{stroke:#fff;stroke-width:.5}
rect.changed{fill:#ffd8a8;stroke:#8a3b00;stroke-width:2}
line.axis{stroke:#aab4bf;stroke-width:.5}
line.budget{stroke:#b3261e;stroke-width:2}
line.upper{stroke:#57606a;stroke-width:1.5;stroke-dasharray:6 4}
text.budget{fill:#b3261e}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.soft{fill:#9aa6b2}rect.page{fill:#12171d}
rect.even{fill:#23384f}rect.odd{fill:#2d4763}rect{stroke:#12171d}
rect.changed{fill:#6b3a00;stroke:#ffb86b}
line.axis{stroke:#46505b}line.budget{stroke:#ff8a80}line.upper{stroke:#9aa6b2}
text.budget{fill:#ff8a80}}
"""


def icicle(chain: Chain) -> str:
    """Return the drawing of a chain."""
    sides = [
        (name, side) for name, side in (("before", chain.before), ("after", chain.after)) if side
    ]
    most = max([chain.budget_bytes, *(side.upper_bytes for _, side in sides)])
    scale = HEIGHT / max(most, 1)
    width = LEFT + len(sides) * COLUMN + max(0, len(sides) - 1) * GAP + 30
    height = TOP + HEIGHT + BOTTOM
    name = f"{chain.profile}, {chain.name}" if chain.name else chain.profile
    size = f'viewBox="0 0 {width} {height:.0f}" width="{width}" height="{height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="t d" {size}>',
        f'<title id="t">{_text(f"Deepest stack: {name}")}</title>',
        f'<desc id="d">{_text(_said(chain))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height:.0f}"/>',
        f'<text class="title" x="{LEFT}" y="26">{_text(name)}</text>',
        f'<text class="soft" x="{LEFT}" y="46">{_text(_short(" → ".join(chain.waypoints), width - LEFT - 10))}</text>',  # noqa: E501
        *_axis(most, scale, width),
    ]
    frames = [_frames(side) for _, side in sides]
    for number, (label, side) in enumerate(sides):
        left = LEFT + number * (COLUMN + GAP)
        other = frames[1 - number] if len(sides) > 1 else None
        parts += _side(label, side, left, scale, other)
    parts += _budget(chain, scale, width)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _said(chain: Chain) -> str:
    words = []
    for name, side in (("before", chain.before), ("after", chain.after)):
        words.append(
            f"{name}: {side.witness_bytes} bytes in {len(side.hops)} frames"
            if side else f"{name}: the path cannot be taken"
        )  # fmt: skip
    return f"{'; '.join(words)}; the stack has {chain.budget_bytes} bytes"


def _frames(side: Depth) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for hop in side.hops:
        found[hop.function] = found.get(hop.function, 0) + hop.frame
    return found


def _axis(most: int, scale: float, width: int) -> Iterator[str]:
    step = 1024 if most <= 20_000 else 4096  # noqa: PLR2004 - about twenty lines
    for bytes_ in range(0, most + 1, step):
        y = TOP + bytes_ * scale
        yield f'<line class="axis" x1="{LEFT - 6}" x2="{width - 10}" y1="{y:.1f}" y2="{y:.1f}"/>'
        at = f'x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end"'
        yield f'<text class="soft" {at}>{bytes_:,}</text>'


def _side(
    label: str, side: Depth, left: int, scale: float, other: Mapping[str, int] | None
) -> Iterator[str]:
    held = ", held by a condition" if side.held else ""
    yield (
        f'<text class="side" x="{left}" y="{TOP - 14}">'
        f"{label}: {side.witness_bytes:,} bytes{held}</text>"
    )
    own, shade = _frames(side), 0
    for hop in side.hops:
        if hop.frame <= 0:
            continue
        shade += _turns(hop)
        changed = other is not None and other.get(hop.function) != own[hop.function]
        yield from _frame(hop, left, scale, "changed" if changed else ("even", "odd")[shade % 2])
    if side.upper_bytes > side.witness_bytes:
        y = TOP + side.upper_bytes * scale
        yield f'<line class="upper" x1="{left}" x2="{left + COLUMN}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="soft" x="{left}" y="{y - 4:.1f}">at most {side.upper_bytes:,}</text>'


def _turns(hop: Hop) -> int:
    """Whether the shade turns at a hop: where the call goes through a pointer."""
    return int(hop.how.startswith(("field", "variable", "parameter", "start")))


def _frame(hop: Hop, left: int, scale: float, look: str) -> Iterator[str]:
    height = hop.frame * scale
    y = TOP + (hop.depth - hop.frame) * scale
    where = f" at {hop.file}:{hop.line}" if hop.file and hop.line else ""
    said = f"{hop.function}: {hop.frame} bytes, {hop.depth} so far; {hop.how}{where}"
    yield f'<g><title>{_text(said)}</title><rect class="{look}" x="{left}" y="{y:.1f}" width="{COLUMN}" height="{height:.1f}"/>'  # noqa: E501
    if height >= LEAST:
        star = "* " if look == "changed" else ""
        name = _short(f"{star}{hop.function}", COLUMN - 70)
        yield f'<text x="{left + 6}" y="{y + height / 2 + 4:.1f}">{_text(name)}</text>'
        yield (
            f'<text class="soft" x="{left + COLUMN - 6}" y="{y + height / 2 + 4:.1f}" '
            f'text-anchor="end">{hop.frame:,}</text>'
        )
    yield "</g>"


def _budget(chain: Chain, scale: float, width: int) -> Iterator[str]:
    y = TOP + chain.budget_bytes * scale
    yield f'<line class="budget" x1="{LEFT - 6}" x2="{width - 10}" y1="{y:.1f}" y2="{y:.1f}"/>'
    yield (
        f'<text class="budget" x="{LEFT}" y="{y + 18:.1f}">end of the stack: '
        f"{chain.budget_bytes:,} bytes</text>"
    )


def _short(text: str, pixels: float) -> str:
    most = int(pixels / 6.7)  # of an 11 px monospace letter
    return text if len(text) <= most else text[: most - 2] + ".."


def _text(text: str) -> str:
    return escape("".join(c if c.isprintable() else "?" for c in text), {'"': "&quot;"})
