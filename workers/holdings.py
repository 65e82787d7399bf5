"""What lies in the cache directory: how large it is, when it was used, what it cannot do without.

The sizes of whole trees are remembered in a file, because they do not change and walking 78,000
files takes a second. When something was used last is the time of its directory or file, which
whoever uses it sets: disks are mounted without times of access.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from workers.config import WorkerConfig
from workers.watch import written

KEY = re.compile(r"[0-9a-f]{24}")  # of disk images and of kept results
GONE = ".gone-"  # begins the name of what is being deleted
MAKING = 3600.0  # seconds; what has no name of its own yet gets one sooner
TICK = 2_000_000_000  # nanoseconds; a directory that changed less ago may change unseen


class Kind(StrEnum):
    """What can be evicted."""

    SOURCE = "source tree"
    BASELINE = "baseline"
    ARTIFACT = "artifact"
    IMAGES = "disk image"
    KEPT = "kept result"


@dataclass(frozen=True)
class Holding:
    """One thing that can be made again."""

    kind: Kind
    path: Path
    size: int  # bytes on disk
    used: float  # when it was used last, seconds since the epoch
    needs: tuple[Path, ...] = ()  # what it is worthless without

    @property
    def lock(self) -> Path:
        """The lock that users share; artifacts have none."""
        return self.path.with_name(f"{self.path.name.removesuffix('.json')}.lock")


class Ledger(BaseModel):
    """What is remembered from one look to the next."""

    model_config = ConfigDict(extra="ignore")

    used: int = 0  # bytes of all that can be evicted
    over: int = 0  # bytes that were too many, and could not be evicted
    sizes: dict[str, tuple[int, int]] = {}  # path → what tells it from a later one, bytes


class _Needs(BaseModel):
    """What a baseline's manifest says of what lies below it."""

    model_config = ConfigDict(extra="ignore")

    parent: str | None
    source: str = ""  # manifests of old say nothing


def read(worker: WorkerConfig) -> Ledger:
    """Return what was found by the last look; nothing, where there was none."""
    try:
        return Ledger.model_validate_json(_file(worker).read_bytes())
    except (OSError, ValidationError):
        return Ledger()


def write(worker: WorkerConfig, ledger: Ledger) -> None:
    """Remember it; for who has the lock alone that `budget` takes."""
    fresh = worker.cache / ".sizes.json"
    fresh.write_text(ledger.model_dump_json())
    fresh.replace(_file(worker))


def _file(worker: WorkerConfig) -> Path:
    return worker.cache / "sizes.json"


class Look:
    """One look at all there is."""

    def __init__(self, worker: WorkerConfig) -> None:
        self._worker, self._known = worker, read(worker).sizes
        self.sizes: dict[str, tuple[int, int]] = {}
        self.large = (*self._sources(), *self._baselines(), *self._of_stress())
        self.used = sum(one.size for one in self.large) + self._artifact_bytes()

    def artifacts(self) -> Iterator[Holding]:
        """Yield each artifact; there are many, and only an eviction needs to know them."""
        for shelf in _entries(self._worker.artifacts):
            for one in _entries(shelf):
                with suppress(OSError):
                    found = one.stat(follow_symlinks=False)
                    yield Holding(
                        Kind.ARTIFACT, Path(one.path), found.st_blocks * 512, found.st_mtime
                    )

    def _sources(self) -> Iterator[Holding]:
        for one in _entries(self._worker.baselines / "src"):
            if one.is_dir(follow_symlinks=False) and not one.name.startswith("."):
                yield self._tree(Kind.SOURCE, one, ())

    def _baselines(self) -> Iterator[Holding]:
        for one in _entries(self._worker.baselines / "obj"):
            if one.is_dir(follow_symlinks=False) and not one.name.startswith("."):
                yield self._tree(Kind.BASELINE, one, needs(self._worker, Path(one.path)))

    def _tree(self, kind: Kind, one: os.DirEntry[str], below: tuple[Path, ...]) -> Holding:
        path, found = Path(one.path), one.stat(follow_symlinks=False)
        finished = kind is Kind.SOURCE or (path / "manifest.json").exists()
        size = self._size(path, found.st_ino if finished else None, lambda: written(path)[0])
        return Holding(kind, path, size, found.st_mtime if finished else 0, below)

    def _of_stress(self) -> Iterator[Holding]:
        for one in _entries(self._worker.stress):
            path = Path(one.path)
            with suppress(OSError):
                found = one.stat(follow_symlinks=False)
                if KEY.fullmatch(one.name):
                    yield Holding(Kind.IMAGES, path, written(path)[0], found.st_mtime)
                elif one.name.endswith(".json") and KEY.fullmatch(path.stem):
                    yield Holding(Kind.KEPT, path, found.st_blocks * 512, found.st_mtime)

    def _artifact_bytes(self) -> int:
        total = 0
        for shelf in _entries(self._worker.artifacts):
            found = shelf.stat(follow_symlinks=False)
            settled = abs(time.time_ns() - found.st_mtime_ns) > TICK
            path, mark = Path(shelf.path), found.st_mtime_ns if settled else None
            total += self._size(path, mark, lambda path=path: written(path)[0])  # type: ignore[misc]
        return total

    def _size(self, path: Path, mark: int | None, measure: Callable[[], int]) -> int:
        """Return the size that is remembered under the same mark, else measure; None: no mark."""
        name = str(path.relative_to(self._worker.cache))
        known = self._known.get(name)
        size = known[1] if known and known[0] == mark else measure()
        if mark is not None:
            self.sizes[name] = (mark, size)
        return size


def needs(worker: WorkerConfig, baseline: Path) -> tuple[Path, ...]:
    """Return what a baseline is built on: its source, and another baseline where it is derived.

    One that does not say which source it is of needs all of them.
    """
    try:
        said = _Needs.model_validate_json((baseline / "manifest.json").read_bytes())
    except (OSError, ValidationError):
        return ()  # not finished
    sources = worker.baselines / "src"
    named = [sources / said.source] if said.source else [Path(p.path) for p in _entries(sources)]
    return (*named, *([baseline.with_name(said.parent)] if said.parent else []))


def needed(worker: WorkerConfig, path: Path) -> bool:
    """Whether there is a baseline that is worthless without ``path``."""
    return any(path in needs(worker, Path(one.path)) for one in _entries(worker.baselines / "obj"))


def leftovers(worker: WorkerConfig) -> Iterator[Path]:
    """Yield what was left by processes that were killed while they made or deleted something."""
    for directory in (worker.baselines / "src", worker.baselines / "obj", worker.stress):
        for one in _entries(directory):
            if one.name.startswith(GONE):
                yield Path(one.path)
            elif one.name.startswith("."):
                with suppress(OSError):
                    age = time.time() - one.stat(follow_symlinks=False).st_mtime
                    yield from [Path(one.path)] if age > MAKING else []


def _entries(directory: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """Return what lies in a directory, in order; nothing where it is none."""
    try:
        with os.scandir(directory) as found:
            return sorted(found, key=lambda one: one.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
