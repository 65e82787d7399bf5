"""Slots that take jobs by their turn, computed: what carrying would come to if it cost nothing.

The same rules as the service's: of the jobs that wait that of the lowest priority, of those the
kind that is nearer to a reply, of those the oldest.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from bot.contract import Queue
from tests.bench.service.traffic import Run

MAIL = "mail"
ORDER = (Queue.STACK, Queue.STRESS, Queue.BUILD)  # as the worker has it


@dataclass(frozen=True)
class Ended:
    """What came of a run; seconds."""

    run: Run
    at: float  # when its reply was there

    @property
    def latency(self) -> float:
        """Return the time from mail to reply."""
        return self.at - self.run.at


@dataclass(frozen=True)
class Busy:
    """Which slots worked, when; seconds."""

    spans: tuple[tuple[float, float], ...]

    def share(self, slots: int, until: float) -> float:
        """Return the share of a span of time in which a slot worked."""
        work = sum(max(min(end, until) - start, 0.0) for start, end in self.spans)
        return work / (slots * until)


def serve(runs: Sequence[Run], slots: int, cost: float = 0.0) -> tuple[list[Ended], Busy]:
    """Return what comes of runs; ``cost`` is what carrying a job takes, in seconds."""
    slot = _Slots(runs, slots, cost)
    while slot.step():
        pass
    return slot.ended, Busy(tuple(slot.spans))


class _Slots:
    """Slots, what is before them, and what happens when."""

    def __init__(self, runs: Sequence[Run], slots: int, cost: float) -> None:
        self._runs, self._free, self._cost = runs, slots, cost
        self._left = [1 + bool(one.stress) for one in runs]  # jobs after the build
        # when, what: mail that is seen, or a job that is over, and of which run
        self._events: list[tuple[float, Queue | str, int]] = []
        for which, one in enumerate(runs):
            heapq.heappush(self._events, (one.seen, MAIL, which))
        self._waiting: list[tuple[int, int, int, int]] = []  # priority, kind, number, run
        self._number = 0
        self.ended: list[Ended] = []
        self.spans: list[tuple[float, float]] = []

    def step(self) -> bool:
        """Let the next thing happen; False: there is nothing more."""
        if not self._events:
            return False
        now, what, which = heapq.heappop(self._events)
        if what == MAIL:
            self._want(which, Queue.BUILD)
        else:
            self._free += 1
            self._over(Queue(what), which, now)
        if not self._events or self._events[0][0] > now:  # all of this moment has happened
            self._begin(now)
        return True

    def _over(self, kind: Queue, which: int, now: float) -> None:
        if kind is Queue.BUILD:
            self._want(which, Queue.STACK)
            if self._runs[which].stress:
                self._want(which, Queue.STRESS)
            return
        self._left[which] -= 1
        if not self._left[which]:
            self.ended.append(Ended(self._runs[which], now))

    def _want(self, which: int, kind: Queue) -> None:
        self._number += 1
        turn = (self._runs[which].priority, ORDER.index(kind), self._number, which)
        heapq.heappush(self._waiting, turn)

    def _begin(self, now: float) -> None:
        while self._free and self._waiting:
            _, order, _, which = heapq.heappop(self._waiting)
            end = now + seconds(self._runs[which], ORDER[order])
            self._free -= 1
            self.spans.append((now, end))
            heapq.heappush(self._events, (end + self._cost, ORDER[order], which))


def seconds(run: Run, kind: Queue) -> float:
    """Return how long a job of a run takes."""
    return {Queue.BUILD: run.build, Queue.STACK: run.stack, Queue.STRESS: run.stress}[kind]
