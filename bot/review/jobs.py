"""Runs the jobs of one review through the queue and brings their results together.

The same tasks and the same queue serve a single `stackhog review` and the
service; only who starts the broker differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bot.contract import (
    BuildRequest,
    BuildResult,
    FactsAfter,
    Kernel,
    OursError,
    Outcome,
    Progress,
    Queue,
    StackRequest,
    StackResult,
    StressRequest,
    StressResult,
    TheirsError,
)
from bot.review.queue import BROKER_GONE, Client, JobLostError
from policies.stress import Filesystem, Profile

POLL = 0.03  # seconds
RESTARTS = 2  # of a broker or worker that dies under a review
STACK_SECONDS = 300
STRESS_SECONDS = 900  # of one run, disks and second tries included
LONGEST = 40 * 3600  # seconds of one job; workers/app.py sees to it that it is not handed out twice
BUILDS_PER_JOB = 4  # make runs a job may need besides the patches: baselines and configuration


class JobBrokenError(OursError):
    """A job ended BROKEN, with the worker's sentence."""


@dataclass(frozen=True)
class Results:
    """What the jobs of a review answered; None: that job was not run."""

    build: BuildResult
    stack: StackResult | None
    stress: StressResult | None = None


@dataclass(frozen=True)
class Wanted:
    """The jobs to run after a build."""

    stack: bool
    runs: tuple[tuple[Profile, Filesystem], ...] = ()  # of the stress job; none: no job


@dataclass(frozen=True)
class Port:
    """What `run` needs of its surroundings."""

    connect: Callable[[], Client]
    alive: Callable[[], bool]  # False: broker or worker died
    revive: Callable[[], bool]  # start them anew; False: they are not ours to start


class _Attempt:
    """One try at all jobs, on one broker."""

    def __init__(self, port: Port, request: BuildRequest, tell: Callable[[Progress], None]) -> None:
        self.port, self.request, self.tell = port, request, tell
        self.client = port.connect()
        self.build_job = self.client.send(Queue.BUILD, request, build_seconds(request))
        self.build: BuildResult | None = None
        self.asked: StackRequest | None = None
        self.stack_job: str | None = None
        self.stack: StackResult | None = None
        self.stress_job: str | None = None
        self.stress: StressResult | None = None
        self.told: Progress | None = None

    def run(self, wanted: Wanted) -> Results:
        """Poll until everything asked for is there."""
        while True:
            if self.build is None:
                self._look_at_build(wanted)
            if self.stack_job and self.stack is None:
                self._look_at_stack()
            if self.stress_job and self.stress is None:
                self._look_at_stress()
            waits = (self.stack_job and not self.stack) or (self.stress_job and not self.stress)
            if self.build and not waits:
                return Results(self.build, self.stack, self.stress)
            if not self.port.alive():
                raise ConnectionError("broker or worker ended")
            time.sleep(POLL)

    def _look_at_build(self, wanted: Wanted) -> None:
        state = self.client.look(self.build_job)
        if state.progress and state.progress != self.told:
            self.told = state.progress
            self.tell(state.progress)
            if wanted.stack and state.progress.stack:
                self._send_stack(state.progress.stack)
        if state.result is not None:
            self.build = BuildResult.model_validate(state.result)
            _raise_if_broken(self.build)
            if wanted.stack:
                self._send_stack(comparison(self.build, self.request.config.arch))
            self._send_stress(boots(self.build, wanted))

    def _send_stack(self, request: StackRequest | None) -> None:
        """Start the comparison as soon as the objects are there, while the link still runs.

        When the last patch then does not link, what was started is replaced by what is left.
        """
        if request == self.asked:
            return
        self.asked, self.stack, self.stack_job = request, None, None
        if request is not None:
            self.stack_job = self.client.send(Queue.STACK, request, STACK_SECONDS)

    def _look_at_stack(self) -> None:
        assert self.stack_job is not None  # noqa: S101 - the caller looked
        state = self.client.look(self.stack_job)
        if state.result is not None:
            self.stack = StackResult.model_validate(state.result)
            _raise_if_broken(self.stack)
            self.tell(Progress(step="stack compared", done=self.stack.functions))

    def _send_stress(self, request: StressRequest | None) -> None:
        if request is not None:
            self.stress_job = self.client.send(Queue.STRESS, request, stress_seconds(request))

    def _look_at_stress(self) -> None:
        assert self.stress_job is not None  # noqa: S101 - the caller looked
        state = self.client.look(self.stress_job)
        if state.progress and state.progress != self.told:
            self.told = state.progress
            self.tell(state.progress)
        if state.result is not None:
            # what is broken here does not take the answers of the other jobs with it
            self.stress = StressResult.model_validate(state.result)


def check(results: Results) -> None:
    """Raise TheirsError where a job ended without saying anything of a patch.

    Without findings such a result would read as a series that passes.
    """
    build, stack = results.build, results.stack
    at_a_patch = build.refusal or build.misfit or build.broken_patch is not None
    untested = build.outcome is Outcome.FAILED and not at_a_patch
    if untested or build.outcome is Outcome.SKIPPED:
        raise TheirsError(build.reason)
    if stack is not None and stack.outcome is Outcome.FAILED:
        raise TheirsError(stack.reason)


def build_seconds(request: BuildRequest) -> float:
    """Return how long a build job may take."""
    return min(request.limits.wall_seconds * (len(request.patches) + BUILDS_PER_JOB), LONGEST)


def stress_seconds(request: StressRequest) -> float:
    """Return how long a stress job may take."""
    return min(STRESS_SECONDS * len(request.runs), LONGEST)


def _raise_if_broken(result: BuildResult | StackResult) -> None:
    if result.outcome is Outcome.BROKEN:
        raise JobBrokenError(result.reason)


def comparison(build: BuildResult, arch: str) -> StackRequest | None:
    """Return the comparison that a build result allows, if any."""
    after = tuple(FactsAfter(index=p.index, facts=p.facts) for p in build.patches if p.facts)
    if build.base_facts is None or not after:
        return None
    return StackRequest(
        base_facts=build.base_facts, after=after, kernel_facts=build.kernel_facts, arch=arch
    )


def boots(build: BuildResult, wanted: Wanted) -> StressRequest | None:
    """Return the stress job that a build result allows, if any was asked for."""
    if not wanted.runs or build.image is None or build.base_image is None:
        return None
    return StressRequest(
        patched=Kernel(image=build.image, vmlinux=build.vmlinux),
        base=Kernel(image=build.base_image, vmlinux=build.base_vmlinux),
        runs=wanted.runs,
        decoder=build.decoder,
    )


def run(
    port: Port, request: BuildRequest, tell: Callable[[Progress], None], wanted: Wanted
) -> Results:
    """Run the build job, the stack job beside it and the stress job after it, as asked for.

    A broker or worker that dies is started again and the jobs are sent anew.

    Raises OursError when that does not help, or when a job is broken.
    """
    for left in reversed(range(RESTARTS + 1)):
        try:
            return _Attempt(port, request, tell).run(wanted)
        except (*BROKER_GONE, JobLostError) as error:
            if not left or not port.revive():
                raise OursError(
                    f"the review could not be finished ({error}): start the broker and a worker "
                    "again, then repeat the command"
                ) from error
            tell(Progress(step="broker or worker died: starting the jobs again"))
    raise AssertionError("unreachable")
