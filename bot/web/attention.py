"""What needs an operator, each with what to do about it; nothing where all is well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.contract import Queue
from bot.store.measure import Figures
from bot.store.outbox import State
from bot.store.overview import Overview
from bot.web.health import NEEDED
from bot.web.living import Living

LONG = timedelta(hours=2)  # that a job may wait
LOW = 4 << 30  # bytes of free disk, below which a build may fail


@dataclass(frozen=True)
class Need:
    """Something that does not go on by itself."""

    what: str
    action: str


def needs(alive: Living, found: Figures, under_way: Overview, now: datetime) -> tuple[Need, ...]:
    """Return what needs an operator."""
    return tuple(
        Need(what, action)
        for part in (_bots(alive, now), _workers(alive, found, now), _runs(under_way), _mail(found))
        for what, action in part
    )


def _bots(alive: Living, now: datetime) -> Iterator[tuple[str, str]]:
    if not alive.bots:
        last = alive.last
        when = f"since {last.seen:%Y-%m-%d %H:%M} UTC" if last and last.seen <= now else "yet"
        yield f"no bot was seen {when}", "start `stackhog serve` or `stackhog watch`"
    elif not any(one.broker for one in alive.bots):
        yield "the bot does not reach its broker", "start the broker, or mend broker_url"
    for name in sorted({name for one in alive.bots for name in one.unread}):
        yield f"the source {name} could not be read", "see the log of the bot for the reason"


def _workers(alive: Living, found: Figures, now: datetime) -> Iterator[tuple[str, str]]:
    slots = alive.slots()
    waiting = {one.kind for one in found.lines if one.waiting}
    for queue in Queue:
        served = slots[queue] or (queue is Queue.STRESS and slots["kvm"])
        if not served and (queue in waiting or (alive.bots and queue in NEEDED)):
            yield f"no worker serves the queue {queue}", "start `stackhog worker`"
    for line in found.lines:
        if line.oldest and now - line.oldest > LONG:
            hours = (now - line.oldest).total_seconds() / 3600
            yield f"a {line.kind} job has waited for {hours:.0f} hours", "add workers or slots"
    for host, free in sorted({one.host: one.disk_free for one in alive.workers}.items()):
        if free < LOW:
            yield (
                f"{host} has {free / (1 << 30):.1f} GiB of disk left for its cache",
                "free space, or set disk_budget",
            )


def _runs(found: Overview) -> Iterator[tuple[str, str]]:
    if found.failures:
        runs = "1 run was" if found.failures == 1 else f"{found.failures} runs were"
        yield (
            f"{runs} given up by our fault",
            "mend what the reasons name, then `stackhog retry --all`",
        )


def _mail(found: Figures) -> Iterator[tuple[str, str]]:
    if found.post.stopped:
        yield f"sending is stopped: {found.post.stopped}", "`stackhog outbox go`"
    for state, action in (
        (State.UNCERTAIN, "look into the archive: arrived, `drop`; not, `approve --again`"),
        (State.FAILED, "`stackhog outbox show`, mend it, `approve --again`; or `drop`"),
    ):
        number = found.post.states.get(state, 0)
        if number:
            mails = "1 mail is" if number == 1 else f"{number} mails are"
            yield f"{mails} {state}", action
