"""What guests tell, read as bytes of a stranger."""

from __future__ import annotations

import pytest

from bot.contract import Boot, Ending
from policies.stress import Metric
from workers.stack import observed
from workers.stress import dumps, records

NONCE = "0123456789abcdef"
KSWAPD = """\
{ common_pid: kswapd0         [        23], reclaim_flags:         10, stacktrace:
         shrink_folio_list+0x5de/0xb00
         balance_pgdat+0x25b/0x590
         kswapd+0x136/0x2e0
} hitcount:        700
"""
SWAP = """\
{ common_pid: init            [        33], reclaim_flags:          9, stacktrace:
         shrink_folio_list+0x5de/0xb00
         try_to_free_pages+0xd4/0x1b0
} hitcount:         40
"""
DIRECT = SWAP.replace("reclaim_flags:          9", "reclaim_flags:         10")
HEAD = "# event histogram\n# trigger info: hist:keys=common_pid.execname [paused]\n"
TOTAL = "Totals:\n    Hits: 740\n    Entries: 2\n    Dropped: 0\n"
GOOD = ("proof warn 1", "proof hist 1", "proof tracer 1", "proof pressure 1")


def told(*records_: str) -> str:
    return "".join(f"{NONCE} {n} {one}\n" for n, one in enumerate(records_, 1))


def whole(
    hist: str = KSWAPD + SWAP, marks: tuple[int, int] = (745, 745), killed: str = "windows 1 1"
) -> str:
    lines = [f"write {line}" for line in (HEAD + hist + TOTAL).splitlines()]
    return told(
        "alive 6.1.192", *GOOD, "counters before", "vmstat nr_vmscan_write 5", "vmstat oom_kill 1",
        "memory-pressure some avg10=0.00 avg60=0.00 avg300=0.00 total=100",
        "phase work", f"writes {marks[0]}", f"writes {marks[1]}", "counters after",
        f"vmstat nr_vmscan_write {marks[1]}", "vmstat oom_kill 1", "vmstat allocstall_normal 7",
        "vmstat allocstall_movable 3", "vmstat pgscan_file 90",
        "memory-pressure some avg10=1.00 avg60=0.00 avg300=0.00 total=350",
        *lines, "windows 9 4", "stack 300 a+5 100 pageout+c9 200", "worked 0 overwrite 20 0",
        "worked 1 anonymous 5 2", "phase verify", "bad-page 0 17 stale",
        "verified 0 ext4 400 1 0", killed, "end 7000",
    )  # fmt: skip


def test_a_whole_account_is_read() -> None:
    found = records.parse(whole(), NONCE)
    assert found.forged == ""
    assert not found.cut
    assert found.first("alive") == "6.1.192"
    assert records.deaf(found) == []
    assert records.counters(found)["nr_vmscan_write"] == 740
    assert records.counters(found)["memory.pressure.some_us"] == 250
    assert records.metrics(found)[Metric.KSWAPD_FILE_WRITES] == 700
    assert records.metrics(found)[Metric.SWAP_WRITES] == 40
    assert records.metrics(found)[Metric.DIRECT_RECLAIMS] == 10
    assert records.metrics(found)[Metric.PAGES_VERIFIED] == 400
    assert records.operations(found) == 25
    assert records.lost_reads(found) == 2
    (disk,) = records.verified(found)
    assert (disk.pages, disk.bad, disk.unread, disk.shown) == (400, 1, 0, ("17 stale",))


def test_writes_of_kswapd_and_of_direct_reclaim_are_told_apart() -> None:
    found = records.parse(whole(KSWAPD + SWAP + DIRECT, (785, 785)), NONCE)
    (direct,) = records.direct_writes(found)
    assert (direct.task, direct.count) == ("init", 40)
    assert direct.stack == ("shrink_folio_list", "try_to_free_pages")
    assert records.metrics(found)[Metric.KSWAPD_FILE_WRITES] == 700


def test_a_process_that_calls_itself_kswapd_is_not_kswapd() -> None:
    fake = DIRECT.replace("init   ", "kswapd9")
    found = records.parse(whole(KSWAPD + fake, (745, 745)), NONCE)
    assert [one.task for one in records.direct_writes(found)] == ["kswapd9"]


@pytest.mark.parametrize("marks", [(744, 744), (746, 746), (0, 739)])
def test_a_histogram_that_disagrees_with_vmstat_is_deaf(marks: tuple[int, int]) -> None:
    assert records.deaf(records.parse(whole(marks=marks), NONCE)) == ["hist"]


def test_writes_between_the_two_looks_are_no_disagreement() -> None:
    assert records.deaf(records.parse(whole(marks=(740, 760)), NONCE)) == []


def test_a_histogram_that_dropped_entries_is_deaf() -> None:
    text = whole().replace("Dropped: 0", "Dropped: 3")
    assert records.deaf(records.parse(text, NONCE)) == ["hist"]


@pytest.mark.parametrize("name", records.PROOFS)
def test_a_sensor_without_its_proof_is_deaf(name: str) -> None:
    for instead in (f"proof {name} 0", "proof other 1", f"proof {name} yes"):
        text = whole().replace(f"proof {name} 1", instead)
        assert records.deaf(records.parse(text, NONCE)) == [name]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (told("alive 6.1") + f"{NONCE} 3 end 1\n", "record 3 where 2 was due"),
        (told("alive 6.1") + f"{NONCE} 1 alive 6.1\n", "record 1 where 2 was due"),
        (told("alive 6.1") + "feedfacefeedface 2 end 1\n", "without the nonce"),
        (told("alive 6.1") + '{"outcome": "passed"}\n', "without the nonce"),
        (told("alive 6.1") + "\0\0\0\n", "without the nonce"),
        (f"{NONCE} 1 {'x' * 100} 1\n", "without the nonce"),
    ],
)
def test_records_of_somebody_else_are_noticed(text: str, said: str) -> None:
    assert said in records.parse(text, NONCE).forged


def test_the_right_records_after_a_forged_one_still_count() -> None:
    text = told("alive 6.1", "proof warn 1").replace("\n", "\njunk\n", 1)
    found = records.parse(text, NONCE)
    assert found.forged
    assert [name for name, _ in found.records] == ["alive", "proof"]


def test_an_account_that_ends_within_a_line_is_cut() -> None:
    found = records.parse(told("alive 6.1") + f"{NONCE} 2 en", NONCE)
    assert found.cut
    assert found.forged == ""
    assert found.first("end") is None


def test_a_huge_line_is_one_forged_line() -> None:
    found = records.parse("A" * 1_000_000 + "\n", NONCE)
    assert found.records == ()
    assert len(found.forged) < 200


@pytest.mark.parametrize(
    "value",
    ["300 a+5 100 pageout+c9 100", "x a+5 100", "300", "", "300 a 300", "-300 a+5 300"],
)
def test_a_stack_that_does_not_add_up_is_none(value: str) -> None:
    assert records.stacks(records.parse(told(f"stack {value}"), NONCE)) == ()


def test_stacks_go_to_the_stack_analysis_in_the_tracers_words() -> None:
    account = records.parse(told("stack 300 a.part.0+5 100 pageout+c9 200"), NONCE)
    boot = Boot(ending=Ending.DONE, seconds=1, accelerator="tcg", stacks=records.stacks(account))
    (dump,) = observed.parse(dumps.text([boot, boot]))
    assert [(e.function, e.depth, e.size, e.offset) for e in dump.entries] == [
        ("a.part.0", 300, 100, 5), ("pageout", 200, 200, 0xC9),
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["x", "1 2", "0 ext4 1 2", "0 ext4 a b c", ""])
def test_a_comparison_that_cannot_be_read_is_none(value: str) -> None:
    assert records.verified(records.parse(told(f"verified {value}"), NONCE)) == ()
