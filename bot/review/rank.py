"""An exact rank test, for the few boots that there are."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache


@cache
def _ways(lower: int, higher: int, wins: int) -> int:
    """Return in how many orders of two groups exactly ``wins`` pairs have the first one lower.

    The recurrence of Mann and Whitney, "On a test of whether one of two random variables is
    stochastically larger than the other", 1947.
    """
    if wins < 0:
        return 0
    if lower == 0 or higher == 0:
        return int(wins == 0)
    return _ways(lower - 1, higher, wins - higher) + _ways(lower, higher - 1, wins)


def lower_by_chance(samples: Sequence[float], than: Sequence[float]) -> Fraction:
    """Return how likely samples of one and the same source are at least this much lower.

    One-sided and exact without ties; a tie counts as not lower, which makes it larger.
    """
    wins = sum(one < other for one in samples for other in than)
    n, m = len(samples), len(than)
    every = sum(_ways(n, m, w) for w in range(n * m + 1))
    return Fraction(sum(_ways(n, m, w) for w in range(wins, n * m + 1)), every)
