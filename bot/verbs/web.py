"""`stackhog web`: the status page, health and metrics over HTTP, alone."""

from __future__ import annotations

import click


@click.command(epilog="Example: stackhog web --host 0.0.0.0 --port 8010")
@click.option("--host", default=None, help="Address to serve on; default: the setting web_host.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=None,
    help="Port; 0: any that is free; default: the setting web_port.",
)  # fmt: skip
def command(host: str | None, port: int | None) -> None:
    """Serve the status page, /healthz, /readyz and /metrics until it is told to stop.

    It reads the store that the settings name, and nothing else: as many as you like may run.
    """
    import logging  # noqa: PLC0415 - keeps --help instant
    import signal  # noqa: PLC0415
    import threading  # noqa: PLC0415

    from bot.contract import logs  # noqa: PLC0415
    from bot.errors import OursError  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415
    from bot.verbs import storing  # noqa: PLC0415
    from bot.verbs.exploring import Explorers  # noqa: PLC0415
    from bot.verbs.wiring import shelf, worker_config  # noqa: PLC0415
    from bot.web.app import make_app  # noqa: PLC0415
    from bot.web.server import Server  # noqa: PLC0415

    settings = load()
    logs.configure(settings.log_format)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    store = storing.opened(settings)
    where = host or settings.web_host
    explorers = Explorers(worker_config(settings))
    app = make_app(store, settings, shelf=shelf(settings), guide=explorers)
    with Server(app, where, settings.web_port if port is None else port) as server:
        logging.getLogger(__name__).info("serving on %s port %s", where, server.port)
        while server.alive() and not stop.wait(1):
            pass
    explorers.close()
    store.close()
    if not stop.is_set():
        raise OursError("the page has ended by itself: see the log")
