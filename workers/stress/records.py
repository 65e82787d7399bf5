"""What the guest told on its own channel, read as what it is: bytes of a stranger.

A record is a line ``NONCE NUMBER NAME VALUE``. The nonce is made anew for each boot, the
numbers count up from 1: what carries another nonce, or a number out of order, was not
written by the guest's program. A kernel that reads the nonce out of its guest's memory could
forge all the same (docs/decisions/0013).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bot.contract import DirectWrite, StackSeen, Verified
from policies.stress import Metric

LINE = re.compile(
    r"(?P<nonce>[0-9a-f]{16,64}) (?P<number>\d{1,9}) (?P<name>[a-z-]{1,24})(?: (?P<value>.*))?"
)
NUMBER = re.compile(r"-?\d{1,18}")
COUNTER = re.compile(r"(\w{1,60}) (\d{1,18})")
PRESSURE = re.compile(r"(some|full) .*total=(\d{1,18})")
ENTRY = re.compile(
    r"\{ common_pid: (?P<task>.{1,40}?)\s*\[\s*\d+\], "
    r"reclaim_flags:\s+(?P<flags>\d{1,9}), stacktrace:"
)
HITS = re.compile(r"\} hitcount:\s+(\d{1,18})")
DROPPED = re.compile(r"\s*Dropped: (\d{1,18})")
FRAME = re.compile(r"([\w.$]{1,63})\+([0-9a-f]{1,15}) (\d{1,7})")
WB_FILE = 2  # RECLAIM_WB_FILE, include/trace/events/vmscan.h
MOST_STACKS = 256
PROOFS = ("warn", "hist", "tracer", "pressure")


@dataclass(frozen=True)
class Write:
    """Folios that reclaim gave to ->writepage from one place: by whom, of which kind."""

    task: str
    is_file: bool
    count: int
    stack: tuple[str, ...]

    @property
    def by_kswapd(self) -> bool:
        """Whether the background reclaimer wrote: its threads start in kswapd()."""
        return "kswapd" in self.stack and self.task.startswith("kswapd")


@dataclass(frozen=True)
class Account:
    """All that a guest told, in order, as far as it was whole."""

    records: tuple[tuple[str, str], ...]  # (name, value)
    forged: str = ""  # what shows that somebody else wrote, empty: nothing
    cut: bool = False  # ends within a line

    def first(self, name: str) -> str | None:
        """Return the value of the first record of a name."""
        return next((value for key, value in self.records if key == name), None)

    def all(self, name: str) -> list[str]:
        """Return the values of all records of a name."""
        return [value for key, value in self.records if key == name]


def parse(text: str, nonce: str) -> Account:
    """Read a guest's records; never raises."""
    *lines, rest = text.split("\n")
    records: list[tuple[str, str]] = []
    forged = ""
    for line in lines:
        found = LINE.fullmatch(line.rstrip("\r"))
        if found is None or found["nonce"] != nonce:
            forged = forged or f"a line without the nonce of this boot: {line[:60]!r}"
        elif int(found["number"]) != len(records) + 1:
            forged = forged or f"record {found['number']} where {len(records) + 1} was due"
        else:
            records.append((found["name"], found["value"] or ""))
    return Account(tuple(records), forged, cut=bool(rest))


def deaf(account: Account) -> list[str]:
    """Return the sensors that did not prove themselves to the guest, by name."""
    proven = {}
    for value in account.all("proof"):
        name, _, number = value.partition(" ")
        proven[name] = NUMBER.fullmatch(number) is not None and int(number) > 0
    found = [name for name in PROOFS if not proven.get(name)]
    if account.first("phase") is not None and "hist" not in found and not _hist_agrees(account):
        found.append("hist")
    return found


def _hist_agrees(account: Account) -> bool:
    """Whether the histogram holds as many writes as /proc/vmstat counted, none dropped.

    The counter is read before and after the histogram is stopped: pageout() counts
    NR_VMSCAN_WRITE right behind the tracepoint (mm/vmscan.c).
    """
    marks = [int(value) for value in account.all("writes") if NUMBER.fullmatch(value)]
    if len(marks) != 2 or not account.all("write"):  # noqa: PLR2004 - before and after
        return account.first("end") is None  # not reached yet
    before = _counters(account, "before").get("nr_vmscan_write", 0)
    dropped = [int(m[1]) for m in map(DROPPED.fullmatch, account.all("write")) if m]
    total = sum(write.count for write in writes(account))
    return dropped == [0] and marks[0] - before <= total <= marks[1] - before


def writes(account: Account) -> tuple[Write, ...]:
    """Return what the histogram of mm_vmscan_write_folio holds."""
    found: list[Write] = []
    entry, stack = None, list[str]()
    for line in account.all("write"):
        if begins := ENTRY.match(line):
            entry, stack = begins, []
        elif entry and (ends := HITS.match(line)):
            flags = int(entry["flags"])
            found.append(Write(entry["task"], bool(flags & WB_FILE), int(ends[1]), tuple(stack)))
            entry = None
        elif entry:
            stack.append(line.strip().partition("+")[0])
    return tuple(found)


def direct_writes(account: Account) -> tuple[DirectWrite, ...]:
    """Return the writes of file folios by anybody but kswapd, the most first."""
    counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for one in writes(account):
        if one.is_file and not one.by_kswapd:
            counts[one.task, one.stack] += one.count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(DirectWrite(task=t, count=n, stack=s) for (t, s), n in ordered)


def stacks(account: Account) -> tuple[StackSeen, ...]:
    """Return the different stacks below pageout(), the deepest first."""
    found = []
    for value in account.all("stack")[:MOST_STACKS]:
        depth, _, text = value.partition(" ")
        frames = tuple(
            (name, int(offset, 16), int(size)) for name, offset, size in FRAME.findall(text)
        )
        if NUMBER.fullmatch(depth) and frames and sum(size for _, _, size in frames) == int(depth):
            found.append(StackSeen(depth=int(depth), frames=frames))
    return tuple(sorted(found, key=lambda one: (-one.depth, one.frames)))


def _counters(account: Account, when: str) -> dict[str, int]:
    found: dict[str, int] = {}
    now = ""
    for name, value in account.records:
        if name == "counters":
            now = value
        elif now == when:
            found.update(_counter(name, value))
    return found


def _counter(name: str, value: str) -> Iterator[tuple[str, int]]:
    if name == "vmstat" and (one := COUNTER.fullmatch(value)):
        yield one[1], int(one[2])
    elif name in {"memory-stat", "memory-events"} and (one := COUNTER.fullmatch(value)):
        yield f"{name.replace('-', '.')}.{one[1]}", int(one[2])
    elif name in {"memory-pressure", "io-pressure"} and (one := PRESSURE.fullmatch(value)):
        yield f"{name.replace('-', '.')}.{one[1]}_us", int(one[2])


def counters(account: Account) -> dict[str, int]:
    """Return what each counter moved by during the work; empty when it did not end."""
    before, after = _counters(account, "before"), _counters(account, "after")
    return {name: after[name] - before.get(name, 0) for name in sorted(after)}


def operations(account: Account) -> int:
    """Return the operations that the works finished, all together."""
    return sum(done for _, done, _ in _worked(account))


def lost_reads(account: Account) -> int:
    """Return how often a process read something else than it had written, while it worked."""
    return sum(wrong for kind, _, wrong in _worked(account) if kind in {"anonymous", "read"})


def _worked(account: Account) -> Iterator[tuple[str, int, int]]:
    for value in account.all("worked"):
        words = value.split()
        if len(words) == 4 and all(map(NUMBER.fullmatch, words[2:])):  # noqa: PLR2004
            yield words[1], int(words[2]), int(words[3])


def verified(account: Account) -> tuple[Verified, ...]:
    """Return the comparison of each disk."""
    shown: dict[str, list[str]] = {}
    for value in account.all("bad-page"):
        disk, _, rest = value.partition(" ")
        shown.setdefault(disk, []).append(rest)
    found = []
    for value in account.all("verified"):
        words = value.split()
        if len(words) == 5 and all(map(NUMBER.fullmatch, words[2:])):  # noqa: PLR2004
            pages, bad, unread = map(int, words[2:])
            found.append(
                Verified(
                    filesystem=words[1], pages=pages, bad=bad, unread=unread,
                    shown=tuple(shown.get(words[0], ())),
                )
            )  # fmt: skip
    return tuple(found)


def metrics(account: Account) -> dict[Metric, int]:
    """Return what the run reached, by the names that profiles ask for."""
    moved, written = counters(account), writes(account)
    by_kswapd = (one.count for one in written if one.is_file and one.by_kswapd)
    return {
        Metric.KSWAPD_FILE_WRITES: sum(by_kswapd),
        Metric.SWAP_WRITES: sum(one.count for one in written if not one.is_file),
        Metric.DIRECT_RECLAIMS: _sum(moved, "allocstall_"),
        Metric.CGROUP_RECLAIMS: moved.get("memory.events.max", 0),
        Metric.FILE_SCANNED: moved.get("pgscan_file", 0),
        Metric.PAGES_VERIFIED: sum(one.pages for one in verified(account)),
        Metric.STACKS_SEEN: sum(stack.writes_pages for stack in stacks(account)),
    }


def _sum(moved: dict[str, int], prefix: str) -> int:
    return sum(value for name, value in moved.items() if name.startswith(prefix))


def killed(account: Account) -> Iterable[str]:
    """Return the processes that ended by a signal, "KIND SIGNAL" each."""
    return account.all("killed")
