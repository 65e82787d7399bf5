"""Real baselines, of the kernel in miniature, that are evicted, rebuilt, and kept while in use."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, Desk
from workers import budget
from workers.config import WorkerConfig
from workers.holdings import Kind

FLAGS = "\tpage->flags |= 2;\n"
BUFFER = (FLAGS, f"\tchar text[600];\n\n\ttext[0] = 1;\n\tnote(text, 600);\n{FLAGS}")


@pytest.fixture
def worker(desk: Desk) -> WorkerConfig:
    desk.repo.edit("mm: one", "mm/vmscan.c", *BUFFER)
    state = desk.home / "state"
    return WorkerConfig(state / "data", state / "cache")


def finished(worker: WorkerConfig) -> list[Path]:
    return sorted(worker.baselines.glob("obj/*/manifest.json"))


def reply(found: subprocess.CompletedProcess[str]) -> str:
    assert found.returncode in {0, 1}, found.stderr
    return undated(found.stdout)


def undated(mail: str) -> str:
    return "".join(line for line in mail.splitlines(keepends=True) if not line.startswith("Date: "))


def test_a_baseline_that_was_evicted_is_rebuilt(desk: Desk, worker: WorkerConfig) -> None:
    mail = desk.mbox()
    first = reply(desk.run(*desk.review(mail)))
    known = finished(worker)
    assert known
    found = budget.enforce(replace(worker, disk_budget=1))
    assert dict(found.counts) == {Kind.SOURCE: 1, Kind.BASELINE: len(known)}
    assert finished(worker) == []
    assert not any(path.is_dir() for path in worker.baselines.rglob("*/*"))
    assert "600" in first
    assert reply(desk.run(*desk.review(mail))) == first
    assert finished(worker) == known


def test_a_build_goes_on_while_everything_else_is_evicted(desk: Desk, worker: WorkerConfig) -> None:
    for name in ("two", "three", "four"):  # each is built, so that there are many sweeps meanwhile
        desk.repo.edit(f"mm: {name}", "mm/vmscan.c", "text[0] = 1;", f"text[0] = 1; /* {name} */")
    mail = desk.mbox()
    calm = reply(desk.run(*desk.review(mail)))
    evicted = budget.enforce(replace(worker, disk_budget=1)).counts
    assert evicted
    running = subprocess.Popen(
        desk.command(*desk.review(mail)), cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**desk.environment(), "STACKHOG_DISK_BUDGET": "1"},
    )  # fmt: skip
    seen: Counter[tuple[Path, int]] = Counter()
    while running.poll() is None:
        budget.enforce(replace(worker, disk_budget=1))
        for path in finished(worker):
            with suppress(FileNotFoundError):
                seen[path, path.stat().st_mtime_ns] += 1
        time.sleep(0.02)
    said, error = running.communicate()
    assert running.returncode in {0, 1}, error
    assert undated(said) == calm
    assert len(seen) == len({path for path, _ in seen}) > 0  # each was made once
    assert min(seen.values()) > 1  # and was left alone by sweeps while it was in use
