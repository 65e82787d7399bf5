"""Keeps the cache directory within its budget: what was used longest ago goes first.

Nothing goes that a running job uses (its lock is held), nor what something else is built on that
still lies there. `docs/decisions/0024-storage.md` says why it is done so.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from bot.contract import OursError
from workers import holdings, watch
from workers.config import WorkerConfig
from workers.holdings import GONE, Holding, Kind, Ledger, Look
from workers.layers import discard
from workers.locks import alone

LOG = logging.getLogger(__name__)
FREE = 2 << 30  # bytes of the file system that are kept free, budget or not
SHARE = 20  # …but of a small one no more than this part
REST = 3600.0  # seconds; an artifact that was used so lately is what the next job of a review reads


@dataclass(frozen=True)
class Evicted:
    """What one sweep did."""

    counts: tuple[tuple[Kind, int], ...] = ()  # how many of each kind were deleted
    freed: int = 0  # bytes that they took
    used: int = 0  # bytes that are left
    over: int = 0  # bytes that should have gone too, but are in use

    def __str__(self) -> str:
        what = ", ".join(f"{number} {kind}{'s' * (number > 1)}" for kind, number in self.counts)
        return f"evicted {what or 'nothing'} ({_mib(self.freed)}), {_mib(self.used)} are kept"


def room(worker: WorkerConfig) -> Evicted:
    """Evict what there is too much of, and log it; a disk that fails does not end the job."""
    before = holdings.read(worker).over
    try:
        found = enforce(worker)
    except (OSError, OursError) as error:
        LOG.warning("nothing could be evicted from %s: %s", worker.cache, error)
        return Evicted()
    if found.counts:
        LOG.warning("%s: %s", worker.cache, found)
    if found.over and not before:
        LOG.warning(
            "%s holds %s too much, all of which is in use: raise disk_budget, or free some space",
            worker.cache, _mib(found.over),
        )  # fmt: skip
    return found


def used(worker: WorkerConfig) -> int:
    """Return the bytes below the cache directory at the last sweep, without running builds."""
    return holdings.read(worker).used


def floor(worker: WorkerConfig) -> int:
    """Return the bytes of the file system that are to be kept free."""
    return min(FREE, watch.size(worker.cache) // SHARE)


def enforce(worker: WorkerConfig) -> Evicted:
    """Evict until the budget is kept and the file system has some room; by one process at a time.

    Raises OSError, OursError.
    """
    worker.cache.mkdir(parents=True, exist_ok=True)
    with alone(worker.cache / "sizes.lock") as mine:
        return _Sweep(worker).run() if mine else Evicted(used=used(worker))


@dataclass
class _Sweep:
    """One sweep; the only one on this machine meanwhile."""

    worker: WorkerConfig
    evicted: Counter[Kind] = field(default_factory=Counter)
    freed: int = 0

    def run(self) -> Evicted:
        for path in holdings.leftovers(self.worker):
            discard(path)
        look = Look(self.worker)
        if self._over(look):
            self._evict(look)
        over = max(0, self._over(look))
        left = look.used - self.freed
        holdings.write(self.worker, Ledger(used=left, over=over, sizes=look.sizes))
        return Evicted(tuple(sorted(self.evicted.items())), self.freed, left, over)

    def _over(self, look: Look) -> int:
        """Return how many bytes are too many, 0 or less: none."""
        free = floor(self.worker) - watch.free(self.worker.cache)
        more = look.used - self.freed - self.worker.disk_budget if self.worker.disk_budget else 0
        return max(free, more, 0)

    def _evict(self, look: Look) -> None:
        for one in in_order((*look.large, *_rested(look.artifacts()))):
            if not self._over(look):
                return
            if self._drop(one):
                self.evicted[one.kind] += 1
                self.freed += one.size

    def _drop(self, one: Holding) -> bool:
        """Delete something unless it is used, or was since it was looked at."""
        if one.kind is Kind.ARTIFACT:
            return _unused(one) and _unlinked(one.path)
        with alone(one.lock) as mine:
            if not mine or not _unused(one):
                return False
            if one.kind in {Kind.SOURCE, Kind.BASELINE} and holdings.needed(self.worker, one.path):
                return False
            gone = one.path.with_name(f"{GONE}{uuid4().hex}")
            one.path.rename(gone)  # at once: nothing is ever seen half deleted
            one.lock.unlink(missing_ok=True)
        discard(gone)
        return True


def in_order(found: Iterable[Holding]) -> Iterator[Holding]:
    """Yield what can go in the order in which it goes; what is built on something, before it."""
    every = tuple(found)
    by_path = {one.path: one for one in every}
    last, depth = {one.path: one.used for one in every}, dict.fromkeys(by_path, 0)

    def use(path: Path, when: float, at: int) -> None:
        if path in last:
            last[path], depth[path] = max(last[path], when), max(depth[path], at)
            for below in by_path[path].needs:
                use(below, last[path], at + 1)

    for one in every:
        if one.needs:
            use(one.path, one.used, 0)
    yield from sorted(every, key=lambda one: (last[one.path], depth[one.path], str(one.path)))


def _rested(artifacts: Iterable[Holding]) -> Iterator[Holding]:
    """Yield those of no review that is under way; a time to come says nothing."""
    now = time.time()
    return (one for one in artifacts if not 0 <= now - one.used < REST)


def _unused(one: Holding) -> bool:
    with suppress(OSError):
        return one.used in {0, one.path.stat().st_mtime}
    return False


def _unlinked(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _mib(number: int) -> str:
    return f"{number / (1 << 20):.1f} MiB"
