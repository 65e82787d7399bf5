"""Whether the service can do its work now: for load balancers and Kubernetes."""

from __future__ import annotations

import logging
from datetime import datetime

from bot.contract import Queue
from bot.store import measure
from bot.store.database import Store, StoreError
from bot.web.living import LATELY, Living, living

LOG = logging.getLogger(__name__)
NEEDED = (Queue.BUILD, Queue.STACK)  # without these no review ends


def look(store: Store, now: datetime) -> tuple[str, ...]:
    """Return why the service is not ready; nothing, if it is."""
    try:
        with store.reading() as session:
            current = measure.is_current(session)
            found = measure.known(session, now - LATELY) if current else ()
    except StoreError as error:
        LOG.warning("%s", error)  # who asks need not know where it is
        return ("the store cannot be used",)
    if not current:
        return ("the store is not of this version",)
    return reasons(living(found, now), now)


def reasons(found: Living, now: datetime) -> tuple[str, ...]:
    """Return why those who live cannot do the work."""
    wrong = []
    if not found.bots:
        wrong.append(_silent(found, now))
    elif not any(one.broker for one in found.bots):
        wrong.append("the bot does not reach its broker")
    slots = found.slots()
    wrong += [f"no worker serves the queue {one}" for one in NEEDED if not slots[one]]
    return tuple(wrong)


def _silent(found: Living, now: datetime) -> str:
    if found.last is None:
        return "no bot was ever seen"
    return f"no bot was seen for {(now - found.last.seen).total_seconds():.0f} seconds"
