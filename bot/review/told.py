"""results → what is told: the findings of a run, without the muted ones, beside those before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.contract import BuildRequest, Finding, Outcome
from bot.mail.reply import Run
from bot.mail.series import Series
from bot.review import fates, findings, fingerprint, jobs, stress_words, touched, verdict
from bot.review.base import Base
from bot.settings import Settings
from policies.kernels import KernelPolicy
from policies.schema import Gates


@dataclass(frozen=True)
class Planned:
    """A series with all that a run of it takes."""

    settings: Settings
    series: Series
    base: Base
    source: str  # of the base's tree: a URL, "debian:PACKAGE VERSION", or a path here
    policy: KernelPolicy
    gates: Gates
    request: BuildRequest
    wanted: jobs.Wanted

    @property
    def key(self) -> str:
        """What tells this run from others: equal work has an equal key."""
        text = self.request.model_dump_json(exclude={"limits"})
        runs = [(one.model_dump_json(), filesystem) for one, filesystem in self.wanted.runs]
        text += json.dumps([self.wanted.stack, runs])
        return hashlib.sha256(text.encode()).hexdigest()


class Mute(Protocol):
    """A finding that somebody asked not to hear of again."""

    @property
    def fingerprint(self) -> str: ...  # noqa: D102 - a field
    @property
    def reason(self) -> str: ...  # noqa: D102 - a field
    @property
    def by(self) -> str: ...  # noqa: D102 - a field


@dataclass(frozen=True)
class Before:
    """The findings that were told of an earlier version; version 0: there was none."""

    version: int = 0
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Folded:
    """What results come to, ready to be told."""

    run: Run
    decided: verdict.Verdict
    found: tuple[Finding, ...]  # muted or not
    broken: str  # what kept the stress job from running; for the operator alone


def fold(
    planned: Planned,
    results: jobs.Results,
    mutes: Sequence[Mute] = (),
    before: Before | None = None,
) -> Folded:
    """Turn the results of a run into what is told of it."""
    config, build, stack, stress = (
        planned.request.config, results.build, results.stack, results.stress,
    )  # fmt: skip
    broken = ""
    if stress is not None and stress.outcome is Outcome.BROKEN:
        broken, stress = stress.reason, None
    among = touched.touched(planned.request.patches)
    found = findings.find(planned.gates, config, build, stack, stress, among)
    words = stress_words.Words(stress, planned.wanted.runs, build)
    by_mark = {one.fingerprint: one for one in mutes}
    decided = verdict.decide(found, len(planned.series.patches), by_mark)
    known = before or Before()
    fate = fates.compare(known.findings, found, fates.Covered(build, stack, stress))
    silent = [(one, by_mark[fingerprint.fingerprint(one)]) for one in decided.muted]
    run = Run(
        tree=planned.base.tree, source=planned.source, base_reason=planned.base.reason,
        config=config, build=build, stack=stack, headline=decided.headline,
        findings=decided.findings, key=planned.key, booted=words.sentences(),
        boot_lines=words.commands(), names=fingerprint.names(decided.findings),
        before=fates.sentences(fate, known.version, verdict.brief),
        muted=tuple(verdict.muted(one, mute.by, mute.reason) for one, mute in silent),
    )  # fmt: skip
    return Folded(run, decided, found, broken)
