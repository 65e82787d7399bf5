"""`python -m tests.bench.service.record [MBOX…]`: how long jobs take here, one at a time.

Each series is one that is made here, or a mailbox that is named, and goes through the service as
mail does: real trees, real builds, real boots, one worker with one slot. What the store then says
of each job is added to durations.jsonl, a line for each review. It holds times and counts, and
nothing of the mails. With STACKHOG_HOME a directory that has only trees, what a first build
takes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bot.contract import BuildResult, StressResult
from bot.service import watch
from bot.service.watch import Bot, Runs
from bot.settings import Settings
from bot.settings import load as load_settings
from bot.store import jobs, wishes
from bot.store.tables import JobRow, MailRow, NeedRow, RequestRow, SeriesRow
from bot.verbs import watching
from bot.verbs.wiring import worker_config
from tests.gitmail import Repo
from workers import trees
from workers.fleet import Fleet

INTO = Path(__file__).with_name("durations.jsonl")
POLL = 0.1  # seconds
FILES = (
    "mm/vmscan.c", "fs/ext4/inode.c", "mm/page-writeback.c", "fs/ext4/page-io.c", "mm/swap_state.c",
    "fs/buffer.c", "fs/ext4/extents.c", "mm/filemap.c", "block/bio.c", "fs/xfs/xfs_aops.c",
    "mm/memcontrol.c", "fs/fs-writeback.c", "fs/jbd2/transaction.c", "mm/page_io.c",
    "fs/ext4/mballoc.c", "mm/shmem.c", "fs/fat/inode.c", "mm/compaction.c", "fs/ext2/inode.c",
    "fs/iomap/buffered-io.c",
)  # fmt: skip
HEADERS = {"a header of some": "include/linux/backing-dev.h", "a header of all": "include/linux/mm.h"}  # noqa: E501 # fmt: skip
# what is said of it: the files that its patches touch, in turn
MADE: dict[str, tuple[str, ...]] = {
    "1 patch, mm": FILES[0:1], "1 patch, ext4": FILES[1:2], "1 patch, writeback": FILES[2:3],
    "1 patch, swap": FILES[4:5], "1 patch, block": FILES[8:9], "1 patch, xfs": FILES[9:10],
    "3 patches": FILES[0:3], "3 patches, others": FILES[10:13], "8 patches": FILES[0:8],
    "15 patches": FILES[0:15], "30 patches": (FILES * 2)[0:30],
    **{f"1 patch, {what}": (path,) for what, path in HEADERS.items()},
}  # fmt: skip


def addition(path: str, number: int) -> str:
    """Return what a patch adds to a file: a function that reclaim may get to, as scopes see it."""
    name = f"bench{os.getpid()}_{number}_writepage"
    if path.endswith(".h"):
        return f"\nstruct {name}s {{ int a; }};\nint {name}(struct {name}s *one);\n"
    return (
        f"\nint {name}(int *from);\nint {name}(int *from)\n{{\n"
        f"\tint near[{8 + number}], at, sum = 0;\n\n"
        f"\tfor (at = 0; at < {8 + number}; at++)\n\t\tnear[at] = READ_ONCE(from[at]) * {number};\n"
        f"\tfor (at = {7 + number}; at >= 0; at--)\n\t\tsum = sum * 31 + READ_ONCE(near[at]);\n"
        "\treturn sum;\n}\n"
    )


def text_of(path: str) -> str:
    """Return a file of the tree that is reviewed against."""
    config, name = worker_config(), load_settings().tree
    repo, head = trees.repository(config, name), trees.get(config, name).head
    words = ["git", "--git-dir", str(repo), "show", f"{head}:{path}"]
    return subprocess.run(words, check=True, capture_output=True).stdout.decode()


def made(name: str, top: Path) -> Path:
    """Write the mails of a series that is made here."""
    repo = Repo(top / "repo")
    paths = MADE[name]
    first = repo.commit("base", {path: text_of(path) for path in sorted(set(paths))})
    for number, path in enumerate(paths, 1):
        text = (repo.path / path).read_text()
        if path.endswith(".h"):
            head, _, tail = text.rpartition("#endif")
            repo.commit(f"{path}: change {number}", {path: f"{head}{addition(path, number)}\n#endif{tail}"})  # noqa: E501 # fmt: skip
        else:
            repo.commit(f"{path}: change {number}", {path: text + addition(path, number)})
    return repo.mbox(first, top / "mbox", *([] if len(paths) == 1 else ["--cover-letter"]))


def review(bot: Bot, fleet: Fleet, path: Path, settings: Settings) -> int:
    """Take a mailbox in and do all that it brings; return the number of the run."""
    os.utime(path, (0, 0))  # or its last mail would be waited for
    watch.read(bot, [watching.source(f"mbox:{path}", settings)])
    with bot.store.session() as session:
        lead = session.scalars(select(SeriesRow.lead)).one()
        wanted = wishes.waiting(session)
        number = wanted[0].id if wanted else wishes.want(session, lead, {"profiles": ["quick"]}, None, datetime.now(UTC))  # noqa: E501 # fmt: skip
    watch.think(bot)
    watch.keep_house(bot)
    while (change := watch.carry(bot)) or watch.busy(bot):
        watch.think(bot, change)
        if not fleet.alive():
            raise RuntimeError("the worker died")
        time.sleep(POLL)
    return number


def sample(bot: Bot, name: str, number: int) -> dict[str, Any]:
    """Return what the store says of a run."""
    with bot.store.session() as session:
        run = session.get_one(RequestRow, number)
        if run.state != "done" or run.ended is None:
            raise RuntimeError(f"{name}: {run.state} {run.reason}")
        rows = session.scalars(select(JobRow).join(NeedRow, NeedRow.job == JobRow.key))
        seconds = {r.kind: round((r.ended - r.started).total_seconds(), 1) for r in rows if r.ended and r.started}  # noqa: E501 # fmt: skip
        keys = {one.kind: one.key for one in jobs.needed(session, number)}
        built = BuildResult.model_validate_json(jobs.result(session, keys["build"]) or "")
        found: dict[str, Any] = {
            "series": name, "outcome": built.outcome, "baseline": built.baseline,
            "patches": [round(one.seconds, 1) for one in built.patches],
            "objects": [len(one.objects) for one in built.patches], "seconds": seconds,
        }  # fmt: skip
        if built.baseline == "miss":
            found["cold"] = round(seconds["build"] - sum(one.seconds for one in built.patches), 1)
        if "stress" in keys:
            boots = StressResult.model_validate_json(jobs.result(session, keys["stress"]) or "")
            found["stress"] = [
                {"profile": one.profile.name, "filesystem": one.filesystem, "kept": one.kept,
                 "base": len(one.base),
                 "boots": [round(b.seconds, 1) for b in (*one.base, *one.patched)]}
                for one in boots.runs
            ]  # fmt: skip
        mails = session.scalars(select(MailRow.received)).all()
        found["whole"] = round((run.ended - max(mails)).total_seconds(), 1)
    return found


def one(name: str, path: Path, home: Path) -> dict[str, Any]:
    """Record one review, with a store of its own."""
    settings = load_settings().model_copy(update={
        "store_url": f"sqlite:///{home}/store.db", "slots": 1, "series_minutes": 0.0,
        "lore_url": "http://127.0.0.1:9/none", "lore_fallbacks": (),
    })  # fmt: skip
    with Fleet(None, 1, home / "worker.log") as fleet:
        bot = watching.bot_of(settings, fleet.url, Runs.ALL, threading.Event())
        number = review(bot, fleet, path, settings)
        return {**sample(bot, name, number), "load": round(os.getloadavg()[0], 1)}


def wanted(words: Sequence[str], top: Path) -> Iterator[tuple[str, Path]]:
    """Yield what is to be recorded, and its mails."""
    for number, word in enumerate(words or MADE):
        if word in MADE:
            yield word, made(word, top / str(number))
        else:
            yield "a mailbox", Path(shutil.copy(word, top))


def main(words: Sequence[str]) -> None:
    """Record what is named, or all that is made here."""
    for number, (name, path) in enumerate(wanted(words, Path(tempfile.mkdtemp()))):
        with tempfile.TemporaryDirectory() as home:
            found = one(name, path, Path(home))
        line = json.dumps(found)
        with INTO.open("a", encoding="utf-8") as into:
            into.write(line + "\n")
        sys.stdout.write(f"{number} {line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
