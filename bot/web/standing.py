"""How the service stands: all that an operator is shown, out of one snapshot of the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bot.store import measure, overview
from bot.store.database import Store
from bot.store.measure import Figures
from bot.store.overview import Overview
from bot.web import attention
from bot.web.attention import Need
from bot.web.living import LATELY, Living, living


@dataclass(frozen=True)
class Standing:
    """How the service stood at a time."""

    at: datetime
    living: Living
    figures: Figures
    overview: Overview
    needs: tuple[Need, ...]


def look(store: Store, now: datetime) -> Standing:
    """Return how the service stands. Raises StoreError."""
    with store.reading() as session:
        alive = living(measure.known(session, now - LATELY), now)
        figures = measure.figures(session)
        under_way = overview.overview(session)
    needs = attention.needs(alive, figures, under_way, now)
    return Standing(now, alive, figures, under_way, needs)
