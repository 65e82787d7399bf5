"""`stackhog worker`: run jobs from a broker."""

from __future__ import annotations

import sys

import click


@click.command(
    epilog="Example: stackhog worker --broker redis://broker.example.org/0 --queues build,stress"
)
@click.option("--broker", default=None, help="Broker URL; default: the setting broker_url.")
@click.option("--queues", default=None, help="Queues to serve; default: all that it is able to.")
@click.option(
    "--slots",
    type=click.IntRange(0, 256),
    default=None,
    help="Jobs at a time; 0: by cores and memory.",
)
@click.option("--anyway", is_flag=True, hidden=True, help="Jobs that cannot be done say why.")
def command(
    broker: str | None,
    queues: str | None,
    slots: int | None,
    anyway: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Run jobs from a broker until it is told to stop.

    SIGTERM drains it: it finishes the jobs that it has, and takes no new one. A second one, or
    SIGQUIT, kills them; they begin anew on another worker.
    """
    import logging  # noqa: PLC0415 - keeps --help instant

    from bot.contract import logs  # noqa: PLC0415
    from bot.errors import TheirsError  # noqa: PLC0415 - keeps --help instant
    from bot.settings import load  # noqa: PLC0415
    from bot.verbs.wiring import broker_url, checked, worker_config  # noqa: PLC0415
    from workers import main  # noqa: PLC0415

    settings = checked(load())
    logs.configure(settings.log_format, logging.WARNING)
    url = broker_url(settings, broker)
    if not url:
        raise TheirsError("no broker: give --broker URL or set STACKHOG_BROKER_URL")
    wanted = main.Wanted(
        broker=url,
        ca=settings.broker_ca,
        queues=tuple(filter(None, queues.split(","))) if queues else settings.queues,
        slots=settings.slots if slots is None else slots,
        name=settings.worker_name,
        build_memory=settings.build_memory,
        disk_budget=settings.disk_budget,
        anyway=anyway,
    )
    sys.exit(main.run(worker_config(settings), wanted))
