"""series → labels: what people may look a series up by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from bot.mail.series import Series
from bot.review import scope
from bot.review.scope import Scope
from bot.service.telling import Voice
from bot.store.labels import Kind


def labels(series: Series, found: Scope, voice: Voice) -> frozenset[tuple[Kind, str]]:
    """Return the labels of a series; its maintainers are looked up where it is in scope."""
    return frozenset(_labels(series, found, voice))


def _labels(series: Series, found: Scope, voice: Voice) -> Iterator[tuple[Kind, str]]:
    for mail in (series.lead, *(patch.message for patch in series.patches)):
        for address in (*mail.to, *mail.cc):
            if voice.is_list(address.email):
                yield Kind.LIST, address.email.lower()
    for name in sorted({name for one in scope.facts(series) for name in one.files}):
        yield Kind.PATH, name
        above = PurePosixPath(name).parts[:-1]
        for depth in range(1, len(above) + 1):
            yield Kind.PATH, "/".join(above[:depth])
        if len(above) > 1 and above[0] == "fs":
            yield Kind.FILESYSTEM, above[1]
    for filesystem in found.filesystems:
        yield Kind.FILESYSTEM, filesystem
    for person in voice.maintainers(series) if found.inside else ():
        yield Kind.MAINTAINER, person.email.lower()
