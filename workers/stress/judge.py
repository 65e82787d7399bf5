"""How a boot ended, from everything that was heard of it. Pure; never raises."""

from __future__ import annotations

from bot.contract import Boot, ConsoleReport, Ending
from workers.stress import console, records
from workers.stress.boot import BUSY, DONE, SETUP, STALL, Heard
from workers.stress.records import Account

# what the guest is told to die of (oops=panic): it cannot have gone on to the end
FATAL = frozenset(
    {"panic", "oops", "bug", "stack-guard", "stack-end", "general-protection", "stack-protector"}
)
SELF_TEST = "lkdtm_WARNING"  # drivers/misc/lkdtm/bugs.c, asked for by guest/sensor.c
NMI = "NMI"
MOST_REPORTS = 40  # of one boot; who says more says the same
SIGKILL = 9  # by the OOM killer, which the console tells of


def judge(heard: Heard, nonce: str, accelerator: str) -> Boot:
    """Return the boot as a record, without artifacts."""
    account = records.parse(heard.records.decode(errors="replace"), nonce)
    found = _reports(heard.console[: heard.asked])
    proven = next((one for one in found if SELF_TEST in (one.function, *one.stack)), None)
    bad = tuple(one for one in found if one is not proven)
    ending, problem = _ending(heard, account, bad, proven is not None)
    if ending in {Ending.HUNG, Ending.SPUN, Ending.SLOW}:
        problem += _where(heard)
    return Boot(
        ending=ending, problem=problem, seconds=round(heard.seconds, 1), accelerator=accelerator,
        release=(account.first("alive") or "")[:64],
        metrics=tuple(sorted(records.metrics(account).items())),
        counters=tuple(records.counters(account).items()),
        operations=records.operations(account),
        direct_writes=records.direct_writes(account), stacks=records.stacks(account),
        reports=bad, verified=records.verified(account), misread=records.lost_reads(account),
    )  # fmt: skip


def _report(one: console.Report) -> ConsoleReport:
    return ConsoleReport(
        kind=str(one.kind), title=one.title, first=one.first, number=one.number, lines=one.lines,
        stack=one.stack, function=one.function, fingerprint=one.fingerprint,
    )  # fmt: skip


def _reports(said: bytearray) -> list[ConsoleReport]:
    found = console.reports(said.decode(errors="replace"))
    return [_report(one) for one in found[:MOST_REPORTS]]


def _where(heard: Heard) -> str:
    """Say where a silent guest was, by the panic with which it answered an NMI."""
    if heard.asked is None:
        return ""
    answers = _reports(heard.console[heard.asked :])
    asked = next((one for one in answers if one.kind == "panic" and NMI in one.first), None)
    if asked is None or not asked.stack:
        return ""
    return f"; asked by an NMI, its first processor was in {' <- '.join(asked.stack[:4])}"


def _ending(
    heard: Heard,
    account: Account,
    bad: tuple[ConsoleReport, ...],
    proven: bool,  # noqa: FBT001
) -> tuple[Ending, str]:
    fatal = next((one for one in bad if one.kind in FATAL), None)
    whole = heard.code == DONE and account.first("end") is not None
    if heard.why == "flooded":
        return Ending.FLOODED, "the guest said more than it may"
    contradicted = f"the console says {fatal.first[:80]!r}, but the guest went on" if fatal else ""
    forged = account.forged or (contradicted if whole else "")
    if forged:
        return Ending.FORGED, forged
    if fatal is not None:
        return Ending.CRASHED, fatal.title
    if heard.why:
        return _ended_by_us(heard, account)
    if whole:
        return _whole(account, proven)
    return _left(heard, account, bad)


def _ended_by_us(heard: Heard, account: Account) -> tuple[Ending, str]:
    last = account.first("phase")
    during = f"in phase {account.all('phase')[-1]!r}" if last else "before its work began"
    if heard.why == "slow":
        return Ending.SLOW, f"not done after {heard.seconds:.0f} s, {during}"
    if heard.busy > BUSY:
        return Ending.SPUN, f"silent, with {heard.busy:.1f} processors busy, {during}"
    return Ending.HUNG, f"silent, with its processors idle, {during}"


def _whole(account: Account, proven: bool) -> tuple[Ending, str]:  # noqa: FBT001 - private
    deaf = records.deaf(account) + ([] if proven else ["console"])
    killed = [one for one in records.killed(account) if not one.endswith(f" {SIGKILL}")]
    if killed:
        kind, _, number = killed[0].rpartition(" ")
        return Ending.KILLED, f"a process of the workload ({kind}) died by signal {number}"
    if deaf:
        return Ending.DEAF, f"these sensors did not prove themselves: {', '.join(deaf)}"
    return Ending.DONE, ""


def _left(heard: Heard, account: Account, bad: tuple[ConsoleReport, ...]) -> tuple[Ending, str]:
    problem = account.first("problem")
    if heard.code == SETUP and problem is not None:
        return Ending.SETUP, problem[:200]
    if heard.code == STALL and (stall := account.first("stall")) is not None:
        return Ending.STALLED, f"no operation was finished for {_seconds(stall)} s"
    if heard.code is None and account.first("alive") is None and not heard.console:
        said = heard.errors.strip().splitlines()
        return Ending.BROKEN, f"QEMU ended with status {heard.status}: {(said or ['no word'])[0]}"
    if bad and heard.code is None:
        return Ending.CRASHED, bad[0].title
    how = f"code {heard.code:#x}" if heard.code is not None else f"status {heard.status}"
    return Ending.EARLY, f"the guest left with {how} before its account was whole"


def _seconds(milliseconds: str) -> str:
    return f"{int(milliseconds) / 1000:.0f}" if milliseconds.isdigit() else "?"
