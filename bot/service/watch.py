"""What the bot does by itself, in four parts that may run side by side.

*Reading* takes mail in and decides what is wanted, *thinking* plans runs and tells what they came
to, *carrying* speaks to the broker, *sending* to the mail server. Each goes on from what is
stored, and may be called again after a crash at any point.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bot.contract import StackRequest, logs
from bot.errors import OursError, StackhogError
from bot.mail.following import Source
from bot.mail.outbox import Outbox
from bot.service import advancing, hearing, intake, planning, scoping
from bot.service.carrying import Carriage, Change
from bot.service.hearing import Ears
from bot.service.intake import Fetch, Patience
from bot.service.planning import Office
from bot.service.telling import Mouth
from bot.store import cursors, jobs, parts, wishes
from bot.store.database import Store
from policies.scope import ScopePolicy

LOG = logging.getLogger(__name__)
AT_ONCE = 500  # mails between two times that series are put together
PREFIX = "stackhog-"  # of the Message-IDs of our own mail
TRIES = 12  # times a run is planned, or told, that breaks by our fault


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
    office: Office
    mouth: Mouth
    carriage: Carriage
    policy: ScopePolicy
    patience: Patience
    fetch: Fetch | None  # the thread of a Message-ID, from an archive
    runs: Runs
    clock: Callable[[], datetime]
    stop: Callable[[], bool]  # whether the operator wants us to end


@dataclass(frozen=True)
class Round:
    """What one look for mail came to."""

    new: int  # mails
    broken: tuple[str, ...]  # sources that could not be read


def read(bot: Bot, sources: Sequence[Source]) -> Round:
    """Take in what came, and decide what is wanted.

    What fails by our fault is logged and left for the next time.
    """
    new, broken = 0, []
    for source in sources:
        try:
            new += _read(bot, source)
        except StackhogError as error:
            LOG.warning("%s: %s", source.name, error)
            broken.append(source.name)
    _settle(bot)
    for step in (_hear, _complete, _decide):
        if bot.stop():
            break
        with logged(step.__name__.strip("_")):
            step(bot)
    return Round(new, tuple(broken))


def think(bot: Bot, change: Change | None = None) -> int:
    """Plan what is wanted, and go on with the runs whose jobs changed; return how many moved.

    ``change`` is what the broker brought; None looks at all runs.
    """
    if bot.runs is Runs.NONE:
        return 0
    return _plan(bot) + _advance(bot, change)


def carry(bot: Bot) -> Change:
    """Send jobs to the broker and take results from it. Raises OursError."""
    change = bot.carriage.collect(bot.clock())
    change.sent += bot.carriage.dispatch(bot.clock())
    return change


def send(bot: Bot) -> int:
    """Send the mail that is due; return how many were tried. Raises OursError."""
    letters = bot.outbox.deliver_due(bot.clock())
    for letter in letters:
        LOG.info(
            "mail %s: %s %s", letter.id, letter.state, letter.reason,
            extra={"series": letter.series or ""},
        )  # fmt: skip
        if letter.state in {"sent", "failed"}:
            with bot.store.session() as session:
                parts.count(session, "sent", letter.state)
    return len(letters)


def busy(bot: Bot) -> bool:
    """Whether there is a run to be planned or a job to be done, now and not later."""
    now = bot.clock()
    if bot.runs is Runs.NONE:
        return False
    with bot.store.session() as session:
        if any(_ours(bot, one) for one in wishes.waiting(session, now)):
            return True
        return bool(jobs.under_way(session) or jobs.ready(session, now, 1))


@contextmanager
def logged(what: str) -> Iterator[None]:
    """Log what fails by our fault, and go on."""
    try:
        yield
    except StackhogError as error:
        LOG.warning("%s: %s", what, error)


def _ours(bot: Bot, wanted: wishes.Wanted) -> bool:
    return bot.runs is Runs.ALL or (bot.runs is Runs.ASKED and wanted.asked_in is not None)


def _plan(bot: Bot) -> int:
    """Plan what is wanted, as far as it is due."""
    with bot.store.session() as session:
        waiting = wishes.waiting(session, bot.clock())
    count = 0
    for wanted in waiting:
        if bot.stop():
            break
        if _ours(bot, wanted):
            count += 1
            said = _tried(bot, wanted, lambda one=wanted: planning.plan(bot.office, one, bot.clock()))  # type: ignore[misc] # noqa: E501 # fmt: skip
            _tell(wanted, said)
    return count


def _advance(bot: Bot, change: Change | None) -> int:
    """Go on with the runs that need what changed, or with all."""
    early: Mapping[str, StackRequest] = change.early if change else {}
    with bot.store.session() as session:
        if change is None:
            running = wishes.running(session, bot.clock())
        else:
            running = wishes.some(session, jobs.needing(session, {*change.keys, *early}))
    count = 0
    for wanted in running:
        if bot.stop():
            break
        said = _tried(
            bot, wanted,
            lambda one=wanted: advancing.advance(bot.office, bot.mouth, one, early, bot.clock()),  # type: ignore[misc]
        )  # fmt: skip
        if said:
            count += 1
            _tell(wanted, said)
    return count


def _tell(wanted: wishes.Wanted, said: str) -> None:
    with logs.about(series=wanted.series, run=wanted.id):
        LOG.info("%s", said)


def _tried(bot: Bot, wanted: wishes.Wanted, work: Callable[[], str]) -> str:
    """Do a step of one run; what breaks it by our fault breaks no other."""
    with logs.about(series=wanted.series, run=wanted.id):
        return _guarded(bot, wanted, work)


def _guarded(bot: Bot, wanted: wishes.Wanted, work: Callable[[], str]) -> str:
    try:
        return work()
    except StackhogError as error:
        return planning.put_off(bot.office, wanted, str(error), bot.clock(), TRIES)
    except Exception as error:  # one series must not stop all others
        LOG.exception("run %s", wanted.id)
        reason = f"an error of stackhog's own, see the log: {type(error).__name__}: {error}"
        return planning.put_off(bot.office, wanted, reason, bot.clock(), TRIES)


def keep_house(bot: Bot) -> None:
    """Cancel what nobody wants, take note of the workers. Raises OursError."""
    now = bot.clock()
    bot.carriage.sweep(now)
    bot.carriage.meet(now)


def begin(bot: Bot) -> None:
    """Take up what a bot that was killed left: mail that it was about to send, and pauses.

    A bot that lives loses a mail so only before it hands it over: bot/mail/outbox.py.
    """
    bot.outbox.recover(bot.clock(), timedelta())
    hasten(bot)


def hasten(bot: Bot) -> None:
    """Go on now with all runs and jobs that are put off."""
    now = bot.clock()
    with bot.store.session() as session:
        jobs.hasten(session, now)
        wishes.hasten(session, now)


def live(bot: Bot, name: str, facts: Mapping[str, object]) -> None:
    """Say that this process lives."""
    with bot.store.session() as session:
        parts.saw(session, name, "bot", facts, bot.clock())


def listen(bot: Bot, seconds: float) -> bool:
    """Wait for news from the broker; False: there were none. Raises OursError."""
    return bot.carriage.listen(seconds)


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
        LOG.info("the series has changed", extra={"series": lead})


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
    for lead, reason in scoping.look(bot.store, bot.policy, bot.mouth.voice, bot.clock()):
        LOG.info("%s", reason, extra={"series": lead})


def _hear(bot: Bot) -> None:
    for one in hearing.hear_all(bot.store, bot.ears, bot.outbox, bot.clock()):
        lead = one.series.id if one.series else ""
        LOG.info(
            "command /%s by %s: %s", one.command.verb, one.command.sender, one.judged.reason,
            extra={"series": lead},
        )  # fmt: skip
