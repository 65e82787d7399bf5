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
        runs = self.result.runs
        whole = stress.command(runs, IMAGE)
        first = stress.command(runs[:1], IMAGE)
        return (whole, f"{first} --export {EXPORTED}", runs[0].qemu)


def _reached(run: StressRun, how: str) -> str:
    earlier = ", earlier" if run.kept == len(run.base) else ""
    base = f" (the base {_times(len(run.base))}{earlier})" if run.base else ""
    boots = f"Booted {_times(len(run.patched))}{base}"
    what = f"{boots} under {run.profile.name} on {run.filesystem}, {how}"
    short = stress.missing(run)
    if all(boot.ending is not Ending.DONE for boot in run.patched):
        return f"{what}: it did not come to the end."
    if short:
        return f"{what}: inconclusive, since it reached only {short}."
    return f"{what}: {stress.exposure(run)}."


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
