"""Which bots and workers live, by what the bot wrote into the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bot.contract import Queue, wire
from bot.store.parts import Part

LATELY = timedelta(seconds=60)  # they say every 10 seconds that they live
QUEUES = (*(queue.value for queue in Queue), wire.KVM)


@dataclass(frozen=True)
class Worker:
    """A worker as it described itself: bot/contract/wire.py Presence."""

    name: str
    host: str
    slots: int
    queues: tuple[str, ...]
    draining: bool
    disk_free: int  # bytes
    disk_used: int  # bytes
    disk_budget: int  # bytes; 0: none
    accelerator: str
    version: str
    seen: datetime


@dataclass(frozen=True)
class Bot:
    """A bot as it described itself: bot/service/running.py."""

    name: str
    since: datetime
    seen: datetime
    broker: bool  # whether it reached the broker when it looked last
    version: str
    unread: tuple[str, ...]  # sources that could not be read the last time


@dataclass(frozen=True)
class Living:
    """Who lives; ``last`` is the bot that was seen last, alive or not."""

    last: Bot | None
    bots: tuple[Bot, ...]
    workers: tuple[Worker, ...]

    def slots(self) -> Mapping[str, int]:
        """Return how many jobs can run at a time by queue; draining workers take none."""
        found = dict.fromkeys(QUEUES, 0)
        for one in self.workers:
            for queue in () if one.draining else one.queues:
                found[queue] = found.get(queue, 0) + one.slots
        return found


def living(parts: Sequence[Part], now: datetime) -> Living:
    """Return who lives, by name; ``parts`` hold the last bot, however long ago it was seen."""
    bots = sorted((one for one in parts if one.kind == "bot"), key=lambda one: (one.seen, one.name))
    alive = [one for one in parts if now - one.seen <= LATELY]
    return Living(
        _bot(bots[-1]) if bots else None,
        tuple(_bot(one) for one in alive if one.kind == "bot"),
        tuple(_worker(one) for one in alive if one.kind == "worker"),
    )


def _bot(part: Part) -> Bot:
    facts = part.facts
    return Bot(
        part.name, part.since, part.seen, bool(facts.get("broker")),
        str(facts.get("version", "")), _words(facts, "unread"),
    )  # fmt: skip


def _worker(part: Part) -> Worker:
    facts = part.facts
    return Worker(
        name=part.name, host=str(facts.get("host", "")), slots=_number(facts, "slots"),
        queues=_words(facts, "queues"), draining=bool(facts.get("draining")),
        disk_free=_number(facts, "disk_free"), disk_used=_number(facts, "disk_used"),
        disk_budget=_number(facts, "disk_budget"),
        accelerator=str(facts.get("accelerator", "")), version=str(facts.get("version", "")),
        seen=part.seen,
    )  # fmt: skip


def _number(facts: Mapping[str, Any], name: str) -> int:
    value = facts.get(name)
    return value if isinstance(value, int) else 0


def _words(facts: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = facts.get(name)
    return tuple(map(str, value)) if isinstance(value, list) else ()
