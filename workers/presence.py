"""A worker says that it lives, and what it can do (`bot.contract.wire.Presence`).

A thread of the main process writes a key that runs out by itself. It goes on while the broker is
away, and does not touch what runs.
"""

from __future__ import annotations

import logging
import platform
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Protocol

from bot.contract.wire import PRESENT, PRESENT_LOST, Presence, presence_key
from workers.abilities import Machine

LOG = logging.getLogger(__name__)


class Redis(Protocol):
    """What is needed of a Redis client."""

    def set(self, name: str, value: str, ex: int) -> object: ...  # noqa: D102
    def delete(self, name: str) -> object: ...  # noqa: D102


@dataclass(frozen=True)
class About:
    """What does not change while a worker runs, but for its queues and its end."""

    name: str
    slots: int
    queues: tuple[str, ...]
    machine: Machine
    cache: Path
    compiler: str = ""
    accelerator: str = ""  # "kvm" or "tcg"
    disk_budget: int = 0  # bytes
    draining: bool = False
    used: Callable[[], int] = field(default=lambda: 0)  # bytes below ``cache``

    def presence(self) -> Presence:
        """Return what is true now."""
        return Presence(
            name=self.name, host=platform.node(), slots=self.slots, queues=self.queues,
            cores=self.machine.cores, memory=self.machine.memory,
            disk_free=shutil.disk_usage(self.cache).free, disk_used=self.used(),
            disk_budget=self.disk_budget, accelerator=self.accelerator,
            version=metadata.version("stackhog"), compiler=self.compiler, draining=self.draining,
        )  # fmt: skip


class Announcer:
    """Writes a worker's presence every few seconds, and at once when it changes."""

    def __init__(
        self,
        redis: Redis,
        about: About,
        look: Callable[[About], About] = lambda about: about,
        every: float = PRESENT.total_seconds(),
    ) -> None:
        """``look`` is asked before each writing what has changed; ``every`` is in seconds."""
        self._redis, self._about, self._look, self._every = redis, about, look, every
        self._now, self._ended = threading.Event(), False
        self._away = False
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def drain(self) -> None:
        """Say from now on that no new job is taken; may be called by a signal handler."""
        self._about = replace(self._about, draining=True)
        self._now.set()

    def leave(self) -> None:
        """Write no more, and take the key away."""
        self._ended = True
        self._now.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1)
        with suppress(Exception):  # it runs out by itself
            self._redis.delete(presence_key(self._about.name))

    def _run(self) -> None:
        while not self._ended:
            self._now.clear()
            try:
                self._write()
            except Exception as error:  # noqa: BLE001 - whatever the client raises: it goes on
                if not self._away:
                    LOG.warning("the broker does not hear that this worker lives: %s", error)
                self._away = True
            self._now.wait(self._every)

    def _write(self) -> None:
        self._about = replace(self._look(self._about), draining=self._about.draining)
        lasts = int(PRESENT_LOST.total_seconds())
        text = self._about.presence().model_dump_json()
        self._redis.set(presence_key(self._about.name), text, ex=lasts)
        if self._away:
            LOG.warning("the broker hears again that this worker lives")
        self._away = False
