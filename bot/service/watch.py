"""One round of all that the bot does by itself: each step goes on from what is stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bot.errors import OursError, StackhogError
from bot.mail.following import Source
from bot.mail.outbox import Outbox
from bot.service import hearing, intake, runs, scoping
from bot.service.hearing import Ears
from bot.service.intake import Fetch, Patience
from bot.service.runs import Tester, Voice
from bot.store import cursors, wishes
from bot.store.database import Store
from policies.scope import ScopePolicy

LOG = logging.getLogger(__name__)
AT_ONCE = 500  # mails between two times that series are put together
PREFIX = "stackhog-"  # of the Message-IDs of our own mail


class Runs(StrEnum):
    """Which of the runs that are wanted are made."""

    ALL = "all"
    ASKED = "asked"  # those that somebody asked for by mail
    NONE = "none"


@dataclass(frozen=True)
class Bot:
    """All that a round needs."""

    store: Store
    outbox: Outbox
    ears: Ears
    voice: Voice
    tester: Tester
    policy: ScopePolicy
    patience: Patience
    fetch: Fetch | None  # the thread of a Message-ID, from an archive
    runs: Runs
    clock: Callable[[], datetime]
    stop: Callable[[], bool]  # whether the operator wants us to end


@dataclass(frozen=True)
class Round:
    """What one round came to."""

    new: int  # mails
    broken: tuple[str, ...]  # sources that could not be read


def round_(bot: Bot, sources: Sequence[Source]) -> Round:
    """Take in what came, and do what follows from it.

    What fails by our fault is logged and left for the next round.
    """
    new, broken = 0, []
    for source in sources:
        try:
            new += _read(bot, source)
        except StackhogError as error:
            LOG.warning("%s: %s", source.name, error)
            broken.append(source.name)
    _settle(bot)
    for step in (_hear, _complete, _decide, _run, _send):
        if bot.stop():
            break
        with _logged(step.__name__.strip("_")):
            step(bot)
    return Round(new, tuple(broken))


@contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except StackhogError as error:
        LOG.warning("%s: %s", what, error)


def _read(bot: Bot, source: Source) -> int:
    """Take in what a source has; return how many mails were new."""
    new = 0
    with bot.store.session() as session:
        cursor = cursors.get(session, source.name)
    for number, fetched in enumerate(source.follow(cursor), 1):
        taken = intake.take(bot.store, source.name, fetched, bot.clock(), bot.ears.own)
        new += taken.new
        if taken.message.message_id.startswith(PREFIX):
            bot.outbox.confirm(taken.message.message_id, bot.clock())
        if number % AT_ONCE == 0:
            _settle(bot)
        if bot.stop():
            break
    return new


def _settle(bot: Bot) -> None:
    for lead in intake.settle(bot.store, bot.clock(), bot.patience):
        LOG.info("series %s: changed", lead)


def _complete(bot: Bot) -> None:
    """Look for what is missing in an archive, then mark what is still not whole."""
    now = bot.clock()
    leads = intake.unfinished(bot.store, now)
    if leads and bot.fetch is not None:
        try:
            if intake.complete(bot.store, leads, bot.fetch, now):
                _settle(bot)
        except OursError as error:
            LOG.warning("looking for missing patches: %s", error)
    intake.give_up(bot.store, bot.clock())


def _decide(bot: Bot) -> None:
    for lead, reason in scoping.look(bot.store, bot.policy, bot.clock()):
        LOG.info("series %s: %s", lead, reason)


def _hear(bot: Bot) -> None:
    for one in hearing.hear_all(bot.store, bot.ears, bot.outbox, bot.clock()):
        LOG.info("command /%s by %s: %s", one.command.verb, one.command.sender, one.judged.reason)


def _run(bot: Bot) -> None:
    if bot.runs is Runs.NONE:
        return
    with bot.store.session() as session:
        waiting = wishes.waiting(session, bot.clock())
    for wanted in waiting:
        if bot.stop():
            return
        if bot.runs is Runs.ASKED and wanted.asked_in is None:
            continue
        try:
            said = runs.answer(bot.store, wanted, bot.tester, bot.voice, bot.outbox, bot.clock())
        except OursError as error:
            with bot.store.session() as session:
                when = wishes.put_off(session, wanted.id, str(error), bot.clock())
            LOG.warning("series %s: %s (tried again at %s)", wanted.series, error, f"{when:%H:%M}")
        else:
            LOG.info("series %s: %s", wanted.series, said)


def _send(bot: Bot) -> None:
    for letter in bot.outbox.deliver_due(bot.clock()):
        LOG.info("mail %s: %s %s", letter.id, letter.state, letter.reason)
