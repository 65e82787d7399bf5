"""The bot's parts, each in a thread of its own, so that none waits for another one's server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bot.errors import StackhogError

LOG = logging.getLogger(__name__)
AFTER_ERROR = 2.0  # seconds until a part that failed by our fault, or a server's, goes on
AFTER_BUG = 15.0


@dataclass
class Part:
    """Something that is done again and again; ``step`` returns the seconds until the next time."""

    name: str
    step: Callable[[], float]
    awake: threading.Event = field(default_factory=threading.Event)
    said: str = ""  # the last error, so that an outage is logged once

    def wake(self) -> None:
        """Let the next step begin now."""
        self.awake.set()


class Parts:
    """Parts that run until they are stopped."""

    def __init__(self, parts: Sequence[Part], stop: threading.Event) -> None:
        self._parts, self._stop = tuple(parts), stop
        self._threads = [
            threading.Thread(target=self._run, args=(one,), name=one.name) for one in self._parts
        ]

    def start(self) -> None:
        """Start all of them."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Let all look at once, to see that they are to stop."""
        for part in self._parts:
            part.wake()

    def join(self) -> None:
        """Wait until all have stopped; each ends its step first."""
        self.wake()
        for thread in self._threads:
            while thread.is_alive():
                self.wake()
                thread.join(0.5)

    def alive(self) -> bool:
        """Whether all of them run."""
        return all(thread.is_alive() for thread in self._threads)

    def _run(self, part: Part) -> None:
        while not self._stop.is_set():
            part.awake.clear()
            pause = self._step(part)
            if not self._stop.is_set():
                part.awake.wait(pause)

    def _step(self, part: Part) -> float:
        try:
            pause = part.step()
        except StackhogError as error:
            if str(error) != part.said:
                LOG.warning("%s: %s", part.name, error)
            part.said = str(error)
            return AFTER_ERROR
        except Exception:  # a thread that ends is noticed by nobody
            LOG.exception("%s", part.name)
            return AFTER_BUG
        if part.said:
            LOG.warning("%s: goes on", part.name)
        part.said = ""
        return pause
