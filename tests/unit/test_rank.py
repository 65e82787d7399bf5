"""The exact rank test."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb

import pytest

from bot.review.rank import lower_by_chance


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 3), (3, 12), (2, 5)])
def test_samples_that_are_all_lower_have_one_chance_in_all_orders(n: int, m: int) -> None:
    found = lower_by_chance([0.1 * k for k in range(n)], [10.0 + k for k in range(m)])
    assert found == Fraction(1, comb(n + m, n))


def test_it_agrees_with_counting_every_order() -> None:
    ranks = range(7)
    for lower in combinations(ranks, 3):
        others = [rank for rank in ranks if rank not in lower]
        wins = sum(a < b for a in lower for b in others)
        as_far = [
            one
            for one in combinations(ranks, 3)
            if sum(a < b for a in one for b in ranks if b not in one) >= wins
        ]
        assert lower_by_chance(lower, others) == Fraction(len(as_far), comb(7, 3))


def test_equal_samples_say_nothing() -> None:
    assert lower_by_chance([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]) == 1


def test_a_tie_counts_against_a_difference() -> None:
    assert lower_by_chance([1.0, 2.0], [2.0, 3.0]) > lower_by_chance([1.0, 2.0], [2.5, 3.0])
