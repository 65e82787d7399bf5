"""`stackhog backup`: the store in one file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: stackhog backup /var/backups/stackhog.gz")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
def command(file: Path) -> None:
    """Copy the store as it is at one moment into FILE, whichever database it is in.

    The bot may run meanwhile. FILE is there when it is whole; one that was there is replaced.
    Kernel trees, baselines and artifacts are not in it.
    """
    from datetime import UTC, datetime  # noqa: PLC0415 - keeps --help instant
    from importlib.metadata import version  # noqa: PLC0415

    from bot.settings import load  # noqa: PLC0415
    from bot.store import backup  # noqa: PLC0415
    from bot.verbs import storing  # noqa: PLC0415

    place = storing.place(load())
    rows = backup.save(place, file, version("stackhog"), datetime.now(UTC))
    click.echo(f"{rows} rows saved", err=True)
