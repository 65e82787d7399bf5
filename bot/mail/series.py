"""Series: one version of one submission, put together from mails."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bot.mail.commit import commit
from bot.mail.headers import Address
from bot.mail.message import Message
from bot.mail.threads import clusters

_BASE = re.compile(r"(?m)^base-commit: ([0-9a-f]{40})\b")
_CHANGE = re.compile(r"(?m)^change-id: (\S{1,200})\s*$")
RANGE = 3  # numbers in a row that are written as a range
SHOWN = 10  # numbers and ranges that are written at most


@dataclass(frozen=True)
class Patch:
    """A patch mail and its place in the series, from 1."""

    index: int
    message: Message


@dataclass(frozen=True)
class Series:
    """One version of one submission; patches are in order, what is not there is in missing."""

    id: str  # message-id of the cover, else of the lowest patch
    title: str
    version: int
    tags: tuple[str, ...]  # "RFC", "net-next"; as in the brackets, RESEND left out
    resend: bool
    total: int
    cover: Message | None
    patches: tuple[Patch, ...]
    missing: tuple[int, ...]
    problem: str | None  # a damaged or absent diff, one sentence
    submitter: Address
    date: datetime
    base_commit: str | None  # 40 hex digits
    change_id: str | None
    supersedes: str | None  # id of the version before, when that is in the input

    @property
    def complete(self) -> bool:
        """Whether every patch is there and whole."""
        return not self.missing and self.problem is None

    @property
    def lead(self) -> Message:
        """The mail that a reply answers: the cover, else the lowest patch."""
        return self.cover or self.patches[0].message


def assemble(messages: Iterable[Message]) -> tuple[Series, ...]:
    """Find the series in a bag of mails, oldest first; the order of arrival is of no account."""
    found = [_series(cluster) for cluster in clusters(filter(_counts, messages))]
    ordered = sorted((one for one in found if one), key=lambda one: (one.date, one.id))
    theirs: defaultdict[str, list[Series]] = defaultdict(list)
    for one in ordered:
        theirs[one.submitter.email.lower()].append(one)
    return tuple(
        replace(one, supersedes=_former(one, theirs[one.submitter.email.lower()]))
        for one in ordered
    )


def _counts(message: Message) -> bool:
    """Tell a submission from talk under a patch's subject."""
    label = message.label
    return label.is_patch and bool(label.is_cover or message.diff or message.has_diffstat)


def _series(cluster: Sequence[Message]) -> Series | None:
    cover = next((one for one in cluster if one.label.is_cover), None)
    mails = sorted((one for one in cluster if one is not cover), key=lambda one: one.label.index)
    lead, total = cover or mails[0], cluster[0].label.total
    if not mails and not total:
        return None  # "[PATCH 0/0]": a letter without patches
    present = {one.label.index for one in mails}
    return Series(
        id=lead.message_id,
        title=lead.label.title,
        version=max((one.label.version or 1 for one in cluster), default=1),
        tags=_tags(lead, mails),
        resend=any(one.label.resend for one in cluster),
        total=total,
        cover=cover,
        patches=tuple(Patch(one.label.index, one) for one in mails),
        missing=tuple(index for index in range(1, total + 1) if index not in present),
        problem=_problem(mails),
        submitter=lead.sender,
        date=lead.date,
        base_commit=_trailer(_BASE, [lead, *mails]),
        change_id=_trailer(_CHANGE, [lead, *mails]),
        supersedes=None,
    )


def _tags(lead: Message, mails: Sequence[Message]) -> tuple[str, ...]:
    """Return the tags of the cover, and those that all patches have."""
    shared = [
        tag for tag in (mails[0].label.tags if mails else ())
        if all(tag in one.label.tags for one in mails)
    ]  # fmt: skip
    return tuple(dict.fromkeys([*lead.label.tags, *shared]))


def _problem(mails: Sequence[Message]) -> str | None:
    wrong = [
        f"patch {one.label.index}: {one.damage or 'there is no diff in the mail'}"
        for one in mails if one.damage or not one.diff
    ]  # fmt: skip
    return "; ".join(wrong) or None


def numbered(indices: Sequence[int], of: str = "") -> str:
    """Return ascending numbers as a person reads them: "2, 4-9", and not all where many.

    ``of`` is put behind each.
    """
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    words: list[tuple[str, int]] = []  # and how many numbers each stands for
    for run in runs:
        if len(run) < RANGE:
            words += [(str(index), 1) for index in run]
        else:
            words.append((f"{run[0]}-{run[-1]}", len(run)))
    left = sum(count for _, count in words[SHOWN:])
    return ", ".join(word + of for word, _ in words[:SHOWN]) + (f" and {left} more" if left else "")


def _trailer(pattern: re.Pattern[str], mails: Sequence[Message]) -> str | None:
    found = (pattern.search(text) for mail in mails for text in (mail.above, mail.below))
    return next((match[1] for match in found if match), None)


def _former(one: Series, same_submitter: Sequence[Series]) -> str | None:
    """Return the id of the version that this one replaces."""
    before = [
        _rank(other) for other in same_submitter
        if _rank(other) < _rank(one) and _same_work(one, other)
    ]  # fmt: skip
    return max(before)[2] if before else None


def _rank(one: Series) -> tuple[int, datetime, str]:
    return one.version, one.date, one.id


def _same_work(one: Series, other: Series) -> bool:
    same_change = one.change_id is not None and one.change_id == other.change_id
    return same_change or one.title.casefold() == other.title.casefold()


def as_json(series: Series) -> dict[str, object]:
    """Return a series in the shape of `stackhog series --json`."""
    return {
        "id": series.id,
        "title": series.title,
        "version": series.version,
        "tags": list(series.tags),
        "resend": series.resend,
        "total": series.total,
        "cover": series.cover.message_id if series.cover else None,
        "patches": [_patch_json(patch) for patch in series.patches],
        "complete": series.complete,
        "missing": list(series.missing),
        "problem": series.problem,
        "submitter": str(series.submitter),
        "date": series.date.isoformat(),
        "base_commit": series.base_commit,
        "change_id": series.change_id,
        "supersedes": series.supersedes,
    }


def _patch_json(patch: Patch) -> dict[str, object]:
    read = commit(patch.message)
    return {
        "index": patch.index,
        "message_id": patch.message.message_id,
        "subject": patch.message.subject,
        "author": str(read.author),
        "date": read.date.isoformat(),
    }
