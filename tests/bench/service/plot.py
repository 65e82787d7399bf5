"""The plot of docs/scaling.md as an SVG: lines are computed, dots come from a real Celery."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from tests.bench.service.scaling import Point

WIDTH, HEIGHT = 1000, 860
COLOURS = {1: "#b3261e", 10: "#8a5a00", 100: "#00539c"}
MAIL = tuple((float(n), f"{n:,}") for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000))
FEWER = tuple((float(n), f"{n:,}") for n in (1, 3, 10, 30, 100, 300, 2000))
TIME = (
    (60.0, "1 min"), (120.0, "2"), (300.0, "5"), (600.0, "10"), (1800.0, "30 min"), (3600.0, "1 h"),
    (7200.0, "2"), (18000.0, "5"), (43200.0, "12 h"),
)  # fmt: skip
SHARE = tuple((n / 100, f"{n} %") for n in (0, 25, 50, 75, 100))
NOTE = (
    "Lines are computed; dots were carried by a real Celery, Valkey and store, in compressed time."
)
FONT = "system-ui,'Segoe UI','DejaVu Sans',sans-serif"
Value = Callable[["Point"], float]


@dataclass(frozen=True)
class Panel:
    """A part of the plot with axes of its own; x is logarithmic."""

    title: str
    left: int
    top: int
    wide: int
    high: int
    xs: Sequence[tuple[float, str]]
    ys: Sequence[tuple[float, str]]
    log: bool = True

    def x(self, value: float) -> float:
        """Return where a value is."""
        first, last = math.log(self.xs[0][0]), math.log(self.xs[-1][0])
        return self.left + self.wide * (math.log(value) - first) / (last - first)

    def y(self, value: float) -> float:
        """Return where a value is; what is beyond the axis is at its end."""
        first, last = self.ys[0][0], self.ys[-1][0]
        inside = min(max(value, first), last)
        if self.log:
            inside, first, last = math.log(inside), math.log(first), math.log(last)
        return self.top + self.high * (1 - (inside - first) / (last - first))

    def axes(self) -> list[str]:
        """Return the frame, its lines and their names."""
        bottom = self.top + self.high
        found = [text(self.left, self.top - 14, self.title, "title")]
        for value, name in self.xs:
            at = self.x(value)
            found += [
                line([(at, self.top), (at, bottom)], "grid"), text(at, bottom + 18, name, "mid"),
            ]  # fmt: skip
        for value, name in self.ys:
            at = self.y(value)
            found += [
                line([(self.left, at), (self.left + self.wide, at)], "grid"),
                text(self.left - 8, at + 4, name, "end"),
            ]
        middle = self.left + self.wide / 2
        return [*found, text(middle, bottom + 38, "times the mail of today", "mid soft")]

    def curve(self, points: Sequence[Point], value: Value, colour: str, extra: str = "") -> str:
        """Return a line through points, as far as the axes go."""
        some = [one for one in points if value(one) > 0]
        inside = [one for one in some if value(one) <= self.ys[-1][0]]
        shown = some[: len(inside) + 1]  # one more leads out of the panel
        return line(
            [(self.x(one.times), self.y(value(one))) for one in shown], "curve",
            f'stroke="{colour}" {extra}',
        )  # fmt: skip

    def dot(self, one: Point, value: Value, colour: str) -> str:
        """Return a dot for what was run; the one at another compression is a square."""
        x, y = self.x(one.times), self.y(value(one))
        title = f"<title>{one.slots} slots, time 1:{one.compressed:g}</title>"
        return (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}" class="dot">{title}</circle>'
        )


def line(points: Sequence[tuple[float, float]], kind: str, extra: str = "") -> str:
    """Return a line."""
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{way}" class="{kind}" {extra}/>'


def text(x: float, y: float, said: str, kind: str = "", extra: str = "") -> str:
    """Return words."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" {extra}>{escape(said)}</text>'


def named(x: float, y: float, said: str, colour: str, kind: str = "") -> str:
    """Return the name of a line, in its colour."""
    return text(x, y, said, f"bold {kind}", f'style="fill:{colour}"')


@dataclass(frozen=True)
class Kind:
    """Runs of which the median is drawn alone."""

    name: str
    colour: str
    value: Value
    shift: int = 4  # of its name, in pixels


WAITING = (
    Kind("asked for", "#00539c", lambda one: one.asked, 14),
    Kind("1 patch", "#1d7a3e", lambda one: one.small, -4),
    Kind("more than 8", "#b3261e", lambda one: one.large),
)
LATENCY = Panel(
    "From mail to reply: median, and the slowest tenth (dashed)", 80, 50, 880, 360, MAIL, TIME
)
USED = Panel(
    "Share of the time in which a slot works", 80, 510, 380, 260, FEWER, SHARE, log=False
)  # fmt: skip
KINDS = Panel("One slot: who waits (medians)", 560, 510, 400, 260, MAIL[:7], TIME)


def drawn(lines: Mapping[int, Sequence[Point]], real: Sequence[Point]) -> str:
    """Return the plot."""
    parts = [*LATENCY.axes(), *USED.axes(), *KINDS.axes()]
    for slots, points in lines.items():
        parts += _curves(slots, points)
    for one in real:
        parts += _dots(one)
    for which in WAITING:
        parts += _kind(which, lines[1])
    parts.append(text(80, HEIGHT - 16, NOTE, "soft"))
    return "\n".join([*_head(), *parts, "</svg>", ""])


def _curves(slots: int, points: Sequence[Point]) -> list[str]:
    """Return the lines of so many slots, with their names."""
    colour, name = COLOURS[slots], f"{slots} slot{'s' if slots > 1 else ''}"
    late = next((one for one in points if one.p90 > LATENCY.ys[-1][0]), points[-1])
    half = min(points, key=lambda one: abs(one.used - 0.5))
    return [
        LATENCY.curve(points, lambda one: one.median, colour),
        LATENCY.curve(points, lambda one: one.p90, colour, 'stroke-dasharray="6 5"'),
        USED.curve(points, lambda one: one.used, colour),
        named(LATENCY.x(late.times) - 8, LATENCY.top + 18, name, colour, "end"),
        named(USED.x(half.times) - 8, USED.y(half.used), name, colour, "end"),
    ]


def _dots(one: Point) -> list[str]:
    """Return the dots of what was carried for real."""
    colour = COLOURS[one.slots]
    return [
        LATENCY.dot(one, lambda p: p.median, colour), LATENCY.dot(one, lambda p: p.p90, colour),
        USED.dot(one, lambda p: p.used, colour),
    ]  # fmt: skip


def _kind(which: Kind, points: Sequence[Point]) -> list[str]:
    """Return the line of one kind of runs, with its name at the end."""
    last = [one for one in points if 0 < which.value(one) <= KINDS.ys[-1][0]][-1]
    x, y = KINDS.x(last.times) + 8, KINDS.y(which.value(last)) + which.shift
    return [
        KINDS.curve(points, which.value, which.colour), named(x, y, which.name, which.colour),
    ]  # fmt: skip


def _head() -> list[str]:
    style = (
        f"text{{font:13px {FONT};fill:#1d2329}}.title{{font:600 15px {FONT}}}"
        ".mid{text-anchor:middle}.end{text-anchor:end}.bold{font-weight:700}.soft{fill:#57606a}"
        ".grid{stroke:#d8dee4;stroke-width:1;fill:none}.curve{stroke-width:2.4;fill:none}"
        ".dot{stroke:#fff;stroke-width:1.5}"
    )
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Latency and use of slots over how much mail comes</title>",
        f"<style>{style}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
