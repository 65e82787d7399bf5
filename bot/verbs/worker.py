"""`stackhog worker`: run jobs from a broker."""

from __future__ import annotations

import click


@click.command(
    epilog="Example: stackhog worker --broker redis://broker.example.org/0 --queues build,stress"
)
@click.option("--broker", default=None, help="Broker URL; default: the setting broker_url.")
@click.option("--queues", default="build,stack,stress", show_default=True, help="Queues to serve.")
@click.option("--slots", type=click.IntRange(1, 256), default=None, help="Jobs at a time.")
def command(broker: str | None, queues: str, slots: int | None) -> None:
    """Run jobs from a broker until it is told to stop; SIGTERM drains it."""
    from bot.contract import TheirsError  # noqa: PLC0415 - keeps --help instant
    from bot.settings import load  # noqa: PLC0415
    from bot.verbs.wiring import worker_config  # noqa: PLC0415
    from workers import cgroup, layers  # noqa: PLC0415
    from workers.app import make_app  # noqa: PLC0415

    settings = load()
    url = broker or settings.broker_url
    if not url:
        raise TheirsError("no broker: give --broker URL or set STACKHOG_BROKER_URL")
    config = worker_config(settings)
    layers.sweep(config.builds)
    cgroup.sweep()
    make_app(url, config).worker_main([
        "worker", "--queues", queues, "--concurrency", str(slots or settings.slots),
        "--pool", "prefork", "--loglevel", "WARNING", "-O", "fair", "--without-gossip",
        "--without-mingle", "--without-heartbeat",
    ])  # fmt: skip
