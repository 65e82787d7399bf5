"""`stackhog status`: how the service stands, on one screen."""

from __future__ import annotations

import sys

import click

EXIT_NEEDS = 3


@click.command(epilog="Example: stackhog status --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Print how the service stands: who lives, what waits and runs, and what went wrong.

    It reads the store alone, so that it works with nobody running. Exit status 0: all goes on
    by itself. 3: something needs an operator; it is listed at the end, with what to do.
    """
    import json  # noqa: PLC0415 - keeps --help instant
    from datetime import UTC, datetime  # noqa: PLC0415

    from bot.settings import load  # noqa: PLC0415
    from bot.verbs import screen, storing  # noqa: PLC0415
    from bot.web import standing  # noqa: PLC0415

    store = storing.opened(load())
    found = standing.look(store, datetime.now(UTC))
    store.close()
    if as_json:
        click.echo(json.dumps(screen.as_object(found), indent=2, ensure_ascii=False))
    else:
        screen.show(found)
    sys.exit(EXIT_NEEDS if found.needs else 0)
