"""How fast mail is read, filtered, parsed and assembled, and how much memory that takes.

The mail is that of tests/bench/mails.py, the repositories are kept below the cache. All times
are CPU seconds of one process. liblore reads the same mails in the same run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from liblore.series import summarize_message
from liblore.utils import parse_message

from bot.mail import kinds, message, sources
from bot.mail.patchtext import patch_texts
from bot.mail.series import sort_out
from bot.settings import load as load_settings
from tests.bench import mails

Say = Callable[[str, float, float, str], None]
FEW, MANY = 20_000, 100_000  # mails of the two repositories
MONTH = 600
READ, PARSED = 2000, 600  # mails a second: what is promised
WHOLE = 50_000  # mails that have to run through, damaged ones among them
BATCH = 5000  # of them, which are put together
RUNS = 3
# prints the most memory that is not a mapped file, in KiB; what git maps can be given back
CHILD = """
import re, sys
from itertools import islice
from pathlib import Path
from bot.mail import kinds, message, sources
most = 0
for number, raw in enumerate(islice(sources.messages(Path(sys.argv[1])), int(sys.argv[2]))):
    if kinds.sort(raw).may_belong:
        message.parse(raw)
    if number % 500 == 0:
        status = Path("/proc/self/status").read_text()
        most = max(most, int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]))
print(most)
"""


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _patches(raws: Sequence[bytes]) -> list[bytes]:
    return [raw for raw in raws if kinds.sort(raw).kind is kinds.Kind.PATCH]


def _filtered(path: Path) -> list[bytes]:
    """Return the mails of an archive that may belong to a series."""
    return [raw for raw in sources.messages(path) if kinds.sort(raw).may_belong]


def _in_full(raws: Sequence[bytes]) -> int:
    """Parse and assemble; return how many patches a worker would get."""
    found = sort_out(message.parse(raw) for raw in raws)
    return sum(len(patch_texts(one)) for one in found.series)


def _reading(say: Say, path: Path) -> None:
    seconds = statistics.median(_seconds(lambda: _filtered(path)) for _ in range(RUNS))
    rate = FEW / seconds
    say(f"mail read and filtered, seconds for {READ:,}", READ / rate, 1.0, f"{rate:,.0f} a second")


def _parsing(say: Say, path: Path) -> None:
    """Time patch mails against liblore, alternately."""
    raws = _patches(list(islice(sources.messages(path), FEW // 4)))
    # liblore raises on some damaged mails; it is given those that it can read
    readable = [raw for raw in raws if _liblore_reads(raw)]
    works: dict[str, Callable[[], object]] = {
        "full": lambda: _in_full(readable),
        "parse": lambda: [message.parse(raw) for raw in readable],
        "lore parse": lambda: [parse_message(raw) for raw in readable],
        "lore": lambda: [summarize_message(parse_message(raw)) for raw in readable],
    }
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(RUNS):
        for name, work in works.items():
            taken[name].append(_seconds(work))
    rates = {name: len(readable) / statistics.median(some) for name, some in taken.items()}
    detail = ", ".join(f"{name} {rate:,.0f} a second" for name, rate in rates.items())
    seconds = PARSED / rates["full"]
    say(f"patch mail parsed and assembled in full, seconds for {PARSED}", seconds, 1.0, detail)
    say("patch mail in full to liblore's summarize_message, ratio", rates["lore"] / rates["full"],
        1.0, f"liblore raises on {len(raws) - len(readable)} of {len(raws)}")  # fmt: skip


def _liblore_reads(raw: bytes) -> bool:
    try:
        summarize_message(parse_message(raw))
    except Exception:  # noqa: BLE001 - whatever it is, it is counted
        return False
    return True


def _month(say: Say) -> None:
    raws = list(mails.mails(MONTH))
    seconds = _seconds(lambda: _in_full([raw for raw in raws if kinds.sort(raw).may_belong]))
    say(f"a month of a list, {MONTH} mails, seconds", seconds, 2.0, "")


def _through(say: Say, path: Path) -> None:
    """Run an archive through to its end; an exception ends the bench."""
    began = time.process_time()
    stream = sources.messages(path)
    left, patches = WHOLE, 0
    while left > 0:  # some months at a time, as they come in
        raws = list(islice(stream, BATCH))
        patches += _in_full([raw for raw in raws if kinds.sort(raw).may_belong])
        left -= len(raws)
    say(f"{WHOLE:,} mails read, parsed, assembled, seconds", time.process_time() - began,
        WHOLE / PARSED, f"{patches:,} patches, no exception")  # fmt: skip


def _memory(say: Say, path: Path) -> None:
    most = {}
    for count in (FEW, MANY):
        words = [sys.executable, "-c", CHILD, str(path), str(count)]
        most[count] = int(subprocess.run(words, check=True, capture_output=True).stdout)
    say(f"memory for {MANY:,} mails to that for {FEW:,}, ratio", most[MANY] / most[FEW], 1.1,
        f"{most[MANY] / 1024:.0f} and {most[FEW] / 1024:.0f} MiB")  # fmt: skip


def run(say: Say) -> None:
    """Measure the mail path."""
    room = load_settings().cache / "bench"
    few = mails.make(room / f"mails-{FEW}.git", FEW)
    many = mails.make(room / f"mails-{MANY}.git", MANY)
    _reading(say, few)
    _parsing(say, few)
    _month(say)
    _through(say, many)
    _memory(say, many)
