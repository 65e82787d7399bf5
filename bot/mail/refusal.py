"""What of mail is not read, and how that is told."""

from __future__ import annotations

import logging
from pathlib import Path

from bot.errors import TheirsError

LOG = logging.getLogger(__name__)


class NotMailError(TheirsError):
    """A path holds no mail; carries the path."""

    def __init__(self, path: Path, cause: str, way_out: str) -> None:
        self.path = path
        super().__init__(f"{path} {cause}: {way_out}")


def left_out(where: str, limit: int) -> None:
    """Warn that a mail has more bytes than are looked at."""
    LOG.warning("%s: larger than %d MiB, left out", where, limit >> 20)
