"""The bot, wired together from settings: sources, store, outbox, keys, trees, workers."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from bot.contract import OursError, TheirsError
from bot.mail import robots, sources
from bot.mail.following import Fetched, Source
from bot.mail.headers import Address
from bot.mail.imap import Account, Imap, Security
from bot.mail.maildir import Maildir
from bot.mail.mbox import Mbox
from bot.mail.series import Series
from bot.review import allow
from bot.review.allow import Names
from bot.review.carrier import Carrier, backoff
from bot.review.frozen import Frozen, thaw
from bot.review.prerequisites import Known
from bot.review.told import Planned
from bot.service import watch
from bot.service.carrying import Carriage, Limits
from bot.service.hearing import Ears
from bot.service.intake import Patience
from bot.service.planning import Office
from bot.service.running import Running
from bot.service.telling import Mouth, Voice, own_addresses
from bot.service.watch import Bot, Round, Runs
from bot.settings import BadSettingError, Settings, secret
from bot.store.database import Store
from bot.verbs import commanding, outbox, reviewing, storing
from bot.verbs.reviewing import Asked
from policies import kernels, stress
from policies.lists import load as load_lists
from policies.schema import PolicyError
from policies.scope import load as load_scope
from workers.fleet import Fleet

SLICE = 5.0  # seconds of a wait between two looks at whether to stop
RESTARTS = 5  # of a broker that does not answer, until `--once` gives up
POLL = 0.02  # seconds between two looks at jobs
JOBS = ("stack", "stress")


def store_of(settings: Settings) -> Store:
    """Open the store that the settings name."""
    return storing.opened(settings)


def source(url: str, settings: Settings, stop: threading.Event | None = None) -> Source:
    """Return the source that a URL names.

    maildir:PATH · mbox:PATH · imap://USER@HOST:PORT/FOLDER · https://ARCHIVE, or a path of one,
    for public-inbox in git · lore+https://ARCHIVE for one over HTTP alone. Raises
    BadSettingError.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    since = datetime.now(UTC) - timedelta(days=settings.since_days)
    match parts.scheme:
        case "maildir":
            return Maildir(path)
        case "mbox":
            return Mbox(path)
        case "imap" | "imaps":
            account = _account(url, settings)
            given = settings.imap_password
            return Imap(account, secret("imap_password", settings.imap_password_file, given))
        case "http" | "https" | "file" | "":
            from bot.mail.archive import Archive  # noqa: PLC0415 - pygit2 only where it is needed

            return Archive(url, settings.data / "archives", since, stop)
        case "lore+http" | "lore+https":
            from bot.mail.lore import Lore  # noqa: PLC0415 - the same for requests

            return Lore(url.removeprefix("lore+"), since, settings.lore_fallbacks, stop)
    raise BadSettingError(
        f"settings are wrong (sources: {parts.scheme}: is none that is known): give maildir:, "
        "mbox:, imap://, https:// or lore+https://"
    )


def _account(url: str, settings: Settings) -> Account:
    parts = urlsplit(url)
    try:
        port = parts.port or 0
    except ValueError:
        port = -1
    if not parts.hostname or not parts.username or port < 0:
        raise BadSettingError(
            f"settings are wrong (sources: {url} names no server and user): give "
            "imap://USER@HOST/FOLDER"
        )
    return Account(
        host=parts.hostname, user=unquote(parts.username),
        folder=unquote(parts.path.strip("/")) or "INBOX", port=port,
        security=Security.TLS if parts.scheme == "imaps" else Security(settings.imap_security),
        ca=settings.imap_ca,
    )  # fmt: skip


class Planner:
    """Plans by settings, policies and trees: what the service calls a planner."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def plan(self, series: Series, args: dict[str, Any], known: Known) -> Planned:
        """Plan a run as it was asked for. Raises TheirsError, OursError."""
        return reviewing.plan_for(series, asked(args), self._settings, known)

    def thaw(self, kept: Frozen, series: Series) -> Planned:
        """Return a plan that was kept. Raises OursError."""
        return thaw(kept, series, self._settings, reviewing.gates())


def asked(args: dict[str, Any]) -> Asked:
    """Return the arguments of a /test, or of a run by scope, as a review takes them."""
    jobs = args.get("jobs") or JOBS
    profiles = [args["profile"]] if args.get("profile") else args.get("profiles", ())
    return Asked(
        path="", tree=None, base=args.get("base"), config=args.get("config"), series=None,
        stack="stack" in jobs, stress="stress" in jobs, profiles=tuple(profiles),
    )  # fmt: skip


def limits(settings: Settings) -> Limits:
    """Return how long is waited for a job, and how often it is tried."""
    return Limits(
        backoff=lambda tries: backoff(tries, settings.retry_seconds),
        in_flight=settings.in_flight, failures=settings.job_failures,
        losses=settings.job_losses, lost=settings.lost_seconds, queued=settings.queued_seconds,
    )  # fmt: skip


def bot_of(settings: Settings, broker_url: str, runs: Runs, stop: threading.Event) -> Bot:
    """Return the bot as the settings have it.

    Raises BadSettingError, OursError where a policy cannot be used.
    """
    store = store_of(settings)
    own = own_addresses(settings.address)
    try:
        lists, scope = load_lists(), load_scope()
    except PolicyError as error:
        raise OursError(str(error)) from error
    keys = settings.dkim_keys
    ears = Ears(
        own=own, sender=settings.address, resolve=commanding.resolver(keys),
        maintainers=lambda: commanding.owners_of(settings, None, None),
        names=Names(stress.list_names(), kernels.list_names()), operators=settings.operators,
        robots=(*robots.KNOWN, *settings.robots, *lists.people.robots),
        max_age=timedelta(days=settings.command_days),
    )  # fmt: skip
    voice = Voice(
        settings.address, own, lists, lambda one: responsible(settings, one),
        lambda one: lists.names(one) or reviewing.gates().reply.is_list(one),
    )  # fmt: skip
    patience = replace(Patience(), incomplete=timedelta(minutes=settings.series_minutes))
    post, limited = outbox.opened(settings, to_send=True), limits(settings)
    carrier = Carrier(broker_url, settings.broker_ca)
    return Bot(
        store=store, outbox=post, ears=ears,
        office=Office(store, Planner(settings), post, settings.address, limited.backoff),
        mouth=Mouth(store, post, voice), carriage=Carriage(store, carrier, limited),
        policy=scope, patience=patience, fetch=lambda lead: thread(settings, lead), runs=runs,
        clock=lambda: datetime.now(UTC), stop=stop.is_set,
    )  # fmt: skip


def responsible(settings: Settings, series: Series) -> tuple[Address, ...]:
    """Return M: and R: of MAINTAINERS for the files that a series touches."""
    known, _ = commanding.owners_of(settings, None, None)
    found = allow.responsible(known, series).people if known else ()
    return tuple(Address(one.name or one.email, one.email) for one in found)


def thread(settings: Settings, message_id: str) -> Iterable[bytes]:
    """Return the mails of a thread, from the archive that the settings name."""
    import io  # noqa: PLC0415 - only where something is missing

    from bot.mail import lore  # noqa: PLC0415 - the same

    try:
        return list(
            sources.split(
                io.BytesIO(lore.thread(settings.lore_url, message_id, settings.lore_fallbacks))
            )
        )
    except TheirsError:
        return ()  # the archive does not have it


def stopping() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def sources_of(
    urls: Sequence[str], settings: Settings, stop: threading.Event, *, some: bool = True
) -> list[Source]:
    """Return the sources that were named, else those of the settings.

    Raises BadSettingError, also where there is none though ``some`` must be.
    """
    wanted = urls or settings.sources
    if some and not wanted:
        raise BadSettingError(
            "settings are wrong (sources: there are none): name one, or set STACKHOG_SOURCES"
        )
    return [
        Piped(sys.stdin.buffer) if one == "-" else source(one, settings, stop) for one in wanted
    ]


def once(bot: Bot, sources: Sequence[Source], fleet: Fleet) -> Round:
    """Take in what there is, do all that it brings but what is put off, and send."""
    found = watch.read(bot, sources)
    watch.think(bot)
    left = RESTARTS
    while watch.busy(bot) and not bot.stop():
        try:
            mend(fleet)
            _work_off(bot, fleet)
        except OursError:
            if not left:
                raise
            left -= 1
            time.sleep(1)
    with watch.logged("outbox"):
        watch.send(bot)
    return found


def _work_off(bot: Bot, fleet: Fleet) -> None:
    """Do what there is to do, until it is done or our own broker or worker ends."""
    watch.keep_house(bot)
    while (change := watch.carry(bot)) or watch.busy(bot):
        watch.think(bot, change)
        if bot.stop() or not fleet.alive():
            return
        time.sleep(POLL)


def run(
    bot: Bot,
    sources: Sequence[Source],
    settings: Settings,
    stop: threading.Event,
    fleet: Fleet,
    page: Callable[[], bool] = lambda: True,
) -> None:
    """Run the bot until it is told to stop; broker and worker of our own are kept alive.

    ``page`` says whether what is served beside it still is. Raises OursError when it is not.
    """
    running = Running(bot, sources, lambda: pause(sources, settings.poll_seconds, stop), stop)
    watch.begin(bot)
    running.parts.start()
    try:
        while not stop.wait(SLICE / 5):
            with watch.logged("broker and worker"):
                mend(fleet)
            if not page():
                raise OursError("the page has ended by itself: see the log")
    finally:
        stop.set()
        running.parts.join()


def mend(fleet: Fleet) -> None:
    """Start broker and worker of our own anew if one of them died. Raises OursError."""
    if not fleet.alive():
        fleet.stop()
        fleet.start()


class Piped:
    """Mail on standard input, read once; there is nothing to go on from."""

    name = "stdin"

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def follow(self, cursor: str) -> Iterator[Fetched]:
        """Yield the mails."""
        return (Fetched(raw, cursor) for raw in sources.read_stdin(self._stream))

    def wait(self, seconds: float) -> None:
        """Return at once: no more will come."""


def pause(found: Sequence[Source], seconds: float, stop: threading.Event) -> None:
    """Wait so many seconds, or until there is mail or the stop comes.

    Only IMAP servers tell of new mail; the other sources are looked at again after the pause.
    """
    waking = [one for one in found if isinstance(one, Imap)]
    end = time.monotonic() + seconds
    while not stop.is_set() and (left := end - time.monotonic()) > 0:
        if not waking:
            stop.wait(left)
            return
        for one in waking:
            part = min(left, SLICE) / len(waking)
            began = time.monotonic()
            one.wait(part)
            if time.monotonic() - began < part * 0.9:
                return
