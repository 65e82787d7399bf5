"""series → scope: a series that is whole is looked at, or left alone with the reason."""

from __future__ import annotations

from datetime import datetime

from bot.review.scope import scope
from bot.service import intake
from bot.service.labelling import labels
from bot.service.telling import Voice
from bot.store import labels as label
from bot.store import series as kept
from bot.store import wishes
from bot.store.database import Store
from bot.store.series import State
from policies.scope import ScopePolicy


def look(
    store: Store, policy: ScopePolicy, voice: Voice, now: datetime
) -> tuple[tuple[str, str], ...]:  # fmt: skip
    """Decide over every series that is ready; return leads and reasons.

    What is inside is wanted; a version that it supersedes and that nobody asked for no longer
    is.
    """
    with store.session() as session:
        ready = kept.due(session, now, [State.READY])
    decided = []
    for one in ready:
        series = intake.load(store, one.lead)
        if series is None:
            continue
        found = scope(series, policy)
        about = labels(series, found, voice)
        with store.session() as session:
            kept.mark(session, one.lead, State.INSIDE if found.inside else State.OUTSIDE, found.reason)  # noqa: E501 # fmt: skip
            label.put(session, one.lead, about)
            if found.inside:
                wishes.want(session, one.lead, {"profiles": list(found.profiles)}, None, now)
                _supersede(session, one, now)
        decided.append((one.lead, found.reason))
    return tuple(decided)


def _supersede(session: wishes.Session, one: kept.Kept, now: datetime) -> None:
    for lead in kept.lineage(session, one.lead):
        other = kept.get(session, lead)
        if other is None or other.version >= one.version:
            continue
        reason = f"v{one.version} has come"
        if wishes.cancel(session, lead, reason, now, by_scope=True):
            kept.mark(session, lead, State.SUPERSEDED, reason)
