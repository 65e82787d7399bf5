"""`stackhog doctor`: what this machine lacks, and the command that adds it."""

from __future__ import annotations

import json
import sys

import click


@click.command(epilog="Example: stackhog doctor --json")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def command(as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Check this machine; say what is missing and how to add it.

    Exit 0: everything needed is there. Exit 3: something needed is missing.
    """
    from bot.verbs.wiring import worker_config  # noqa: PLC0415 - keeps --help instant
    from workers import checks  # noqa: PLC0415

    found = checks.run(worker_config(), "gcc")
    if as_json:
        click.echo(json.dumps([check.record() for check in found], indent=2))
    else:
        for check in found:
            state = "ok" if check.ok else "MISSING" if check.needed else "missing (optional)"
            click.echo(f"{check.name:20} {state:18} {check.seen}")
            if not check.ok:
                click.echo(f"{'':20} {'':18} → {check.remedy}")
    if any(check.needed and not check.ok for check in found):
        sys.exit(3)
