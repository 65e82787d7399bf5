"""A worker's main process: it starts the slots, says that it lives, and tidies up after them."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from celery import Celery
from celery.exceptions import SecurityWarning
from celery.signals import worker_ready

from bot.contract import wire
from workers import abilities, budget, cgroup, layers, results
from workers.app import make_app
from workers.config import WorkerConfig
from workers.presence import About, Announcer
from workers.stop import Stopping

LOG = logging.getLogger(__name__)
SWEEP_SECONDS = 60.0
AGAIN_SECONDS = 2.0  # what was killed a moment ago is not gone at the first look


@dataclass(frozen=True)
class Wanted:
    """What a worker is told; what is empty or 0 is found out here."""

    broker: str  # URL, with the password
    ca: Path | None = None  # of a broker with TLS
    queues: tuple[str, ...] = ()
    slots: int = 0
    name: str | None = None
    build_memory: int = 6 << 30  # bytes that one build may take
    disk_budget: int = 0  # bytes
    anyway: bool = False  # serve what cannot be done too: there is no other worker


def run(config: WorkerConfig, wanted: Wanted) -> int:
    """Run jobs until a signal ends it; return the exit status.

    Raises UnableError, NothingToServeError, BadBrokerError.
    """
    about = describe(config, wanted)
    app = make_app(wanted.broker, config, wanted.ca, about.name)
    reach(app, wanted.broker)
    tidy(config)
    added = _Adding(config, wanted.queues)
    announcer = Announcer(app.backend.client, about, added)
    stopping = Stopping(config, announcer.drain)
    stopping.listen(announcer.leave)
    worker_ready.connect(lambda **_: announcer.start(), weak=False)
    logging.getLogger("celery.backends.base").addFilter(results.brief)
    try:
        with _now_and_then(lambda: tidy(config)):
            return _work(app, about)
    finally:
        announcer.leave()


def describe(config: WorkerConfig, wanted: Wanted) -> About:
    """Return what a worker will say of itself."""
    config.cache.mkdir(parents=True, exist_ok=True)
    name = abilities.name_of(wanted.name)
    machine = abilities.measure()
    slots = wanted.slots or abilities.slots(machine, wanted.build_memory)
    queues = abilities.queues(config, wanted.queues, anyway=wanted.anyway)
    return About(
        name, slots, queues, machine, config.cache,
        abilities.compiler(), _accelerator(config), wanted.disk_budget,
        used=lambda: budget.used(config),
    )  # fmt: skip


def reach(app: Celery, url: str) -> None:
    """Say a word to the broker. Raises BadBrokerError with the sentence that says what is wrong."""
    try:
        app.backend.client.ping()
    except Exception as error:
        raise wire.BadBrokerError(wire.unreachable(url, error)) from error


def tidy(config: WorkerConfig) -> bool:
    """Take away what killed jobs left, on disk and in control groups, and what is too much.

    Returns whether nothing that was killed is still dying.
    """
    layers.sweep(config.builds)
    gone = cgroup.sweep()
    budget.room(config)
    return gone


def _accelerator(config: WorkerConfig) -> str:
    return "kvm" if abilities.has_kvm(config) else "tcg"


class _Adding:
    """Serves the queue of KVM as soon as a guest has booted with it."""

    def __init__(self, config: WorkerConfig, wanted: tuple[str, ...]) -> None:
        self._config, self._wanted = config, wanted
        self._add: Callable[[], object] = lambda: None
        worker_ready.connect(self._ready, weak=False)

    def _ready(self, sender: object, **_: object) -> None:
        consumer = sender
        # in the thread of the event loop, which is the only one that may
        self._add = lambda: consumer.call_soon(consumer.add_task_queue, wire.KVM)  # type: ignore[attr-defined] # celery ships no types

    def __call__(self, about: About) -> About:
        allowed = not self._wanted or wire.KVM in self._wanted
        if wire.KVM in about.queues or not allowed or not abilities.has_kvm(self._config):
            return about
        LOG.warning("a guest has booted with KVM: the queue %s is served too", wire.KVM)
        self._add()
        return replace(about, queues=(*about.queues, wire.KVM), accelerator="kvm")


@contextmanager
def _now_and_then(what: Callable[[], bool]) -> Iterator[None]:
    """Do something every minute, in a thread; a slot that is killed leaves things behind.

    It is done soon again after the start, and where it says that not all was done.
    """
    ended = threading.Event()

    def often() -> None:
        done = False
        while not ended.wait(SWEEP_SECONDS if done else AGAIN_SECONDS):
            done = True
            with suppress(Exception):  # the next time, then
                done = what()

    threading.Thread(target=often, name="tidy", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _work(app: Celery, about: About) -> int:
    # root only makes the sandboxes: no job runs as root
    warnings.simplefilter("ignore", SecurityWarning)
    worker = app.Worker(
        hostname=about.name, pool_cls="prefork", concurrency=about.slots, loglevel="WARNING",
        queues=list(about.queues), optimization="fair", quiet=True, without_gossip=True,
        without_mingle=True, without_heartbeat=True,
    )  # fmt: skip
    worker.start()
    return int(worker.exitcode or 0)
