"""`stackhog serve`: everything on this machine, in one process tree."""

from __future__ import annotations

import click


@click.command(epilog="Example: stackhog serve --port 8010 https://lore.kernel.org/linux-mm")
@click.argument("urls", metavar="SOURCE…", nargs=-1)
@click.option("--host", default=None, help="Address of the page; default: the setting web_host.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=None,
    help="Its port, 0 for any that is free; default: the setting web_port.",
)  # fmt: skip
@click.option(
    "--run", "runs", type=click.Choice(["all", "asked", "none"]), default="all", show_default=True,
    help="Which runs are made: also of what is in scope, only what was asked for by mail, none.",
)  # fmt: skip
def command(urls: tuple[str, ...], host: str | None, port: int | None, runs: str) -> None:
    """Follow SOURCE…, or the settings' sources; run the jobs here, answer, and show a page.

    Bot, broker, one worker and the page in one process tree: all of it ends with this process,
    however that ends, and what was under way is taken up again at the next start. /healthz,
    /readyz and /metrics are beside the page. SIGTERM and SIGINT stop it.
    """
    from bot.contract import logs  # noqa: PLC0415
    from bot.service.watch import Runs  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415 - keeps --help instant
    from bot.verbs import watching  # noqa: PLC0415
    from bot.verbs.exploring import Explorers  # noqa: PLC0415
    from bot.verbs.wiring import broker_url, checked, shelf, worker_config  # noqa: PLC0415
    from bot.web.app import make_app  # noqa: PLC0415
    from bot.web.server import Server  # noqa: PLC0415
    from workers.fleet import Fleet  # noqa: PLC0415

    settings = checked(load())
    logs.configure(settings.log_format)
    stop = watching.stopping()
    sources = watching.sources_of(urls, settings, stop, some=False)
    log = worker_config(settings).cache / "worker.log"
    with Fleet(broker_url(settings), settings.slots, log) as fleet:
        bot = watching.bot_of(settings, fleet.url, Runs(runs), stop)
        address = settings.web_host if host is None else host
        number = settings.web_port if port is None else port
        explorers = Explorers(worker_config(settings))
        app = make_app(bot.store, settings, shelf=shelf(settings), guide=explorers)
        with Server(app, address, number) as server:
            click.echo(f"stackhog: http://{address}:{server.port}/", err=True)
            watching.run(bot, sources, settings, stop, fleet, server.alive)
            explorers.close()
