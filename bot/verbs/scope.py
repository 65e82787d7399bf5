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

    PATH is an mbox, a maildir, an .eml file, a public-inbox v2 repository or a pipe, "-"
    standard input. The rules are those of policies/scope.toml.
    """
    import json  # noqa: PLC0415 - keeps --help instant

    from bot.errors import OursError  # noqa: PLC0415
    from bot.mail.load import load  # noqa: PLC0415
    from bot.review.scope import scope  # noqa: PLC0415
    from policies.schema import PolicyError  # noqa: PLC0415
    from policies.scope import load as load_policy  # noqa: PLC0415
    from policies.stress import StressPolicyError  # noqa: PLC0415

    series = load(paths)
    try:
        policy = load_policy()
        found = [(one, scope(one, policy)) for one in series]
    except (PolicyError, StressPolicyError) as error:
        raise OursError(str(error)) from error
    if as_array:
        array = [as_json(*one) for one in found]
        click.echo(json.dumps(array, indent=2, ensure_ascii=False))
        return
    for one, decided in found:
        click.echo("\n".join(_lines(one, decided)))


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
    lines = [f"{word:3}  v{series.version}  {series.title}"]
    lines += [f"     {series.id}", f"     {decided.reason}"]
    for match in decided.matches[:SHOWN]:
        place = f"{match.file}:{match.line}" if match.line else match.file
        lines.append(f"       patch {match.patch}  {match.rule}: {place}  {match.what}".rstrip())
    if len(decided.matches) > SHOWN:
        lines.append(f"       and {len(decided.matches) - SHOWN} more places")
    if decided.inside:
        lines.append(f"     stress: {_runs(decided) or 'none, no filesystem can be booted'}")
    return lines


def _runs(decided: Scope) -> str:
    """Return which profiles can be run on which of the filesystems."""
    from policies import stress  # noqa: PLC0415 - keeps --help instant

    found: dict[str, list[str]] = {}
    for name in decided.profiles:
        run_on = [one for one in decided.filesystems if one in stress.load(name).filesystems]
        if run_on:
            found.setdefault(", ".join(run_on), []).append(name)
    return "; ".join(f"{', '.join(names)} on {where}" for where, names in sorted(found.items()))
