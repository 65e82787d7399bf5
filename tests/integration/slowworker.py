"""`stackhog worker` whose builds do what their patch says: `NAME SECONDS`; all else is real."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from bot.cli import main
from bot.contract import BuildRequest, BuildResult, Outcome, Progress
from workers import build as building
from workers.config import WorkerConfig


def build(
    worker: WorkerConfig,  # noqa: ARG001 - as the real one has it
    request: BuildRequest,
    report: Callable[[Progress], None],
) -> BuildResult:
    """Write down the name, take the time, answer with the name."""
    name, seconds = request.patches[0].diff.decode().split()[:2]
    with Path(os.environ["SLOW_LOG"]).open("a") as log:
        log.write(f"{name}\n")
    ends = time.monotonic() + float(seconds)
    while time.monotonic() < ends:
        report(Progress(step=name))
        time.sleep(min(0.5, max(0.0, ends - time.monotonic())))
    return BuildResult(outcome=Outcome.PASSED, reason=name)


if __name__ == "__main__":
    building.build = build
    main()
