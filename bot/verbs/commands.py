"""`stackhog commands`: print the commands found in mail, and how each would be judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bot.verbs.commanding import Judgement

PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(epilog="Example: stackhog commands ~/Mail/linux-mm.mbox --json")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=PATH)
@click.option("--keys", type=FILE, default=None, help="DKIM keys, lines of NAME TXT-RECORD or JSON; default: DNS.")  # noqa: E501 # fmt: skip
@click.option("--maintainers", type=FILE, default=None, help="MAINTAINERS; default: that of the tree.")  # noqa: E501 # fmt: skip
@click.option("--tree", default=None, help="Kernel tree; see `stackhog tree list`.")
@click.option("--json", "as_array", is_flag=True, help="Print one JSON array.")
def command(
    paths: tuple[Path, ...],
    keys: Path | None,
    maintainers: Path | None,
    tree: str | None,
    as_array: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Print the commands found in mail, who asks, and whether it is allowed or why not.

    PATH is an mbox, a maildir, an .eml file or a public-inbox v2 repository; the series that
    the commands are about are looked for in all of them.
    """
    import json  # noqa: PLC0415 - keeps --help instant

    from bot.settings import load  # noqa: PLC0415
    from bot.verbs.commanding import as_json, judgements  # noqa: PLC0415

    found = judgements(paths, load(), keys, maintainers, tree)
    if as_array:
        click.echo(json.dumps([as_json(one) for one in found], indent=2, ensure_ascii=False))
        return
    for one in found:
        click.echo(described(one))


def described(one: Judgement) -> str:
    """Return a judgement as a person reads it: who asks for what, and the answer."""
    asked = one.command
    words = [f"{key}={value}" for key, value in asked.args]
    verdict = "allowed" if one.judged.allowed else "not allowed"
    return "\n".join(
        [
            f"{one.date:%Y-%m-%d}  {' '.join([f'/{asked.verb}', *words])}  ({asked.sender.name})",
            f"    {asked.message_id}, line {asked.line}",
            f"    {verdict}: {one.judged.reason}",
        ]
    )
