"""What moves, as server-sent events: each part of a page is made once, however many read it.

A *topic* is a part of a page. While somebody reads it, it is made anew every second where the
store has changed, and sent to all who read it if it is another one than before. Nobody reads:
nothing is asked of the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from bot.store.database import StoreError

LOG = logging.getLogger(__name__)
EVERY = 1.0  # seconds between two looks
WAITING = 4  # events that a slow reader is behind before it gets the last one alone
READERS = 500  # of all topics; above, a page is as still as without JavaScript


class FullError(Exception):
    """There are too many readers."""


@dataclass
class _Topic:
    make: Callable[[], str]
    queues: set[asyncio.Queue[str]] = field(default_factory=set)
    last: str = ""
    task: asyncio.Task[None] | None = None


class Hub:
    """Sends parts of pages to those who read them; all of it in one event loop."""

    def __init__(self, every: float = EVERY) -> None:
        self._topics: dict[str, _Topic] = {}
        self._every = every

    @property
    def readers(self) -> int:
        """How many read."""
        return sum(len(one.queues) for one in self._topics.values())

    @property
    def is_full(self) -> bool:
        """Whether nobody else may read."""
        return self.readers >= READERS

    async def read(self, name: str, make: Callable[[], str]) -> AsyncIterator[str]:
        """Yield a part of a page as it is now, and whenever it is another one."""
        if self.is_full:
            raise FullError
        queue: asyncio.Queue[str] = asyncio.Queue(WAITING)
        topic = self._topics.setdefault(name, _Topic(make))
        topic.queues.add(queue)
        if topic.last:
            queue.put_nowait(topic.last)
        if topic.task is None:
            topic.task = asyncio.create_task(self._look(topic))
        try:
            while True:
                yield await queue.get()
        finally:
            topic.queues.discard(queue)
            if not topic.queues:
                self._topics.pop(name, None)
                if topic.task is not None:
                    topic.task.cancel()

    async def _look(self, topic: _Topic) -> None:
        while True:
            with suppress(StoreError):  # the page says so by itself
                made = await asyncio.to_thread(topic.make)
                if made != topic.last:
                    topic.last = made
                    for queue in sorted(topic.queues, key=id):
                        _put(queue, made)
            await asyncio.sleep(self._every)


def _put(queue: asyncio.Queue[str], made: str) -> None:
    """Leave out what a slow reader did not get to: the last one has all of it."""
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
    queue.put_nowait(made)
