"""What the figures of docs/scaling.md rest on: slots that take jobs by their turn, and the mail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bench.service import line, scaling, stub, traffic
from tests.bench.service.traffic import Run

DOC = Path(__file__).parents[2] / "docs" / "scaling.md"
WEEK = 7 * 24 * traffic.HOUR


def run(at: float, patches: int = 1, *, asked: bool = False) -> Run:
    return Run(at, patches, asked, build=60.0, stack=5.0, stress=30.0)


def test_a_run_alone_takes_its_build_and_then_what_takes_longest() -> None:
    (one,), busy = line.serve([run(30.0)], slots=2)
    assert one.at == 60 + 60 + 30  # looked at when a minute is full; the comparison runs beside
    assert one.latency == 120
    assert busy.share(2, 150.0) == pytest.approx(95 / 300)


def test_one_slot_does_one_job_at_a_time_and_carrying_costs() -> None:
    first, second = line.serve([run(60.0), run(60.0)], slots=1, cost=1.0)[0]
    assert {first.at, second.at} <= {60 + end for end in (98.0, 158.0, 196.0)}
    assert second.at == 60 + 2 * (95 + 3)


def test_what_was_asked_for_goes_first_and_small_before_large() -> None:
    some = [run(60.0), run(61.0, 30), run(62.0, 1), run(63.0, 30, asked=True)]
    ended = line.serve(some, slots=1)[0]
    assert [one.run for one in ended] == [some[3], some[0], some[2], some[1]]


def test_equal_seeds_give_equal_mail_and_ten_times_is_ten_times() -> None:
    one, ten = traffic.runs(1, 0.0, WEEK), traffic.runs(10, 0.0, WEEK)
    assert one == traffic.runs(1, 0.0, WEEK)
    assert one != traffic.runs(1, 0.0, WEEK, seed=2)
    assert 8 < len(ten) / len(one) < 12


def test_more_mail_comes_by_day_and_less_on_sunday() -> None:
    day = 24 * traffic.HOUR
    assert traffic.rate(14 * traffic.HOUR) > 3 * traffic.rate(2 * traffic.HOUR)
    assert traffic.rate(6 * day) < 0.5 * traffic.rate(0.0)
    hours = [traffic.rate(hour * traffic.HOUR) for hour in range(7 * 24)]
    assert sum(hours) / len(hours) == pytest.approx(1.0)


def test_a_digest_says_how_long_its_job_takes() -> None:
    assert stub.seconds_of(stub.digest(7, 12.345)) == 12.345
    assert stub.digest(7, 1.0) != stub.digest(8, 1.0)


def test_the_document_has_the_numbers_of_the_model() -> None:
    text = DOC.read_text()
    for number in (
        f"{traffic.SERIES:g} series", f"{traffic.IN_SCOPE:.0%} of the patches",
        f"{traffic.ASKED:.0%} of the series", f"{traffic.MISS:.0%} of the builds",
        f"{traffic.WIDE:.0%}", f"{traffic.SOME:.0%}", f"{traffic.POLL:g} s",
    ):  # fmt: skip
        assert number.replace("%", " %") in text, number
    for slots, times, compressed in scaling.REAL:
        assert re.search(rf"\| {slots} \| {times} \| 1:{compressed:g} \|", text), (slots, times)
