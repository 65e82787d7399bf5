"""Small plots: every run is a dot, never only a mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.contract import Boot, StressRun
from bot.store.depths import Point

WIDTH, ROW, PAD = 260.0, 22.0, 8.0
TREND_WIDTH, TREND_HEIGHT, TREND_LEFT = 860.0, 260.0, 64.0


@dataclass(frozen=True)
class Dot:
    """One boot."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Plot:
    """A counter, base above patched."""

    name: str
    low: int
    high: int
    base: tuple[Dot, ...]
    patched: tuple[Dot, ...]
    least: float | None  # x of the exposure that was asked for
    wanted: int | None
    enough: bool  # whether every boot reached it


@dataclass(frozen=True)
class Trend:
    """A chain over time: `before` of each run, by tree and release."""

    width: float
    height: float
    dots: tuple[tuple[float, float, str, str], ...]  # x, y, title, lead
    ticks: tuple[tuple[float, str], ...]  # y, text
    first: str
    last: str


def plots(run: StressRun) -> tuple[tuple[Plot, ...], tuple[Plot, ...]]:
    """Return a plot for each metric, those of the exposure first; and for each other counter."""
    exposure = {str(key): value for key, value in run.profile.exposure.items()}
    boots = (*run.base, *run.patched)
    metrics = sorted({str(name) for boot in boots for name, _ in boot.metrics})
    others = sorted({name for boot in boots for name, _ in boot.counters} - set(metrics))
    order = sorted(metrics, key=lambda one: (one not in exposure, one))
    return _all(order, run, exposure), _all(others, run, exposure)


def _all(names: Sequence[str], run: StressRun, exposure: Mapping[str, int]) -> tuple[Plot, ...]:
    found = [_plot(name, run, exposure.get(name)) for name in names]
    return tuple(one for one in found if one is not None)


def _value(boot: Boot, name: str) -> int | None:
    known = {**{str(key): value for key, value in boot.metrics}, **dict(boot.counters)}
    return known.get(name)


def _plot(name: str, run: StressRun, wanted: int | None) -> Plot | None:
    base = [_value(boot, name) for boot in run.base]
    patched = [_value(boot, name) for boot in run.patched]
    there = [one for one in (*base, *patched) if one is not None]
    if not there or (wanted is None and not any(there)):
        return None
    low, high = 0, max([*there, wanted or 0, 1])
    return Plot(
        name, low, high, _dots(base, high, ROW * 0.5, "base"),
        _dots(patched, high, ROW * 1.5, "patched"), _x(wanted, high) if wanted else None, wanted,
        wanted is None or all(one is None or one >= wanted for one in patched),
    )  # fmt: skip


def _dots(values: Sequence[int | None], high: int, y: float, side: str) -> tuple[Dot, ...]:
    return tuple(
        Dot(_x(value, high), y, f"{side}, boot {number}: {value:,}")
        for number, value in enumerate(values, 1) if value is not None
    )  # fmt: skip


def _x(value: int, high: int) -> float:
    return round(PAD + (WIDTH - 2 * PAD) * value / high, 1)


def trend(points: Sequence[Point]) -> Trend | None:
    """Return the depth of a chain over time; what cannot be reached has no dot."""
    there = [(one, one.before) for one in points if one.before is not None]
    if not there:
        return None
    start, end = there[0][0].at.timestamp(), there[-1][0].at.timestamp()
    low, high = min(value for _, value in there), max(value for _, value in there)
    margin = max(64, (high - low) // 4)
    bottom, top = max(0, low - margin), high + margin
    dots = []
    for one, value in there:
        share = (one.at.timestamp() - start) / (end - start) if end > start else 0.5
        x = TREND_LEFT + (TREND_WIDTH - TREND_LEFT - PAD) * share
        said = f"{value:,} bytes, {one.tree} {one.release}, {one.at:%Y-%m-%d}"
        dots.append((round(x, 1), _y(value, bottom, top), said, one.series))
    marks = [bottom + (top - bottom) * step // 4 for step in range(5)]
    return Trend(
        TREND_WIDTH, TREND_HEIGHT, tuple(dots),
        tuple((_y(one, bottom, top), f"{one:,}") for one in marks),
        f"{there[0][0].at:%Y-%m-%d}", f"{there[-1][0].at:%Y-%m-%d}",
    )  # fmt: skip


def _y(value: int, bottom: int, top: int) -> float:
    return round(PAD + (TREND_HEIGHT - 2 * PAD) * (top - value) / (top - bottom), 1)
