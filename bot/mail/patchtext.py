"""A series as patches on the wire."""

from __future__ import annotations

from bot.contract import PatchText
from bot.mail.commit import commit
from bot.mail.series import Patch, Series


def patch_texts(series: Series) -> tuple[PatchText, ...]:
    """Return the patches of a series as a worker applies them, in order."""
    return tuple(_patch_text(patch) for patch in series.patches)


def _patch_text(patch: Patch) -> PatchText:
    read = commit(patch.message)
    return PatchText(
        index=patch.index,
        message_id=patch.message.message_id,
        subject=read.title,
        author_name=read.author.name,
        author_email=read.author.email,
        date=read.date,
        message=read.message,
        diff=patch.message.diff,
    )
