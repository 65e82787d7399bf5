"""`stackhog watch`: follow lists and a mailbox, and answer."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack

import click

EXIT_OURS = 3  # a source could not be read


@click.command(epilog="Example: stackhog watch --once maildir:/var/mail/lists")
@click.argument("urls", metavar="SOURCE…", nargs=-1)
@click.option("--once", is_flag=True, help="Do one round and end.")
@click.option(
    "--run", "runs", type=click.Choice(["all", "asked", "none"]), default="all", show_default=True,
    help="Which runs are made: also of what is in scope, only what was asked for by mail, none.",
)  # fmt: skip
def command(urls: tuple[str, ...], once: bool, runs: str) -> None:  # noqa: FBT001 - click passes flags so
    """Follow SOURCE…, or the settings' sources; put series together, run, and answer.

    A source is maildir:PATH, mbox:PATH, imap://USER@HOST/FOLDER, https://ARCHIVE (public-inbox
    in git), lore+https://ARCHIVE, or - for mail on standard input, as from an MTA's pipe. What
    is answered waits in `stackhog outbox`; nothing leaves unless settings say so.
    """
    from bot.service.watch import Runs, round_  # noqa: PLC0415
    from bot.settings import BadSettingError, load  # noqa: PLC0415 - keeps --help instant
    from bot.verbs import watching  # noqa: PLC0415
    from bot.verbs.wiring import worker_config  # noqa: PLC0415
    from workers.fleet import Fleet  # noqa: PLC0415

    settings = load()
    wanted = urls or settings.sources
    if not wanted:
        raise BadSettingError(
            "settings are wrong (sources: there are none): name one, or set STACKHOG_SOURCES"
        )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    sources = [
        watching.Piped(sys.stdin.buffer) if url == "-" else watching.source(url, settings, stop)
        for url in wanted
    ]
    log = worker_config(settings).cache / "worker.log"
    with ExitStack() as kept:
        fleet = Fleet(settings.broker_url, settings.slots, log)
        if runs != "none":
            kept.enter_context(fleet)
        bot = watching.bot_of(settings, fleet, Runs(runs), stop)
        while not stop.is_set():
            done = round_(bot, sources)
            if once or "-" in wanted:
                click.echo(f"{done.new} new mails", err=True)
                if done.broken:
                    sys.exit(EXIT_OURS)
                break
            if not done.new:
                watching.pause(sources, settings.poll_seconds, stop)
