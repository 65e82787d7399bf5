"""Series: one version of one submission, put together from mails."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bot.mail import joins, kinds, rerolls, sending
from bot.mail.commit import commit
from bot.mail.headers import Address
from bot.mail.message import Message
from bot.mail.sending import Sending
from bot.mail.threads import clusters, unique
from bot.mail.versions import former

_BASE = re.compile(r"(?m)^base-commit: ([0-9a-f]{40})\b")
_CHANGE = re.compile(r"(?m)^change-id: (\S{1,200})\s*$")
RANGE = 3  # numbers in a row that are written as a range
NO_PART = "no part of a series"
SHOWN = 10  # numbers and ranges that are written at most


@dataclass(frozen=True)
class Patch:
    """A patch mail and its place in the series, from 1."""

    index: int
    message: Message


@dataclass(frozen=True)
class Series:
    """One version of one submission; patches are in order, what is not there is in missing."""

    id: str  # message-id of the cover, else of the lowest patch; of a partial reroll its first
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
    sending: Sending

    @property
    def complete(self) -> bool:
        """Whether every patch is there and whole."""
        return not self.missing and self.problem is None

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be tested, as a sentence; None: it is whole."""
        if self.missing:
            missing = numbered(self.missing, f"/{self.total}")
            return f"the series is not complete, patch {missing} is missing"
        return f"the series cannot be tested: {self.problem}" if self.problem else None

    @property
    def lead(self) -> Message:
        """The mail that a reply answers: the cover, else the lowest patch, else the reroll."""
        return self.sending.lead

    @property
    def mail_ids(self) -> tuple[str, ...]:
        """Ids of all its mails, those of earlier sendings of the same included."""
        return (*(mail.message_id for mail in self.sending.mails), *self.sending.copies)

    @property
    def is_partial(self) -> bool:
        """Whether some patches are those of the version before."""
        return bool(self.sending.fresh)


@dataclass(frozen=True)
class Assembled:
    """The series in a bag of mails, oldest first, and why the other mails are in none."""

    series: tuple[Series, ...]
    left: tuple[tuple[str, str], ...]  # message-id and reason, sorted


def assemble(messages: Iterable[Message]) -> tuple[Series, ...]:
    """Find the series in a bag of mails, oldest first; the order of arrival is of no account."""
    return sort_out(messages).series


def sort_out(messages: Iterable[Message]) -> Assembled:
    """Find the series in a bag of mails, and say of each other mail why it is in none."""
    everything = {one.message_id: one for one in unique(messages)}
    known = {key: one for key, one in everything.items() if kinds.is_submission(one)}
    found = joins.joined([sending.of(mails) for mails in clusters(known)], known)
    talk = joins.answers(found, known)
    found = [one for one in found if one.lead.message_id not in talk]
    found = joins.with_letters(found, everything)
    found = rerolls.without_resends(rerolls.rerolled(found, known))
    # "[PATCH 0/0]" is a letter without patches
    series = [_series(one) for one in found if one.patches or one.total]
    ordered = sorted(series, key=lambda one: (one.date, one.id))
    linked = tuple(
        replace(one, supersedes=None if before is None else ordered[before].id)
        for one, before in zip(ordered, former(ordered), strict=True)
    )
    members = {key for one in linked for key in one.mail_ids}
    left = {key: _reason(one, talk) for key, one in everything.items() if key not in members}
    return Assembled(linked, tuple(sorted(left.items())))


def _reason(one: Message, talk: Mapping[str, str]) -> str:
    if one.message_id in talk:
        return f"an answer to <{talk[one.message_id]}> without Re:"
    if one.label.is_cover:
        return "a cover letter that announces no patches"
    if one.label.is_patch:
        return "[PATCH] in its subject, but no diff and no diffstat"
    return NO_PART


def _series(one: Sending) -> Series:
    return Series(
        id=one.lead.message_id,
        title=one.title,
        version=one.version,
        tags=_tags(one.mails[0], one.patches),
        resend=bool(one.copies) or any(mail.label.resend for mail in one.mails),
        total=one.total,
        cover=one.cover,
        patches=tuple(Patch(mail.label.index, mail) for mail in one.patches),
        missing=one.missing,
        problem=_problem(one.patches),
        submitter=one.sender,
        date=one.date,
        base_commit=_trailer(_BASE, _newest_first(one)),
        change_id=_trailer(_CHANGE, _newest_first(one)),
        supersedes=None,
        sending=one,
    )


def rebuilt(placed: Iterable[tuple[Message, int]], lead: str, *, partial: bool) -> Series:
    """Return a series that was assembled before, from its mails and their places.

    A negative place is that of a mail of another sending of the same.
    """
    mails = sorted(placed, key=lambda one: (one[1], one[0].message_id))
    patches = [
        replace(mail, label=replace(mail.label, index=place)) for mail, place in mails if place > 0
    ]
    cover = next((joins.titled(mail) for mail, place in mails if place == 0), None)
    copies = tuple(mail.message_id for mail, place in mails if place < 0)
    return _series(Sending(cover, tuple(patches), (lead,) if partial else (), copies))


def _newest_first(one: Sending) -> list[Message]:
    """Return the mails in the order in which trailers are looked for: rerolled ones first."""
    return sorted(one.mails, key=lambda mail: mail.message_id not in one.fresh)


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
