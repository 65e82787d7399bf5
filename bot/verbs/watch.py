"""`stackhog watch`: follow lists and a mailbox, have runs made, and answer."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import click

EXIT_OURS = 3  # a source could not be read


@click.command(epilog="Example: stackhog watch --once maildir:/var/mail/lists")
@click.argument("urls", metavar="SOURCE…", nargs=-1)
@click.option("--once", is_flag=True, help="Take in what is there, do what it brings, and end.")
@click.option(
    "--run", "runs", type=click.Choice(["all", "asked", "none"]), default="all", show_default=True,
    help="Which runs are made: also of what is in scope, only what was asked for by mail, none.",
)  # fmt: skip
def command(urls: tuple[str, ...], once: bool, runs: str) -> None:  # noqa: FBT001 - click passes flags so
    """Follow SOURCE…, or the settings' sources; put series together, run, and answer.

    A source is maildir:PATH, mbox:PATH, imap://USER@HOST/FOLDER, https://ARCHIVE (public-inbox
    in git), lore+https://ARCHIVE, or - for mail on standard input, as from an MTA's pipe. What
    is answered waits in `stackhog outbox`; nothing leaves unless settings say so. Jobs go to the
    broker that the settings name, and its workers; without one to a worker of its own.
    """
    import logging  # noqa: PLC0415

    from bot.contract import logs  # noqa: PLC0415
    from bot.service.watch import Runs  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415 - keeps --help instant
    from bot.verbs import watching  # noqa: PLC0415
    from bot.verbs.wiring import broker_url, checked, worker_config  # noqa: PLC0415
    from workers.fleet import Fleet  # noqa: PLC0415

    settings = checked(load())
    logs.configure(settings.log_format, logging.getLogger().level if once else logging.INFO)
    stop = watching.stopping()
    sources = watching.sources_of(urls, settings, stop)
    log = worker_config(settings).cache / "worker.log"
    with ExitStack() as kept:
        fleet = Fleet(broker_url(settings), settings.slots, log)
        if runs != "none" and settings.broker_url is None:
            kept.enter_context(fleet)
        bot = watching.bot_of(settings, fleet.url, Runs(runs), stop)
        if once or "-" in urls:
            done = watching.once(bot, sources, fleet)
            click.echo(f"{done.new} new mails", err=True)
            sys.exit(EXIT_OURS if done.broken else 0)
        watching.run(bot, sources, settings, stop, fleet)
