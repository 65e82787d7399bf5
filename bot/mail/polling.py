"""How a source on disk waits: it looks once a second, which every filesystem allows."""

from __future__ import annotations

import time
from collections.abc import Callable

from bot.errors import OursError

TICK = 1.0  # seconds


class UnreadableError(OursError):
    """A mailbox cannot be read, or not for now."""


def poll(seconds: float, look: Callable[[], object], before: object) -> None:
    """Return when what is looked at is not as before, at the latest after so many seconds.

    Sleeps first: a mailbox that always changes is not read without a pause.
    """
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(TICK, left))
        if look() != before:
            return
