"""How long things took since this process began, and never less than was said before.

As with any histogram, Prometheus takes a lower value for a process that began anew, and counts
all of it once more. All of history would cost seconds to count, and be lower after a job was
done once more: its old time is then gone from the store. So it is counted from the start of this
process on. A look counts what ended in the last hour or two, and adds it to what is settled:
times are taken before they are written, so that what is a little older may still come.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from bot.store import durations
from bot.store.database import Store
from bot.store.durations import NONE, Spread, Spreads

LATE = timedelta(hours=1)


class Ledger:
    """Times since ``start``; may be asked by several threads."""

    def __init__(self, store: Store, start: datetime) -> None:
        self._store, self._lock = store, threading.Lock()
        self._mark = start
        self._settled: Spreads = {}  # what ended between start and mark
        self._said: Spreads = {}

    def read(self, now: datetime) -> Spreads:
        """Return all times. Raises StoreError."""
        with self._lock, self._store.reading() as session:
            mark = now - LATE
            if self._mark > now:  # the clock was set back: what ends now is not before the mark
                self._settled, self._mark = self._said, now
            elif mark - self._mark > LATE:
                more = durations.spreads(session, self._mark, mark)
                self._settled, self._mark = _joined(self._settled, more), mark
            fresh = durations.spreads(session, self._mark)
            self._said = _highest(self._said, _joined(self._settled, fresh))
            return self._said


def _joined(one: Spreads, other: Spreads) -> Spreads:
    return {key: one.get(key, NONE) + other.get(key, NONE) for key in {**one, **other}}


def _highest(one: Spreads, other: Spreads) -> Spreads:
    return {key: _higher(one.get(key, NONE), other.get(key, NONE)) for key in {**one, **other}}


def _higher(one: Spread, other: Spread) -> Spread:
    pairs = zip(one.counts, other.counts, strict=True)
    return Spread(tuple(map(max, pairs)), max(one.seconds, other.seconds))
