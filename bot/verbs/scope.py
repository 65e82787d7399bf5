"""`stackhog scope`: which rules of policy each series touches, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bot.mail.series import Series
    from bot.review.scope import Scope

SHOWN = 8  # matches that are printed of one series


@click.command(epilog="Example: stackhog scope ~/Mail/linux-mm.mbox --json")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_array", is_flag=True, help="Print one JSON array.")
def command(paths: tuple[Path, ...], as_array: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Say of each series in PATH whether stackhog would look at it, and why.

    PATH is an mbox, a maildir, an .eml file or a public-inbox v2 repository. The rules are
    those of policies/scope.toml.
    """
    import json  # noqa: PLC0415 - keeps --help instant

    from bot.errors import OursError  # noqa: PLC0415
    from bot.mail.load import load  # noqa: PLC0415
    from bot.review.scope import scope  # noqa: PLC0415
    from policies.schema import PolicyError  # noqa: PLC0415
    from policies.scope import load as load_policy  # noqa: PLC0415

    try:
        policy = load_policy()
    except PolicyError as error:
        raise OursError(str(error)) from error
    found = [(one, scope(one, policy)) for one in load(paths)]
    if as_array:
        array = [as_json(*one) for one in found]
        click.echo(json.dumps(array, indent=2, ensure_ascii=False))
        return
    for series, decided in found:
        click.echo("\n".join(_lines(series, decided)))


def as_json(series: Series, decided: Scope) -> dict[str, object]:
    """Return one element of `stackhog scope --json`."""
    return {
        "id": series.id,
        "title": series.title,
        "version": series.version,
        "inside": decided.inside,
        "reason": decided.reason,
        "matches": [vars(match) for match in decided.matches],
        "filesystems": list(decided.filesystems),
        "profiles": list(decided.profiles),
    }


def _lines(series: Series, decided: Scope) -> list[str]:
    word = "yes" if decided.inside else "no"
    lines = [f"{word:3}  v{series.version}  {series.title}", f"     {decided.reason}"]
    for match in decided.matches[:SHOWN]:
        place = f"{match.file}:{match.line}" if match.line else match.file
        lines.append(f"       patch {match.patch}  {match.rule}: {place}  {match.what}".rstrip())
    if len(decided.matches) > SHOWN:
        lines.append(f"       and {len(decided.matches) - SHOWN} more places")
    if decided.inside:
        where = ", ".join(decided.filesystems) or "no filesystem that can be booted"
        lines.append(f"     stress: {', '.join(decided.profiles) or 'none'} on {where}")
    return lines
