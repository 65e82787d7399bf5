"""results → what is told: the findings of a run, without the muted ones, beside those before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.contract import BuildRequest, BuildResult, Finding, Outcome
from bot.mail import quote
from bot.mail.reply import Run, is_tried
from bot.mail.series import Series
from bot.review import fates, findings, fingerprint, jobs, stress_words, touched, verdict
from bot.review.base import Base
from bot.settings import Settings
from policies.schema import Gates


@dataclass(frozen=True)
class Planned:
    """A series with all that a run of it takes."""

    settings: Settings
    series: Series
    base: Base
    source: str  # of the base's tree: a URL, "debian:PACKAGE VERSION", or a path here
    about_objects: int  # of a baseline's build, for progress alone
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

    @property
    def tested(self) -> bool:
        """Whether a patch was built, so that the answer says something of it."""
        return is_tried(self.run.build) and self.decided.outcome is not Outcome.SKIPPED


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
    removed = quote.removed(patch.diff for patch in planned.request.patches)
    found = findings.find(planned.gates, config, build, stack, stress, among, removed)
    words = stress_words.Words(stress, planned.wanted.runs, build)
    by_mark = {one.fingerprint: one for one in mutes}
    instead = verdict.untested(build, stack, stress)
    decided = verdict.decide(found, len(planned.series.patches), by_mark, instead)
    decided = verdict.doubted(decided, stress)
    in_full, names = verdict.in_full(decided.findings), fingerprint.names(decided.findings)
    known = before or Before()
    fate = fates.compare(known.findings, decided.findings, fates.Covered(build, stack, stress))
    silent = [(one, by_mark[fingerprint.fingerprint(one)]) for one in decided.muted]
    run = Run(
        tree=planned.base.tree, source=planned.source, base_reason=planned.base.reason,
        config=config, build=build, stack=stack, headline=decided.headline,
        findings=in_full, key=planned.key, booted=words.sentences(),
        boot_lines=words.commands(), names=names,
        also=verdict.in_short(decided.findings, in_full, names),
        below=planned.base.prerequisites,
        tried=_tried(planned.base, build),
        before=fates.sentences(fate, known.version, verdict.brief),
        muted=tuple(verdict.muted(one, mute.by, mute.reason) for one, mute in silent),
    )  # fmt: skip
    return Folded(run, decided, found, broken)


def _tried(base: Base, build: BuildResult) -> tuple[str, ...]:
    """Return where else a base was looked for, where the one that was found does not fit."""
    if build.misfit is None and build.unmet is None:
        return ()
    return tuple(
        f"{one.tree}: {one.reason}" if one.tree else one.reason
        for one in base.attempts if one.commit is None
    )  # fmt: skip
