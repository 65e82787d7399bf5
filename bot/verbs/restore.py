"""`stackhog restore`: a backup put back."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: stackhog restore /var/backups/stackhog.gz")
@click.argument(
    "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--trust", is_flag=True, help="Nothing was sent since the backup: hold nothing back.")
def command(file: Path, trust: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Put a backup into the store that the settings name, which must be empty.

    Mails that were under way then may have been sent since: they are held, or uncertain, until
    a person looks at them, and so is what answers mail from before now. --trust is for a move
    from one database to another, with the bot stopped before the backup.
    """
    from datetime import UTC, datetime  # noqa: PLC0415 - keeps --help instant

    from bot.settings import load  # noqa: PLC0415
    from bot.store import backup  # noqa: PLC0415
    from bot.verbs import storing  # noqa: PLC0415

    found = backup.load(storing.place(load()), file, datetime.now(UTC), trust=trust)
    click.echo(f"{found.rows} rows restored, as of {found.made[:16]}", err=True)
    if found.held:
        click.echo(
            f"{found.held} mails may have been sent since: see `stackhog outbox list`", err=True
        )
