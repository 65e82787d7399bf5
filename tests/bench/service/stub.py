"""`stackhog worker` whose jobs sleep as long as their request says; all else is the real one.

How long is said in a digest that such a request has anyway, since nothing is looked up under it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bot.cli import main
from bot.contract import (
    Apply,
    BuildRequest,
    BuildResult,
    FactsAfter,
    Kernel,
    Outcome,
    PatchBuilt,
    Progress,
    Queue,
    StackRequest,
    StackResult,
    StressRequest,
    StressResult,
)
from workers import build as building
from workers.config import WorkerConfig
from workers.stack import answer as answering
from workers.stress import run as stressing

DIGEST = 64  # letters


def digest(number: int, seconds: float) -> str:
    """Return a digest that belongs to one job, and says how long it takes."""
    return f"{number:0{DIGEST // 2}x}{round(seconds * 1e6):0{DIGEST // 2}x}"


def seconds_of(name: str) -> float:
    """Return how long the job of a digest takes."""
    return int(name[DIGEST // 2 :], 16) / 1e6


def request(kind: Queue, number: int, seconds: float, like: BuildRequest) -> str:
    """Return the request of a job, JSON; ``like`` is what a build's looks like."""
    name = digest(number, seconds)
    match kind:
        case Queue.BUILD:
            return like.model_copy(update={"base": name}).model_dump_json()
        case Queue.STACK:
            after = (FactsAfter(index=1, facts=name),)
            return StackRequest(base_facts=name, after=after).model_dump_json()
        case Queue.STRESS:
            return StressRequest(patched=Kernel(image=name), runs=()).model_dump_json()


def build(
    worker: WorkerConfig,  # noqa: ARG001 - the shape of what it replaces
    request: BuildRequest,
    report: Callable[[Progress], None],
) -> BuildResult:
    """Answer as a build would."""
    report(Progress(step=f"building patch 1/{len(request.patches)}"))
    time.sleep(seconds_of(request.base))
    built = tuple(
        PatchBuilt(
            index=one.index, commit="1" * 40, applied=Apply.EXACT, seconds=1.0,
            objects=("mm/vmscan.o",), facts="f" * DIGEST,
        )
        for one in request.patches
    )  # fmt: skip
    return BuildResult(
        outcome=Outcome.PASSED, base_commit=request.base, compiler="gcc (stub) 12",
        base_facts="f" * DIGEST, patches=built, image="a" * DIGEST, base_image="b" * DIGEST,
    )  # fmt: skip


def answer(
    request: StackRequest,
    fetch: Callable[[str], bytes],  # noqa: ARG001 - the same
) -> StackResult:
    """Answer as a comparison would."""
    time.sleep(seconds_of(request.base_facts))
    return StackResult(outcome=Outcome.PASSED, functions=9, objects=1)


def stress(
    worker: WorkerConfig,  # noqa: ARG001 - the same
    request: StressRequest,
    report: Callable[[Progress], None],
) -> StressResult:
    """Answer as boots would."""
    report(Progress(step="stress"))
    time.sleep(seconds_of(request.patched.image))
    return StressResult(outcome=Outcome.PASSED, accelerator="tcg")


if __name__ == "__main__":
    stressing.run = stress
    building.build = build
    answering.answer = answer
    main()
