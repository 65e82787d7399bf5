"""A broker and its workers in this process: what is sent is answered when the test says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from bot.contract import Progress, Queue
from bot.contract.wire import Presence
from bot.review.carrier import BrokerAwayError, Seen

Answer = Callable[[Queue, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Sent:
    """A task as it was sent."""

    kind: Queue
    queue: str
    task: str
    request: dict[str, Any]
    seconds: float
    priority: int


@dataclass
class Desk:
    """Queues, and what is known of each task."""

    answer: Answer
    sent: list[Sent] = field(default_factory=list)  # all there ever were
    waiting: list[Sent] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)
    alive: dict[str, str] = field(default_factory=dict)  # task → worker
    voided: set[str] = field(default_factory=set)
    unacked: dict[str, str] = field(default_factory=dict)  # tag → task
    present: tuple[Presence, ...] = ()
    mark: str = "first"
    away: bool = False
    most: int = 10**9  # tasks that are taken before the broker goes away

    def _here(self) -> None:
        if self.away:
            raise BrokerAwayError("the broker does not answer as it should: it is away")

    def epoch(self) -> str:
        self._here()
        return self.mark

    def send(
        self, kind: Queue, queue: str, task: str, request: str, seconds: float, priority: int
    ) -> None:
        if len(self.sent) >= self.most:
            self.away = True
        self._here()
        one = Sent(kind, queue, task, json.loads(request), seconds, priority)
        self.sent.append(one)
        self.waiting.append(one)

    def look(self, tasks: Collection[str]) -> dict[str, Seen]:
        self._here()
        return {one: self.seen[one] for one in tasks if one in self.seen}

    def beats(self, tasks: Collection[str]) -> dict[str, str]:
        self._here()
        return {one: self.alive[one] for one in tasks if one in self.alive}

    def held(self) -> frozenset[str]:
        self._here()
        return frozenset(one.task for one in self.waiting) | frozenset(self.alive)

    def handed(self) -> dict[str, str]:
        self._here()
        return dict(self.unacked)

    def drop(self, tags: Collection[str]) -> None:
        self._here()
        for tag in tags:
            del self.unacked[tag]

    def void(self, tasks: Collection[str]) -> None:
        self._here()
        self.voided |= set(tasks)

    def listen(self, seconds: float) -> bool:  # noqa: ARG002 - nobody waits here
        self._here()
        return bool(self.seen)

    def forget(self, tasks: Collection[str]) -> None:
        self._here()
        for one in tasks:
            self.seen.pop(one, None)

    def workers(self) -> tuple[Presence, ...]:
        self._here()
        return self.present

    def begin(self, worker: str = "w") -> Sent:
        """Let a worker take the next task."""
        self.waiting.sort(key=lambda one: one.priority)
        one = self.waiting.pop(0)
        self.alive[one.task] = worker
        self.seen[one.task] = Seen(worker=worker)
        return one

    def tell(self, one: Sent, progress: Progress) -> None:
        """Let a task say how far it is."""
        self.seen[one.task] = Seen(progress=progress)

    def end(self, one: Sent, result: dict[str, Any] | None = None) -> None:
        """Let a task answer."""
        self.alive.pop(one.task, None)
        found = self.answer(one.kind, one.request) if result is None else result
        self.seen[one.task] = Seen(result=found)

    def work(self) -> int:
        """Let workers answer all that waits; return how many."""
        count = 0
        while self.waiting:
            self.end(self.begin())
            count += 1
        return count

    def die(self, one: Sent) -> None:
        """Let the worker of a task die."""
        self.alive.pop(one.task, None)

    def restart_empty(self) -> None:
        """Lose everything."""
        self.waiting.clear()
        self.seen.clear()
        self.alive.clear()
        self.mark += "+"
