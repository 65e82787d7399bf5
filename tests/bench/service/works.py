"""A store, a broker, a worker with stub jobs, and what carries jobs between them: all are real."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from sqlalchemy import select

from bot.contract import BuildRequest, KernelConfig, PatchText, Queue
from bot.review import jobs as reviewing
from bot.review import plan
from bot.review.carrier import Carrier
from bot.service.carrying import Carriage
from bot.settings import Settings
from bot.store import jobs, wishes
from bot.store.database import Store
from bot.store.jobs import New, State
from bot.store.tables import JobRow
from bot.verbs.watching import limits
from policies import kernels
from tests.bench.service import stub
from tests.letters import DIFF, NOON
from workers import broker

READY = 60.0  # seconds until a worker takes jobs
SETTINGS = Settings()  # type: ignore[call-arg] # pydantic-settings fills the fields


def kernel() -> KernelConfig:
    """Return the configuration that requests carry: the default one, with all its options."""
    return plan.kernel(kernels.load("default"))


def like(patches: int, config: KernelConfig) -> BuildRequest:
    """Return what a build of so many small patches is requested with."""
    texts = tuple(
        PatchText(
            index=at, message_id=f"{at}@example.org", subject="one", author_name="Jane Doe",
            author_email="jane@example.org", date=NOON,
            message="Why it is so.\n", diff=DIFF.encode() * 3,
        )
        for at in range(1, patches + 1)
    )  # fmt: skip
    return BuildRequest(
        tree="t", base="", config=config, patches=texts, limits=plan.limits(SETTINGS)
    )


@dataclass(frozen=True)
class Wanted:
    """A job as a run wants it."""

    kind: Queue
    number: int
    seconds: float
    priority: int = 5
    run: int = 0  # as the store numbers it; 0: one is made

    @property
    def key(self) -> str:
        """Return the key, unlike that of any other."""
        return f"{self.number:08x}{self.kind:0>56}"


class Works:
    """Everything between a job that is wanted and its result."""

    def __init__(self, slots: int, url: str = "", in_flight: int = SETTINGS.in_flight) -> None:
        """``url`` is the store's; default: a file of its own."""
        self._slots, self._url, self._in_flight = slots, url, in_flight
        self._like = like(1, kernel())

    def __enter__(self) -> Self:
        with ExitStack() as kept:
            self.home = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="stackhog-")))
            server = broker.start(self.home / "broker")
            kept.callback(_end, server)
            self.broker_url = broker.url(self.home / "broker")
            self.store = Store(self._url or f"sqlite:///{self.home}/store.db")
            kept.callback(self.store.close)
            kept.callback(_end, self._worker())
            self.carrier = Carrier(self.broker_url)
            kept.callback(self.carrier.close)
            told = limits(SETTINGS.model_copy(update={"in_flight": self._in_flight}))
            self.carriage = Carriage(self.store, self.carrier, told)
            self._wait()
            self._kept = kept.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def _worker(self) -> subprocess.Popen[bytes]:
        words = [
            sys.executable, "-m", "tests.bench.service.stub", "worker", "--slots", str(self._slots),
            "--queues", "build,stack,stress",
        ]  # fmt: skip
        env = {
            **os.environ, "STACKHOG_HOME": str(self.home), "STACKHOG_BROKER_URL": self.broker_url,
        }  # fmt: skip
        with (self.home / "worker.log").open("wb") as log:
            return subprocess.Popen(words, env=env, stdout=log, stderr=log)

    def _wait(self) -> None:
        end = time.monotonic() + READY
        while not self.carrier.workers():
            if time.monotonic() > end:
                raise TimeoutError((self.home / "worker.log").read_text())
            time.sleep(0.1)

    def want(self, some: Sequence[Wanted]) -> None:
        """Have jobs made, as planning does."""
        now = datetime.now(UTC)
        with self.store.session() as session:
            for one in some:
                run = one.run or begin(session, f"{one.number}@example.org", one.priority, now)
                text = stub.request(one.kind, one.number, one.seconds, self._like)
                new = New(one.key, one.kind, text, reviewing.STACK_SECONDS)
                jobs.want(session, new, run, one.priority, now)

    def busy(self, until: float) -> float:
        """Return how many slots worked on average, from the first job on for so many seconds."""
        rows = select(JobRow.started, JobRow.ended).where(JobRow.started.is_not(None))
        with self.store.reading() as session:
            found = [(a.timestamp(), b.timestamp()) for a, b in session.execute(rows) if a and b]
        first = min(start for start, _ in found)
        spans = ((start - first, end - first) for start, end in found)
        return sum(max(min(end, until) - start, 0.0) for start, end in spans) / until

    def ended(self, keys: Collection[str]) -> dict[str, tuple[datetime, datetime]]:
        """Return when jobs were made, and done."""
        rows = select(JobRow.key, JobRow.created, JobRow.ended).where(JobRow.state == State.DONE)
        with self.store.reading() as session:
            found = session.execute(rows)
            return {key: (began, ended) for key, began, ended in found if key in keys and ended}


def begin(session: jobs.Session, series: str, priority: int, now: datetime) -> int:
    """Return the number of a run that is planned."""
    number = wishes.want(session, series, {}, None, now)
    wishes.planned(session, number, "{}", priority, now)
    return number


def _end(running: subprocess.Popen[bytes]) -> None:
    running.kill()
    running.wait()
