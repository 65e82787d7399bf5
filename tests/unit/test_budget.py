"""What is evicted from the cache directory, in which order, and what never is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from workers import budget, holdings, watch
from workers.artifacts import Artifacts
from workers.config import WorkerConfig
from workers.holdings import Kind
from workers.locks import alone, shared

ROOT = Path(__file__).parents[2]
KIB = 1 << 10
DAY = 86400


class Cache:
    """A cache directory with small things in it, each used so many days ago."""

    def __init__(self, root: Path) -> None:
        self.worker = WorkerConfig(root / "data", root / "cache")
        self.artifacts = Artifacts(self.worker.artifacts)

    def source(self, name: str, days: float = 0, kib: int = 100) -> Path:
        path = self.worker.baselines / "src" / name
        self._fill(path / "mm", kib)
        return self._used(path, days)

    def baseline(self, name: str, source: str, days: float = 0, parent: str | None = None) -> Path:
        path = self.worker.baselines / "obj" / name
        self._fill(path / "tree", 100)
        (path / "log").touch()
        (path / "manifest.json").write_text(json.dumps({"parent": parent, "source": source}))
        return self._used(path, days)

    def images(self, name: str, days: float) -> Path:
        path = self.worker.stress / (name * 24)
        self._fill(path, 100)
        return self._used(path, days)

    def kept(self, name: str, days: float) -> Path:
        path = self.worker.stress / f"{name * 24}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100 * KIB)
        return self._used(path, days)

    def artifact(self, number: int, days: float) -> Path:
        path = self.artifacts.path(self.artifacts.put(bytes([number]) * 100 * KIB))
        return self._used(path, days)

    def enforce(self, kib: int) -> budget.Evicted:
        return budget.enforce(replace(self.worker, disk_budget=kib * KIB))

    @staticmethod
    def _fill(path: Path, kib: int) -> None:
        path.mkdir(parents=True)
        (path / "data").write_bytes(b"x" * kib * KIB)

    @staticmethod
    def _used(path: Path, days: float) -> Path:
        when = time.time() - days * DAY
        os.utime(path, (when, when))
        return path


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


@contextmanager
def user(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """Run another process that uses something until it is killed."""
    code = (
        "import sys, time; from pathlib import Path; from workers.locks import shared\n"
        "with shared(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as found:
        assert found.stdout is not None
        assert found.stdout.readline() == "held\n"
        yield found
        found.kill()


def test_what_was_used_longest_ago_goes_first_of_whatever_kind(cache: Cache) -> None:
    things = [
        cache.images("a", 9), cache.artifact(1, 8), cache.source("s", 7), cache.kept("b", 6),
        cache.artifact(2, 5), cache.images("c", 4),
    ]  # fmt: skip
    for left in range(5, -1, -1):
        cache.enforce(left * 110 + 1)
        assert [one for one in things if one.exists()] == things[6 - left :]


def test_within_the_budget_nothing_goes(cache: Cache) -> None:
    things = [cache.images("a", 9), cache.source("s", 7)]
    found = cache.enforce(300)
    assert (found.counts, found.freed, found.over) == ((), 0, 0)
    assert all(one.exists() for one in things)
    assert 200 * KIB <= found.used < 300 * KIB
    assert budget.used(cache.worker) == found.used


def test_without_a_budget_nothing_goes(cache: Cache) -> None:
    thing = cache.images("a", 900)
    assert cache.enforce(0).counts == ()
    assert thing.exists()


def test_what_went_is_counted(cache: Cache) -> None:
    cache.source("s", 9)
    cache.artifact(1, 8)
    cache.artifact(2, 7)
    cache.source("t", 1)
    found = cache.enforce(120)
    assert found.counts == ((Kind.ARTIFACT, 2), (Kind.SOURCE, 1))
    assert 300 * KIB <= found.freed < 330 * KIB
    assert str(found) == "evicted 2 artifacts, 1 source tree (0.3 MiB), 0.1 MiB are kept"


def test_what_is_built_on_something_goes_before_it(cache: Cache) -> None:
    source = cache.source("s", 9)
    base = cache.baseline("base", "s", 8)
    derived = cache.baseline("derived", "s", 3, parent="base")
    other = cache.source("other", 5)
    steps = []
    for left in range(3, -1, -1):
        cache.enforce(left * 115 + 1)
        steps.append([one.name for one in (source, base, derived, other) if one.exists()])
    # source and base are used as long as what is derived from them is
    assert steps == [["s", "base", "derived"], ["s", "base"], ["s"], []]


def test_a_whole_family_goes_at_once(cache: Cache) -> None:
    cache.source("s", 9)
    cache.baseline("base", "s", 8)
    cache.baseline("derived", "s", 3, parent="base")
    cache.baseline("further", "s", 5, parent="base")
    found = cache.enforce(1)
    assert found.counts == ((Kind.BASELINE, 3), (Kind.SOURCE, 1))
    assert found.over == 0


def test_what_something_in_use_is_built_on_stays(cache: Cache) -> None:
    source, base = cache.source("s", 9), cache.baseline("base", "s", 8)
    derived = cache.baseline("derived", "s", 7, parent="base")
    other = cache.source("other", 1)
    with shared(derived.with_name("derived.lock")):
        found = cache.enforce(1)
    assert all(one.exists() for one in (source, base, derived))
    assert not other.exists()
    assert found.over == found.used - KIB
    assert found.over > 300 * KIB


def test_a_baseline_of_before_that_names_no_source_needs_all(cache: Cache) -> None:
    sources = [cache.source("s", 9), cache.source("t", 9)]
    base = cache.baseline("base", "", 1)
    (base / "manifest.json").write_text('{"parent": null}')
    with shared(base.with_name("base.lock")):
        cache.enforce(1)
    assert all(one.exists() for one in sources)


def test_a_parent_stays_where_something_was_derived_meanwhile(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = cache.baseline("base", "", 8)

    class Late(holdings.Look):
        def __init__(self, worker: WorkerConfig) -> None:
            super().__init__(worker)
            cache.baseline("derived", "", 7, parent="base")

    monkeypatch.setattr(budget, "Look", Late)
    cache.enforce(1)
    assert base.exists()


def test_what_another_process_uses_stays_until_that_is_killed(cache: Cache) -> None:
    source = cache.source("s", 9)
    with user(source.with_name("s.lock")) as other:
        assert cache.enforce(1).counts == ()
        assert source.exists()
        other.kill()
        other.wait()
        assert cache.enforce(1).counts == ((Kind.SOURCE, 1),)
    assert not source.exists()
    assert list(source.parent.iterdir()) == []  # its lock is gone too, and nothing is left over


def test_what_is_used_between_look_and_deletion_stays(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    things = [cache.source("s", 9), cache.artifact(1, 9), cache.kept("a", 9), cache.images("b", 9)]
    real = budget.in_order

    def used_meanwhile(found: Iterator[holdings.Holding]) -> Iterator[holdings.Holding]:
        for one in real(found):
            os.utime(one.path)
            yield one

    monkeypatch.setattr(budget, "in_order", used_meanwhile)
    assert cache.enforce(1).counts == ()
    assert all(one.exists() for one in things)


def test_artifacts_of_a_review_under_way_stay(cache: Cache) -> None:
    fresh, old = cache.artifact(1, 0), cache.artifact(2, 2 / 24)
    cache.enforce(1)
    assert (fresh.exists(), old.exists()) == (True, False)


def test_a_time_to_come_protects_nothing(cache: Cache) -> None:
    ahead = cache.artifact(1, -365)
    cache.enforce(1)
    assert not ahead.exists()


def test_one_process_sweeps_at_a_time(cache: Cache) -> None:
    thing = cache.images("a", 9)
    cache.enforce(0)
    with alone(cache.worker.cache / "sizes.lock") as mine:
        assert mine
        found = cache.enforce(1)
    assert found.counts == ()
    assert found.used >= 100 * KIB  # what the last sweep saw
    assert thing.exists()


def test_what_killed_processes_left_goes(cache: Cache) -> None:
    source, stress = cache.source("s"), cache.images("a", 0).parent
    half = source.with_name(".gone-1")
    half.mkdir()
    old, making = stress / ".0123", stress / ".4567"
    for one in (old, making):
        one.write_bytes(b"x")
    os.utime(old, (time.time() - DAY, time.time() - DAY))
    cache.enforce(0)
    assert not half.exists()
    assert not old.exists()
    assert making.exists()


def test_a_baseline_that_was_never_finished_goes_first(cache: Cache) -> None:
    source, half = cache.source("s", 9), cache.baseline("half", "s", 0)
    (half / "manifest.json").unlink()
    cache.enforce(150)
    assert source.exists()
    assert not half.exists()


def test_what_does_not_belong_to_it_stays(cache: Cache) -> None:
    stress = cache.images("a", 9).parent
    others = [stress / "init-0123", stress / "accelerator-1.json", cache.worker.builds / "x"]
    for one in others:
        one.parent.mkdir(parents=True, exist_ok=True)
        one.write_bytes(b"x" * 100 * KIB)
        os.utime(one, (1, 1))
    cache.enforce(1)
    assert all(one.exists() for one in others)


@pytest.fixture
def disk(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that says how many KiB of a file system of 20 MiB there are for us."""

    def small(kib: int) -> None:
        def free(_: Path) -> int:
            return kib * KIB - watch.written(cache.worker.cache)[0]

        monkeypatch.setattr(watch, "free", free)
        monkeypatch.setattr(watch, "size", lambda _: 20 << 20)

    return small


def test_a_disk_that_is_nearly_full_is_emptied_without_a_budget(
    cache: Cache, disk: Callable[[int], None]
) -> None:
    things = [cache.images("a", 9), cache.images("b", 8), cache.images("c", 7)]
    disk(1024 + 250)  # five per cent are to stay free: 1 MiB
    assert budget.floor(cache.worker) == 1 << 20
    assert cache.enforce(0).counts == ((Kind.IMAGES, 1),)
    assert [one.exists() for one in things] == [False, True, True]
    disk(1024)
    assert cache.enforce(0).counts == ((Kind.IMAGES, 2),)


def test_a_large_disk_has_two_gibibytes_free(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "size", lambda _: 1 << 40)
    assert budget.floor(cache.worker) == 2 << 30


def test_trees_are_walked_once(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.source("s")
    cache.baseline("base", "s")
    shelf = cache.artifact(1, 9).parent
    os.utime(shelf, (1e9, 1e9))  # one that just changed may change again at the same time
    before = cache.enforce(0).used
    walked: list[Path] = []

    def written(path: Path) -> tuple[int, int]:
        walked.append(path)
        return watch.written(path)

    monkeypatch.setattr(holdings, "written", written)
    assert cache.enforce(0).used == before
    assert walked == []
    (shelf / "another").write_bytes(b"x" * 100 * KIB)
    assert cache.enforce(0).used == before + 100 * KIB
    assert walked == [shelf]


def test_remembered_sizes_that_make_no_sense_are_measured(cache: Cache) -> None:
    cache.source("s")
    before = cache.enforce(0).used
    for text in ("", "{", '{"sizes": {"x": 1}}', '{"used": "much"}'):
        (cache.worker.cache / "sizes.json").write_text(text)
        assert budget.used(cache.worker) == 0
        assert cache.enforce(0).used == before


def test_too_much_in_use_is_said_once(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    source = cache.source("s", 9)
    worker = replace(cache.worker, disk_budget=1)
    with shared(source.with_name("s.lock")):
        budget.room(worker)
        budget.room(worker)
    assert [one.getMessage() for one in caplog.records] == [
        (
            f"{worker.cache} holds 0.1 MiB too much, all of which is in use: raise disk_budget, or "
            "free some space"
        )
    ]
    budget.room(worker)
    assert (
        caplog.records[-1]
        .getMessage()
        .endswith("evicted 1 source tree (0.1 MiB), 0.0 MiB are kept")
    )


def test_a_sweep_that_fails_does_not_end_the_job(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.worker.cache.parent.mkdir(exist_ok=True)
    cache.worker.cache.write_text("no directory")
    assert budget.room(cache.worker).counts == ()
    assert "nothing could be evicted" in caplog.text


USER = """\
import os, random, sys, time
from pathlib import Path
from workers.locks import present
root, end = Path(sys.argv[1]), time.monotonic() + float(sys.argv[2])
rounds = 0
while time.monotonic() < end:
    path = root / f"tree{random.randrange(3)}"
    def make():
        fresh = root / f".{os.getpid()}"
        fresh.mkdir()
        (fresh / "data").write_bytes(b"x" * 100_000)
        fresh.rename(path)
    with present(path.with_name(f"{path.name}.lock"), path.exists, make):
        os.utime(path)
        time.sleep(random.random() / 100)
        assert (path / "data").stat().st_size == 100_000
        rounds += 1
print(rounds)
"""


def test_users_and_sweeps_of_many_processes_agree(cache: Cache) -> None:
    root, seconds = cache.source("s").parent, 3
    users = [
        subprocess.Popen(
            [sys.executable, "-c", USER, str(root), str(seconds)], cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    end, evicted = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        evicted += sum(number for _, number in cache.enforce(1).counts)
    said = [one.communicate(timeout=30) for one in users]
    assert [error for _, error in said] == ["", "", ""]
    assert all(int(rounds) > 10 for rounds, _ in said)
    assert evicted > 10
