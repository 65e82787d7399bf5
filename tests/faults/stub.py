"""`stackhog worker` whose jobs take a moment and build nothing; all else is the real one."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable

from bot.cli import main
from bot.contract import (
    Apply,
    BuildRequest,
    BuildResult,
    Frame,
    Outcome,
    PatchBuilt,
    Progress,
    StackRequest,
    StackResult,
    StressRequest,
    StressResult,
)
from workers import build as building
from workers.config import WorkerConfig
from workers.stack import answer as answering
from workers.stress import run as stressing

SPEED = float(os.environ.get("STUB_SPEED", "1"))  # 0: jobs take no time at all


def moment(text: bytes, most: float) -> float:
    """Return how many seconds a job takes: always the same for the same job."""
    return SPEED * most * (0.2 + int.from_bytes(hashlib.sha256(text).digest()[:2], "big") / 65536)


def build(
    worker: WorkerConfig,  # noqa: ARG001 - the shape of what it replaces
    request: BuildRequest,
    report: Callable[[Progress], None],
) -> BuildResult:
    """Answer as a build of these patches would."""
    for patch in request.patches:
        report(Progress(step=f"building patch {patch.index}/{len(request.patches)}"))
        time.sleep(moment(patch.diff, 1.5))
    built = tuple(
        PatchBuilt(
            index=one.index, commit="1" * 40, applied=Apply.EXACT, seconds=1,
            objects=("mm/vmscan.o",), facts=hashlib.sha256(one.diff).hexdigest(),
        )
        for one in request.patches
    )  # fmt: skip
    return BuildResult(
        outcome=Outcome.PASSED, base_commit=request.base, compiler="gcc (stub) 12",
        kernel_release="6.1.0", base_facts="f" * 64, patches=built, image="a" * 64,
        base_image="b" * 64,
    )  # fmt: skip


def answer(
    request: StackRequest,
    fetch: Callable[[str], bytes],  # noqa: ARG001 - the same
) -> StackResult:
    """Answer as a comparison would that finds one frame, as large as the facts' name says."""
    name = request.after[-1].facts
    time.sleep(moment(name.encode(), 0.5))
    frame = Frame(
        function="pageout", file="mm/vmscan.c", line=14, before=88, after=600 + int(name[:2], 16),
        dynamic=False, patch=request.after[-1].index, object="mm/vmscan.o",
    )  # fmt: skip
    return StackResult(outcome=Outcome.PASSED, frames=(frame,), functions=9, objects=1)


def stress(
    worker: WorkerConfig,  # noqa: ARG001 - the same
    request: StressRequest,  # noqa: ARG001 - the same
    report: Callable[[Progress], None],
) -> StressResult:
    """Answer as boots would that find nothing."""
    report(Progress(step="stress"))
    return StressResult(outcome=Outcome.PASSED, accelerator="tcg")


if __name__ == "__main__":
    stressing.run = stress
    building.build = build
    answering.answer = answer
    main()
