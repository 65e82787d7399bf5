"""`python -m tests.faults.real [REVIEWS] [FAULTS] [SEED]`: the same with real jobs.

`stackhog watch` with its own broker and worker, on this machine, in one process tree; each series
changes pageout() of the kernel tree, is built and compared, and some are booted under stress in
QEMU. Killed are the bot, its worker, a slot of it, its broker, gcc and QEMU. With no faults it
measures the time from a mail's arrival to its reply. The baseline should be warm: `make demo`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bot.settings import load
from tests.faults.__main__ import Account
from tests.faults.links import HOST
from tests.faults.post import BOT, People
from tests.faults.world import MARK, Proc, below, marked
from tests.integration.smtpcut import Post

TREE, FILE = "debian-6.1", "mm/vmscan.c"
ANCHOR = "\tif (!is_page_cache_freeable(folio))\n\t\treturn PAGE_KEEP;\n\tif (!mapping) {\n"
LONGEST = 1800.0  # seconds of one review
BOOTED = 3  # every third series is booted as well
KINDS = ("bot", "worker", "slot", "broker", "gcc", "qemu")
WHO = {  # what a kind is known by: a word of its command line
    "worker": "worker", "broker": "valkey-server", "gcc": "cc1", "qemu": "qemu-system-x86_64",
}  # fmt: skip


@dataclass
class Lab:
    """A bot that runs by itself, and whoever writes to it."""

    home: Path
    post: Post
    mark: str = field(default_factory=lambda: f"{os.getpid()}-{time.monotonic_ns()}")

    def __post_init__(self) -> None:
        here = load()
        (self.home / "state" / "data").mkdir(parents=True)
        (self.home / "state" / "data" / "trees").symlink_to(here.data / "trees")
        (self.home / "state" / "cache").symlink_to(here.cache)
        self.people = People(self.home / "mail", self.home / "keys")
        (self.home / "bot.toml").write_text(
            f'address = "stackhog <{BOT}>"\ntree = "{TREE}"\ndkim_keys = "{self.home}/keys"\n'
            f'lore_url = "http://{HOST}:9/none"\nsending = "send"\nsmtp_host = "{HOST}"\n'
            f'smtp_port = {self.post.port}\nsmtp_tls = "none"\nseries_minutes = 0\n'
            "poll_seconds = 0.3\nretry_seconds = 1\nlost_seconds = 10\nqueued_seconds = 20\n"
            "job_losses = 50\njob_failures = 50\nlist_cap = 1000\nperson_cap = 1000\n"
        )
        self.env = {
            **os.environ, MARK: self.mark, "STACKHOG_HOME": str(self.home / "state"),
            "STACKHOG_CONFIG": str(self.home / "bot.toml"),
        }  # fmt: skip
        argv = [sys.executable, "-m", "bot", "-v", "watch", "--run", "asked"]
        self.bot = Proc(
            "bot", [*argv, f"maildir:{self.people.maildir}"], self.env, self.home / "log"
        )
        repository = here.data / "trees" / f"{TREE}.git"
        found = subprocess.run(
            ["git", "-C", repository, "show", f"HEAD:{FILE}"],  # noqa: S607 - git of this machine
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        self.before = found.stdout

    def diff(self, number: int) -> str:
        """Return a diff that gives pageout() a buffer, of another size for each number."""
        at = self.before.index(ANCHOR)
        line = self.before.count("\n", 0, at) + 1
        context = self.before[at:].splitlines()[:3]
        added = [f"\tchar note_{number}[{200 + number}];", "", f"\tbarrier_data(note_{number});"]
        body = "".join(f"+{one}\n" for one in added) + "".join(f" {one}\n" for one in context)
        return (
            f"diff --git a/{FILE} b/{FILE}\n--- a/{FILE}\n+++ b/{FILE}\n"
            f"@@ -{line},3 +{line},6 @@ static pageout_t pageout(struct folio *folio\n{body}"
        )

    def diff_of(self, number: int) -> str:
        """Return the diff of the one patch of a series."""
        return self.diff(number // 100)

    def pids(self, kind: str) -> list[int]:
        """Return the processes of a kind."""
        if kind == "bot":
            return [self.bot.running.pid] if self.bot.running else []
        slots = kind == "slot"
        word = WHO["worker" if slots else kind]
        found = [pid for pid in self._all() if word in _command(pid)]
        if kind in {"worker", "slot"}:
            below = [pid for pid in found if _parent(pid) in found]
            found = below if slots else [pid for pid in found if pid not in below]
        return found

    def _all(self) -> list[int]:
        # what runs in the sandbox has an environment of its own, without the mark
        return below(self.bot.running.pid) if self.bot.running else []

    def strike(self, kind: str, dice: random.Random) -> bool:
        """Kill a process of a kind; False: there is none."""
        found = self.pids(kind)
        if not found:
            return False
        with suppress(ProcessLookupError):
            os.kill(dice.choice(found), signal.SIGKILL)
            return True
        return False


def _command(pid: int) -> list[str]:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return [Path(words[0]).name, *words[1:]] if words else []
    return []


def _parent(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def leftovers(lab: Lab) -> list[str]:
    """Return what is left of the service after its end: processes, mounts, job directories."""
    found = [f"process {pid}: {' '.join(_command(pid))[:80]}" for pid in marked(lab.mark)]
    mounts = Path("/proc/mounts").read_text().splitlines()
    return found + [f"mount {line}" for line in mounts if str(load().cache / "builds") in line]


def go(
    lab: Lab, reviews: int, faults: int, seed: int
) -> tuple[Account, Counter[str], list[float], list[str]]:
    """Have one review made after another, faults in between."""
    dice, done, took = random.Random(seed), Counter[str](), []  # noqa: S311 - no secret
    plan = [KINDS[n % len(KINDS)] for n in range(faults)]
    dice.shuffle(plan)
    asked: list[str] = []
    began = time.monotonic()
    lab.bot.tend()
    time.sleep(3)
    for number in range(1, reviews + 1):
        sent, start = len(lab.post.mails), time.monotonic()
        command = "/test" if number % BOOTED == 1 else "/test build stack"
        asked.append(lab.people.send(seed * 1000 + number, lab.diff_of, 1, command))
        strike = start + dice.uniform(1, 20)
        share = -(-faults * number // reviews)
        while len(lab.post.mails) == sent and time.monotonic() - start < LONGEST:
            lab.bot.tend()
            if plan and time.monotonic() > strike and sum(done.values()) < share:
                kind = next((one for one in plan if lab.pids(one)), "")
                if kind and lab.strike(kind, dice):
                    plan.remove(kind)
                    done[kind] += 1
                strike = time.monotonic() + dice.uniform(2, 25)
            time.sleep(0.05)
        took.append(time.monotonic() - start)
        sys.stderr.write(f"review {number}: {took[-1]:.1f} s, {sum(done.values())} faults\n")
    time.sleep(3)
    mails = [raw for *_, raw in lab.post.mails]
    lab.bot.held = True
    lab.bot.kill()
    time.sleep(3)
    return Account(asked, mails, 0, time.monotonic() - began), done, took, leftovers(lab)


def main(words: Sequence[str]) -> int:
    """Run it, print what came of it; return the exit status."""
    reviews, faults, seed = [*map(int, words[:3]), *(12, 40, 1)[len(words) :]]
    home = Path(tempfile.mkdtemp(prefix="stackhog-real-"))
    with Post(hook=lambda _: None) as post:
        lab = Lab(home, post)
        account, done, took, left = go(lab, reviews, faults, seed)
    wrong = [*account.wrong(), *left]
    lines = [
        f"{reviews} reviews, {sum(done.values())} faults in {account.seconds:.0f} s, seed {seed}",
        *(f"  {kind:14} {done[kind]:4}" for kind in KINDS if done[kind]),
        f"replies: {len(account.sent)}",
        f"mail to reply: median {statistics.median(took):.1f} s, most {max(took):.1f} s",
        *(f"WRONG {one}" for one in wrong), f"logs: {home}",
    ]  # fmt: skip
    sys.stdout.write("\n".join(lines) + "\n")
    if not wrong:
        shutil.rmtree(home)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
