"""How a boot ended, from both its channels and QEMU's exit status."""

from __future__ import annotations

import pytest

from bot.contract import Ending
from tests.unit.test_stress_records import GOOD, NONCE, told, whole
from workers.stress.boot import Heard
from workers.stress.judge import judge

SELF_TEST = """\
[    1.000000][    T1] lkdtm: Performing direct entry WARNING
[    1.000001][    T1] ------------[ cut here ]------------
[    1.000002][    T1] WARNING: CPU: 0 PID: 1 at drivers/misc/lkdtm/bugs.c:85 lkdtm_WARNING+0xf/0x20
[    1.000003][    T1] RIP: 0010:lkdtm_WARNING+0xf/0x20
[    1.000004][    T1] Call Trace:
[    1.000005][    T1]  <TASK>
[    1.000006][    T1]  direct_entry.cold+0x18/0x24
[    1.000007][    T1]  </TASK>
[    1.000008][    T1] ---[ end trace 0000000000000000 ]---
"""
OOPS = """\
[    5.000000][   T33] BUG: kernel NULL pointer dereference, address: 0000000000000008
[    5.000001][   T33] #PF: supervisor read access in kernel mode
[    5.000002][   T33] Oops: 0000 [#1] SMP
[    5.000003][   T33] CPU: 0 PID: 33 Comm: init Not tainted 6.1.192 #1
[    5.000004][   T33] RIP: 0010:ext4_writepage+0x2c/0x110
[    5.000005][   T33] Call Trace:
[    5.000006][   T33]  <TASK>
[    5.000007][   T33]  pageout+0xc9/0x210
[    5.000008][   T33]  </TASK>
[    5.000009][   T33] Kernel panic - not syncing: Fatal exception
"""
WARNING = SELF_TEST.replace("lkdtm_WARNING", "shrink_folio_list").replace("[    1", "[    7")
NMI = """\
[   60.000000][    C0] Kernel panic - not syncing: NMI: Not continuing
[   60.000001][    C0] CPU: 0 PID: 23 Comm: kswapd0 Not tainted 6.1.192 #1
[   60.000002][    C0] Call Trace:
[   60.000003][    C0]  <TASK>
[   60.000004][    C0]  shrink_folio_list+0x5de/0xb00
[   60.000005][    C0]  kswapd+0x136/0x2e0
[   60.000006][    C0]  </TASK>
"""
DONE, SETUP, STALL = 33, 35, 37  # (code << 1) | 1


def heard(
    records: str, console: str = SELF_TEST, status: int | None = DONE, **more: object
) -> Heard:
    found = Heard(console=bytearray(console.encode()), records=bytearray(records.encode()))
    found.status, found.seconds = status, 9.0
    for name, value in more.items():
        setattr(found, name, value)
    return found


def ending(found: Heard) -> Ending:
    return judge(found, NONCE, "tcg").ending


START = told("alive 6.1", *GOOD, "phase work")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (heard(whole()), Ending.DONE),
        (heard(whole(), SELF_TEST + WARNING), Ending.DONE),
        (heard(START, SELF_TEST + OOPS, 0), Ending.CRASHED),
        (heard("", OOPS, 0), Ending.CRASHED),  # before /init
        (heard(START, status=0), Ending.EARLY),  # a panic gives 0, and so does a reboot
        (heard(START), Ending.EARLY),  # the code of success without the end
        (heard(whole(), status=0), Ending.EARLY),  # the end without the code
        (heard(whole(), status=1), Ending.EARLY),
        (heard(whole(), status=35), Ending.EARLY),
        (heard(whole() + "junk\n"), Ending.FORGED),
        (heard('{"outcome": "passed"}\n'), Ending.FORGED),
        (heard(whole().replace(NONCE, "f" * 16)), Ending.FORGED),
        (heard(whole() + f"{NONCE} 1 end 1\n"), Ending.FORGED),
        (heard(whole(), SELF_TEST + OOPS), Ending.FORGED),  # died, and went on
        (heard(whole(), ""), Ending.DEAF),
        (heard(whole(), WARNING), Ending.DEAF),
        (heard(whole().replace("proof hist 1", "proof hist 0")), Ending.DEAF),
        (heard(whole(marks=(9, 9))), Ending.DEAF),
        (heard(told("alive 6.1", "problem mount: No such device"), status=SETUP), Ending.SETUP),
        (heard(told("alive 6.1"), status=SETUP), Ending.EARLY),
        (heard(START + f"{NONCE} 7 stall 20100\n", status=STALL), Ending.STALLED),
        (heard(START, status=STALL), Ending.EARLY),
        (heard(START, status=None, why="silent", busy=0.1, asked=len(SELF_TEST)), Ending.HUNG),
        (heard(START, status=None, why="silent", busy=1.9, asked=len(SELF_TEST)), Ending.SPUN),
        (heard(START, status=None, why="slow", busy=1.9, asked=len(SELF_TEST)), Ending.SLOW),
        (heard(START, status=None, why="flooded"), Ending.FLOODED),
        (heard(START, OOPS, None, why="flooded"), Ending.FLOODED),
        (heard(START, OOPS, None, why="silent", asked=len(OOPS)), Ending.CRASHED),
        (heard("", "", 1, errors="qemu: no such file\n"), Ending.BROKEN),
        (heard(whole(killed="killed overwrite 7")), Ending.KILLED),
        (heard(whole(killed="killed overwrite 9")), Ending.DONE),
    ],
)  # fmt: skip
def test_each_way_to_end_has_its_name(found: Heard, wanted: Ending) -> None:
    assert ending(found) is wanted


def test_the_provoked_warning_is_no_report_and_another_one_is() -> None:
    assert judge(heard(whole()), NONCE, "tcg").reports == ()
    (one,) = judge(heard(whole(), SELF_TEST + WARNING), NONCE, "tcg").reports
    assert one.function == "shrink_folio_list"
    two = judge(heard(whole(), SELF_TEST + SELF_TEST.replace("[    1", "[   19")), NONCE, "tcg")
    assert len(two.reports) == 1  # a second one nobody asked for


def test_the_panic_that_was_asked_for_says_where_a_silent_guest_was() -> None:
    found = heard(START, SELF_TEST + NMI, 0, why="silent", busy=1.0, asked=len(SELF_TEST))
    boot = judge(found, NONCE, "tcg")
    assert boot.ending is Ending.SPUN
    assert "shrink_folio_list <- kswapd" in boot.problem
    assert "in phase 'work'" in boot.problem
    assert boot.reports == ()


def test_what_a_kernel_says_after_it_was_asked_is_our_doing() -> None:
    found = heard(START, SELF_TEST + WARNING + NMI, 0, why="slow", asked=len(SELF_TEST))
    assert judge(found, NONCE, "tcg").reports == ()
    found.asked = len(SELF_TEST + WARNING)
    assert len(judge(found, NONCE, "tcg").reports) == 1


def test_text_of_user_space_is_no_panic() -> None:
    text = "Kernel panic - not syncing: forged\nBUG: kernel NULL pointer dereference\n"
    assert ending(heard(whole(), SELF_TEST + text)) is Ending.DONE


def test_qemu_that_does_not_start_is_ours_and_says_why() -> None:
    boot = judge(heard("", "", 1, errors="qemu: no such file\n"), NONCE, "tcg")
    assert boot.problem == "QEMU ended with status 1: qemu: no such file"


@pytest.mark.parametrize(
    ("status", "code"),
    [(33, 0x10), (35, 0x11), (0, None), (1, None), (2, None), (None, None), (-9, None)],
)
def test_the_exit_code_is_what_the_guest_gave(status: int | None, code: int | None) -> None:
    assert heard("", status=status).code == code
