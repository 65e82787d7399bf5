"""`stackhog tree`: the kernel trees that may serve as a base."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

EVERY = 30  # seconds between two lines about how far it is, away from a terminal
Say = Callable[[str], None]


def now_and_then(say: Say) -> Say:
    """Return what says the latest of many texts, each EVERY seconds."""
    due = time.monotonic() + EVERY

    def tell(text: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + EVERY
            say(text)

    return tell


@contextmanager
def _live(name: str, say: Say) -> Iterator[Say]:
    """Yield what shows how far it is: a live line at a terminal, a line now and then elsewhere."""
    from rich.console import Console  # noqa: PLC0415 - keeps --help instant
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=True)
    if not console.is_terminal:
        yield now_and_then(say)
        return
    with console.status(Text(f"tree {name}")) as status:
        yield lambda text: status.update(Text(f"tree {name}: {text}"))


@click.group(name="tree")
def command() -> None:
    """Add and list the kernel trees to review against."""


@command.command(
    epilog="Example: stackhog tree add debian-6.1 --debian linux-source-6.1, or: "
    "stackhog tree add linux-next ~/src/linux-next"
)
@click.argument("name")
@click.argument("path_or_url", required=False)
@click.option("--debian", "package", help="Import this source package of Debian instead.")
def add(name: str, path_or_url: str | None, package: str | None) -> None:
    """Add tree NAME from a path, a URL or a Debian package; a second time: update it."""
    from bot.verbs.wiring import worker_config  # noqa: PLC0415 - keeps --help instant
    from workers import debian, trees  # noqa: PLC0415

    def say(text: str) -> None:
        click.echo(f"tree {name}: {text}", err=True)

    if (path_or_url is None) == (package is None):
        raise click.UsageError("give either a path or URL, or --debian PACKAGE")
    if package is not None:
        tree = debian.add(worker_config(), name, package, say)
    else:
        with _live(name, say) as tell:
            tree = trees.add(worker_config(), name, str(path_or_url), say, tell)
    say(f"{tree.head[:12]} from {tree.source}")


@command.command("list", epilog="Example: stackhog tree list --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """List the trees."""
    from bot.verbs.wiring import worker_config  # noqa: PLC0415 - keeps --help instant
    from workers import trees  # noqa: PLC0415

    found = trees.list_trees(worker_config())
    if as_json:
        click.echo(json.dumps([tree.model_dump(mode="json") for tree in found], indent=2))
        return
    for tree in found:
        click.echo(f"{tree.name:20} {tree.head[:12]} {tree.source}")
