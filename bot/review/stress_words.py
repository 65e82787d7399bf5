"""What a reply says of boots besides the findings: what they reached, how to repeat them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bot.contract import BuildResult, Ending, StressResult, StressRun
from bot.review import stress
from bot.review.findings import IMAGE
from policies.stress import Filesystem, Profile

EXPORTED = "guest"  # the directory that the commands name


@dataclass(frozen=True)
class Words:
    """Sentences and commands about a stress job; ``result`` is None where it did not run."""

    result: StressResult | None
    wanted: tuple[tuple[Profile, Filesystem], ...]
    build: BuildResult

    def sentences(self) -> tuple[str, ...]:
        """Return what was reached, a sentence for each run, or why nothing was booted."""
        if self.result is None:
            return tuple(self._nothing())
        how = f"QEMU with {self.result.accelerator.upper()}"
        return tuple(_reached(run, how) for run in self.result.runs)

    def _nothing(self) -> Iterator[str]:
        built = bool(self.build.kernel_release) and self.build.broken_patch is None
        if self.wanted and built and self.build.image is None:
            yield "It was not booted: this configuration builds no image that QEMU can start."

    def commands(self) -> tuple[str, ...]:
        """Return the lines that repeat the runs, with stackhog and without it."""
        if self.result is None or not self.result.runs:
            return ()
        first = stress.command(self.result.runs[0], IMAGE)
        lines = [stress.command(run, IMAGE) for run in self.result.runs]
        return (*lines, f"{first} --export {EXPORTED}", f"sh {EXPORTED}/boot.sh")


def _reached(run: StressRun, how: str) -> str:
    boots = len(run.patched)
    times = "once" if boots == 1 else f"{boots} times"
    before = f", the base {len(run.base)}" if run.base else ""
    kept = f" ({run.kept} of them earlier)" if run.kept else ""
    what = f"Booted {times}{before}{kept} under {run.profile.name} on {run.filesystem}, {how}"
    short = stress.missing(run)
    if all(boot.ending is not Ending.DONE for boot in run.patched):
        return f"{what}: it did not come to the end."
    if short:
        return f"{what}: inconclusive, since it reached only {short}."
    return f"{what}: {stress.exposure(run)}."
