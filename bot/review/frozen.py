"""A plan as it is kept: the jobs with every limit frozen in, and the keys of equal work."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from typing import Any, Literal

from bot.contract import VERSION, BuildRequest, PatchText, Queue, Record
from bot.mail.series import Series
from bot.review import jobs
from bot.review.base import Attempt, Base
from bot.review.hints import How
from bot.review.told import Planned
from bot.settings import Settings
from policies.schema import Gates
from policies.stress import Filesystem, Profile


class Tried(Record):
    """One place where a base was looked for: bot/review/base.py Attempt."""

    tree: str
    how: How
    commit: str | None
    reason: str


class Frozen(Record):
    """All of a plan but the series, which is read again, and the gates, which may have changed."""

    version: Literal[1] = VERSION
    reason: str  # why this base
    tried: tuple[Tried, ...]
    source: str
    about_objects: int
    request: BuildRequest
    stack: bool
    runs: tuple[tuple[Profile, Filesystem], ...]

    @property
    def wanted(self) -> jobs.Wanted:
        """What is to be done after the build."""
        return jobs.Wanted(self.stack, self.runs)


def freeze(planned: Planned) -> Frozen:
    """Return a plan as it is kept."""
    tried = tuple(
        Tried(tree=one.tree, how=one.how, commit=one.commit, reason=one.reason)
        for one in planned.base.attempts
    )
    return Frozen(
        reason=planned.base.reason, tried=tried, source=planned.source,
        about_objects=planned.about_objects, request=planned.request,
        stack=planned.wanted.stack, runs=planned.wanted.runs,
    )  # fmt: skip


def thaw(kept: Frozen, series: Series, settings: Settings, gates: Gates) -> Planned:
    """Return the plan of a series again."""
    tried = tuple(Attempt(one.tree, one.how, one.commit, one.reason) for one in kept.tried)
    request = kept.request
    base = Base(request.tree, request.base, kept.reason, tried, request.prerequisites)
    return Planned(
        settings, series, base, kept.source, kept.about_objects, gates, request, kept.wanted
    )


def key(kind: Queue, request: Record) -> str:
    """Return the key of a job: equal work has an equal one, whoever asks for it, and when.

    Of a patch only its diff counts: a resend, or a version with another changelog, is the same
    work. Limits do not count, our own version does.
    """
    told = _build(request) if isinstance(request, BuildRequest) else request.model_dump(mode="json")
    text = json.dumps([version("stackhog"), kind, told], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _build(request: BuildRequest) -> dict[str, Any]:
    told = request.model_dump(mode="json", exclude={"limits", "patches", "prerequisites"})
    return told | {
        "patches": [_diff(one) for one in request.patches],
        "prerequisites": [_diff(one) for one in request.prerequisites],
    }


def _diff(patch: PatchText) -> tuple[int, str]:
    return patch.index, hashlib.sha256(patch.diff).hexdigest()
