"""`stackhog series`: print the patch series found in mail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bot.mail.series import Series


@click.command(epilog="Example: stackhog series ~/Mail/linux-mm.mbox --json")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_array", is_flag=True, help="Print one JSON array.")
@click.option("--others", is_flag=True, help="Count the mails that are in no series, by reason.")
def command(paths: tuple[Path, ...], as_array: bool, others: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Print the patch series found in mail.

    PATH is an mbox, a maildir, an .eml file, a public-inbox v2 repository or a pipe, "-"
    standard input; several are read together, so that a cover letter in one finds its
    patches in another.
    """
    import json  # noqa: PLC0415 - keeps --help instant

    from bot.mail.load import load, load_all  # noqa: PLC0415
    from bot.mail.series import as_json  # noqa: PLC0415

    if others:
        for reason, count in load_all(paths).others:
            click.echo(f"{count:7,}  {reason}")
        return
    found = load(paths)
    if as_array:
        click.echo(json.dumps([as_json(one) for one in found], indent=2, ensure_ascii=False))
        return
    for one in found:
        click.echo(described(one))


def described(series: Series) -> str:
    """Return a series as a person reads it: a line, its id, and what is wrong with it."""
    from bot.mail.series import numbered  # noqa: PLC0415 - keeps --help instant

    tags = "".join(f"{tag} " for tag in series.tags) + ("RESEND " if series.resend else "")
    found = f"{len(series.patches)}/{series.total}"
    who = series.submitter.name
    lines = [
        f"{series.date:%Y-%m-%d}  {tags}v{series.version}  {found}  {series.title}  ({who})",
        f"    {series.id}",
    ]
    if series.missing:
        lines.append(f"    missing: patch {numbered(series.missing)}")
    if series.problem:
        lines.append(f"    problem: {series.problem}")
    return "\n".join(lines)
