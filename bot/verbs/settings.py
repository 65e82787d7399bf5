"""`stackhog settings`: what is set, to what, and where that came from."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bot.settings import Settings

PREFIX = "STACKHOG_"
BYTES = {"disk_budget", "build_memory", "build_file", "build_disk", "patch_bytes"}
UNITS = ("seconds", "minutes", "hours", "days")
PASSWORD = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]*@")


@dataclass(frozen=True)
class Shown:
    """A setting as it may be shown to anybody."""

    name: str
    value: str
    source: str  # "default", "file PATH", "environment STACKHOG_X"
    description: str
    unit: str


@click.command(epilog="Example: stackhog settings --explain")
@click.option(
    "--explain", is_flag=True, help="Say what each setting means, and warn of misspellings."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(explain: bool, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Print each setting, and where it came from; check that they go together.

    Exit 2: something is wrong; every problem is named.
    """
    from bot.crosscheck import problems  # noqa: PLC0415 - keeps --help instant
    from bot.settings import config_file, load  # noqa: PLC0415

    found = load()
    wrong, strange = problems(found), tuple(misspelt(found))
    lines = tuple(_shown(found, config_file()))
    if as_json:
        record = {"file": str(config_file()), "settings": [asdict(one) for one in lines]}
        click.echo(json.dumps(record | {"problems": wrong, "warnings": strange}, indent=2))
    else:
        _print(lines, explain=explain)
        for one in strange if explain else ():
            click.echo(f"warning: {one}", err=True)
    for one in wrong:
        click.echo(f"stackhog: settings are wrong ({one})", err=True)
    if wrong:
        sys.exit(2)


def _print(lines: tuple[Shown, ...], *, explain: bool) -> None:
    width = max(len(one.name) for one in lines)
    for one in lines:
        click.echo(f"{one.name:{width}}  {one.value}  [{one.source}]")
        if explain:
            unit = f" ({one.unit})" if one.unit else ""
            click.echo(f"{'':{width}}  {one.description}{unit}")


def _shown(found: Settings, file: Path) -> Iterator[Shown]:
    with_file = tomllib.loads(file.read_text("utf-8")) if file.exists() else {}
    named = {name.upper(): name for name in os.environ}
    for name, field in type(found).model_fields.items():
        variable = named.get(f"{PREFIX}{name}".upper())
        if variable is not None:
            source = f"environment {variable}"
        else:
            source = f"file {file}" if name in with_file else "default"
        value = shown_value(found, name)
        yield Shown(name, value, source, field.description or "", unit(name))


def shown_value(found: Settings, name: str) -> str:
    """Return a setting's value without any secret."""
    from bot import crosscheck  # noqa: PLC0415

    value: Any = getattr(found, name)
    if value is None or value == ():
        return "none"
    if type(value).__name__ == "SecretStr":
        return "***"
    if name in crosscheck.files(found):
        return f"{value} ({'readable' if crosscheck.is_readable(value) else 'cannot be read'})"
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return PASSWORD.sub(r"\1:***@", text)


def unit(name: str) -> str:
    """Return what a setting is counted in, empty where that is nothing."""
    if name in BYTES:
        return "bytes"
    return next((one for one in UNITS if name.endswith(f"_{one}")), "")


def misspelt(found: Settings) -> Iterator[str]:
    """Yield a sentence for each variable that looks like a setting and is none."""
    known = {f"{PREFIX}{name}".upper() for name in type(found).model_fields}
    known.add(f"{PREFIX}CONFIG")
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), sorted(known), 1)
            yield f"{name} is no setting" + (f": {near[0]} is meant?" if near else "")
