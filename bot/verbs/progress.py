"""Progress on standard error: a live line at a terminal, a plain log elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from bot.contract import Progress

EVERY = 100  # objects between two lines of a plain log


class Reporter:
    """Says what runs, how long each step took and what is left."""

    def __init__(self, console: Console, plan: Sequence[str], status: Status | None) -> None:
        self._console, self._status = console, status
        self._left = list(plan)
        self._began = self._step_began = time.monotonic()
        self._step = ""
        self._counted = 0

    def __call__(self, progress: Progress) -> None:
        """Take one report of a running job."""
        if progress.step != self._step:
            self._finish()
            self._step, self._step_began, self._counted = progress.step, time.monotonic(), 0
            self._left = _after(self._left, progress.step)
            if self._status is None:
                self._say(f"{progress.step} …{self._what_is_left()}")
        if self._status is not None:
            self._status.update(f"{self._describe(progress)}{self._what_is_left()}")
        elif progress.done and progress.done >= self._counted + EVERY:
            self._counted = progress.done
            self._say(self._describe(progress))

    def end(self) -> None:
        """Say how long the last step and the whole took."""
        self._finish()
        self._say(f"done in {time.monotonic() - self._began:.1f} s")

    def _finish(self) -> None:
        if self._step:
            self._say(f"{self._step}: {time.monotonic() - self._step_began:.1f} s")

    def _describe(self, progress: Progress) -> str:
        if progress.done is None:
            return progress.step
        of = f" of about {progress.total}" if progress.total else ""
        return f"{progress.step}: {progress.done}{of}"

    def _what_is_left(self) -> str:
        return f" (then: {', '.join(self._left)})" if self._left else ""

    def _say(self, text: str) -> None:
        elapsed = time.monotonic() - self._began
        self._console.print(f"[{elapsed:7.1f}s] {text}", markup=False, highlight=False)


def _after(left: list[str], step: str) -> list[str]:
    """Drop what is done: everything up to the step that begins now."""
    for number, name in enumerate(left):
        if step.startswith(name):
            return left[number + 1 :]
    return left


@contextmanager
def reporter(plan: Sequence[str]) -> Iterator[Reporter]:
    """Yield a reporter for steps whose names begin as in ``plan``."""
    console = Console(stderr=True, soft_wrap=True)
    if not console.is_terminal:
        yield Reporter(console, plan, None)
        return
    with console.status("starting") as status:
        yield Reporter(console, plan, status)
