"""`python -m tests.faults [REVIEWS] [FAULTS] [SEED] [KIND…]`: break things, see what came of it.

Each review is a series and a signed /test; it has to end with one reply, sent exactly once to a
real SMTP server. Jobs take a moment and build nothing; all else is real: PostgreSQL, Redis,
Celery, the bot. What a person would do is done as docs/operators.md says: a mail that is
`uncertain` and not in the archive is approved again.
"""

from __future__ import annotations

import json
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.world import World, marked
from tests.gitmail import MINIATURE
from tests.integration.smtpcut import ids

LONGEST = 600.0  # seconds after the last fault until all must have ended
FILES = "mm/vmscan.c"
EVERY = (0.4, 2.5)  # seconds between two faults


@dataclass
class Trouble:
    """What is broken for a while, and how it is mended."""

    mend: Callable[[], None]
    until: float


@dataclass
class Breaker:
    """Breaks things at random moments, and counts."""

    world: World
    dice: random.Random
    done: Counter[str] = field(default_factory=Counter)
    open: list[Trouble] = field(default_factory=list)

    def mend(self, *, everything: bool = False) -> None:
        """Mend what was broken for long enough."""
        now = time.monotonic()
        for one in [one for one in self.open if everything or one.until <= now]:
            one.mend()
            self.open.remove(one)

    def strike(self, kind: str) -> bool:
        """Break one thing; False: it was not there to be broken."""
        struck = bool(getattr(self, f"_{kind}")())
        self.done[kind] += struck
        return struck

    def _for_a_while(self, mend: Callable[[], None], most: float) -> bool:
        self.open.append(Trouble(mend, time.monotonic() + self.dice.uniform(0.3, most)))
        return True

    def _bot(self) -> bool:
        return self.world.procs["bot"].kill()

    def _worker(self) -> bool:
        return self.world.procs[self.dice.choice(["worker1", "worker2"])].kill()

    def _slot(self) -> bool:
        slots = self.world.slots_of(self.dice.choice(["worker1", "worker2"]))
        if not slots:
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(_pidfd(self.dice.choice(slots)), signal.SIGKILL)
        return True

    def _broker(self) -> bool:
        return self.world.procs["broker"].kill()

    def _broker_empty(self) -> bool:
        broker = self.world.procs["broker"]
        killed = broker.kill()
        if broker.running is not None:
            broker.running.wait(10)
        for path in sorted(self.world.redis.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        return killed

    def _database(self) -> bool:
        return self.world.kill_database()

    def _disk(self) -> bool:
        """Fill the disk of broker and database."""
        heap = self.world.disk / "heap"
        with suppress(OSError), heap.open("wb") as file:
            while True:
                file.write(b"\0" * (1 << 20))
        return self._for_a_while(lambda: heap.unlink(missing_ok=True), 4)

    def _set_clock(self, offset: str) -> None:
        self.world.clock.write_text(f"{offset}\n")

    def _clock(self) -> bool:
        jump = self.dice.choice([-86400, -3600, -60, 60, 3600, 86400, 3 * 86400])
        self._set_clock(f"{jump:+d}")
        return self._for_a_while(lambda: self._set_clock("+0"), 5)

    def _cut(self) -> bool:
        link = self.dice.choice([one for _, one in sorted(self.world.links.items())])
        link.cut()
        return self._for_a_while(link.heal, 6)

    def _silence(self) -> bool:
        link = self.dice.choice([one for _, one in sorted(self.world.links.items())])
        link.silence()
        return self._for_a_while(link.heal, 12)

    def _pause(self) -> bool:
        proc = self.world.procs[self.dice.choice(["bot", "worker1", "worker2", "broker"])]

        def go_on() -> None:
            proc.kill(signal.SIGCONT)

        return proc.kill(signal.SIGSTOP) and self._for_a_while(go_on, 15)


def _pidfd(pid: int) -> int:
    import os  # noqa: PLC0415 - for this alone

    return os.pidfd_open(pid)


KINDS = (
    "bot", "worker", "slot", "broker", "broker_empty", "database", "disk", "clock", "cut",
    "silence", "pause",
)  # fmt: skip


def diff(number: int) -> str:
    """Return a diff of the tree's vmscan.c, another one for each number."""
    first = (MINIATURE / FILES).read_text().splitlines()[:3]
    kept = "".join(f" {line}\n" for line in first)
    return (
        f"diff --git a/{FILES} b/{FILES}\n--- a/{FILES}\n+++ b/{FILES}\n"
        f"@@ -1,3 +1,4 @@\n{kept}+int change_{number};\n"
    )


@dataclass
class Account:
    """What came of it."""

    asked: list[str]
    sent: list[bytes]
    approved: int
    seconds: float

    def wrong(self) -> list[str]:
        """Return what is not as it has to be."""
        parents = [re.search(rb"(?im)^In-Reply-To:\s+<(.+?)>", raw) for raw in self.sent]
        answers = Counter(one[1].decode() for one in parents if one)
        odd = [raw for raw in self.sent if b"stack: pageout() grows by" not in raw]
        found = [f"{len(odd)} replies do not say what was found"] if odd else []
        found += [f"{one}: {answers[one]} replies" for one in self.asked if answers[one] != 1]
        found += [f"{one}: nobody asked" for one in sorted(set(answers) - set(self.asked))]
        names = Counter(ids([("", [], raw) for raw in self.sent]))
        return found + [f"{one} was sent {n} times" for one, n in sorted(names.items()) if n > 1]


def ask(world: World, number: int, patches: int = 1) -> str:
    """Send a series and ask for a run; return the question's Message-ID."""
    return world.people.send(number, diff, patches, "/test build stack")


def echo(world: World, seen: int) -> int:
    """Let the list's archive give back what was sent since; return how much was."""
    for _, _, raw in world.post.mails[seen:]:
        world.people.deliver(raw.replace(b"\r\n", b"\n"))
    return len(world.post.mails)


def operate(world: World) -> int:
    """Do what an operator does about mails of which nobody knows; return how many it were."""
    said = world.run("outbox", "list", "--json")
    if said.returncode != 0:
        return 0
    arrived = set(ids(world.post.mails))
    count = 0
    for one in json.loads(said.stdout):
        if one["state"] in {"uncertain", "failed"} and one["message_id"] not in arrived:
            count += world.run("outbox", "approve", str(one["id"]), "--again").returncode == 0
    return count


def go(home: Path, reviews: int, faults: int, seed: int, kinds: Sequence[str]) -> tuple[Account, Counter[str], list[int]]:  # noqa: E501 # fmt: skip
    """Have so many reviews made under so many faults; return what came of it, and what is left."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    with World(home) as world:
        breaker = Breaker(world, dice)
        world.tend()
        began, seen, approved = time.monotonic(), 0, 0
        asked: list[str] = []
        plan = [kinds[n % len(kinds)] for n in range(faults)]
        dice.shuffle(plan)
        per = max(1, faults // reviews)
        looked = strike = time.monotonic()
        end = 0.0
        while True:
            world.tend()
            breaker.mend(everything=not plan)
            now = time.monotonic()
            if plan and now >= strike:
                if breaker.strike(plan[-1]):
                    plan.pop()
                    if len(asked) < reviews and (faults - len(plan)) % per == 0:
                        asked.append(ask(world, len(asked) + 1, dice.choice([1, 1, 2, 3])))
                strike = now + dice.uniform(*EVERY)
            if not plan:
                while len(asked) < reviews:
                    asked.append(ask(world, len(asked) + 1))
                end = end or now + LONGEST
            seen = echo(world, seen)
            if not plan and now - looked > 5:
                looked = now
                approved += operate(world)
                account = Account(
                    asked, [raw for *_, raw in world.post.mails], approved, now - began
                )
                if not account.wrong() or now > end:
                    break
            time.sleep(0.1)
        time.sleep(3)  # a second copy would come now
        account = Account(asked, [raw for *_, raw in world.post.mails], approved, now - began)
        mark = world.mark
    time.sleep(1)
    return account, breaker.done, marked(mark)


def main(words: Sequence[str]) -> int:
    """Run it, print the table; return the exit status."""
    reviews, faults, seed = [*map(int, words[:3]), *(100, 330, 1)[len(words) :]]
    home = Path(tempfile.mkdtemp(prefix="stackhog-faults-"))
    home.chmod(0o755)  # the database is somebody else
    account, done, left = go(home, reviews, faults, seed, words[3:] or KINDS)
    wrong = [*account.wrong(), *(f"process {pid} is left" for pid in left)]
    lines = [
        f"{reviews} reviews, {sum(done.values())} faults in {account.seconds:.0f} s, seed {seed}",
        *(f"  {kind:14} {done[kind]:4}" for kind in KINDS if done[kind]),
        f"replies: {len(account.sent)}, approved by hand: {account.approved}",
        *(f"WRONG {one}" for one in wrong), f"logs: {home}",
    ]  # fmt: skip
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
