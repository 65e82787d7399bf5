"""The bot, running: what is done how often, and what wakes what."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

from bot.contract import wire
from bot.mail.following import Source
from bot.review.carrier import BrokerAwayError
from bot.service import watch
from bot.service.carrying import Change
from bot.service.loops import Part, Parts
from bot.service.watch import Bot

LOG = logging.getLogger(__name__)
SOON = 0.01  # seconds between two looks at the broker while there is news
IDLE = 2.0  # the same without, and between two looks at the outbox
HEARD = 1.0  # seconds for which news is listened for; a stop waits for it
JUMP = 20.0  # seconds by which a clock that is set differs from one that is corrected
ALL = 60.0  # seconds between two looks at all runs, whatever changed


class Running:
    """All parts of the bot, with what they tell one another."""

    def __init__(
        self,
        bot: Bot,
        sources: Sequence[Source],
        pause: Callable[[], None],
        stop: threading.Event,
        roles: Sequence[str] = ("watch",),
    ) -> None:
        self._bot, self._sources, self._pause, self._stop = bot, sources, pause, stop
        self.name = f"{platform.node()}:{os.getpid()}"
        self._facts: dict[str, object] = {
            "host": platform.node(), "pid": os.getpid(), "roles": list(roles),
            "version": version("stackhog"), "broker": False,
        }  # fmt: skip
        self._lock = threading.Lock()
        self._change = Change()
        self._looked = self._kept = float("-inf")
        self._offset: float | None = None  # of the clock from the monotonic one
        self._mail = Part("mail", self._read)
        self._thinking = Part("runs", self._think)
        self._carrying = Part("jobs", self._carry)
        self._sending = Part("outbox", self._send)
        parts = [self._thinking, self._carrying, Part("news", self._listen), self._sending]
        self.parts = Parts([*([self._mail] if sources else []), *parts], stop)

    def _read(self) -> float:
        found = watch.read(self._bot, self._sources)
        self._facts["unread"] = list(found.broken)
        self._thinking.wake()
        self._sending.wake()
        if not found.new:
            self._pause()
        return 0.0

    def _think(self) -> float:
        with self._lock:
            change, self._change = self._change, Change()
        everything = time.monotonic() - self._looked > ALL
        if everything:
            self._looked = time.monotonic()
        moved = watch.think(self._bot, None if everything else change)
        if everything and change.early:
            moved += watch.think(self._bot, change)
        if moved or change:
            self._carrying.wake()
            self._sending.wake()
        return IDLE

    def _look_at_clock(self) -> None:
        """Try what is put off when the clock was set back: it may be far off."""
        offset = time.time() - time.monotonic()
        if self._offset is not None and abs(offset - self._offset) > JUMP:
            LOG.warning("the clock was set by %+.0f seconds", offset - self._offset)
        if self._offset is not None and offset < self._offset - JUMP:
            watch.hasten(self._bot)
        self._offset = offset

    def _carry(self) -> float:
        self._look_at_clock()
        if time.monotonic() - self._kept > wire.PRESENT.total_seconds():
            self._facts["broker"] = False
            try:
                watch.keep_house(self._bot)
                self._facts["broker"] = True
                self._kept = time.monotonic()
            finally:
                watch.live(self._bot, self.name, self._facts)
        change = watch.carry(self._bot)
        if change:
            with self._lock:
                self._change.keys |= change.keys
                self._change.early |= change.early
            if change.keys or change.early:
                self._thinking.wake()
        return SOON if change else IDLE

    def _listen(self) -> float:
        """Have results taken as soon as they are there; without a broker they are looked for."""
        try:
            news = watch.listen(self._bot, HEARD)
        except BrokerAwayError:  # the jobs' own part says so
            return IDLE
        if news:
            self._carrying.wake()
        return SOON

    def _send(self) -> float:
        watch.send(self._bot)
        return IDLE
