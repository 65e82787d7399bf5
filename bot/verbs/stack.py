"""`stackhog stack`: how deep the stack of a kernel gets, from its object directory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bot.contract import Chain
    from workers.stack.desk import Analysis

EXAMPLE = "Example: stackhog stack ~/build/patched --base ~/build/plain --svg plots/"


@click.command(epilog=EXAMPLE)
@click.argument("objdir", required=False, type=click.Path(path_type=Path))
@click.option("--base", type=click.Path(path_type=Path), help="Objects before the change.")
@click.option("--profile", "profiles", multiple=True, help="Only this path; may be repeated.")
@click.option("--machine", help="Take the stack of this architecture.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--svg", type=click.Path(path_type=Path), help="Write a plot of each chain here.")
@click.option(
    "--observed", multiple=True, type=click.Path(path_type=Path),
    help="A dump of ftrace's stack tracer to hold against the graph; may be repeated.",
)  # fmt: skip
@click.option("--flags", is_flag=True, help="Print the KCFLAGS to build a kernel with.")
def command(  # noqa: PLR0913, PLR0917 - an option each
    objdir: Path | None,
    base: Path | None,
    profiles: tuple[str, ...],
    machine: str | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
    svg: Path | None,
    observed: tuple[Path, ...],
    flags: bool,  # noqa: FBT001
) -> None:
    """Add up the deepest call chains of a kernel that was built with our flags.

    OBJDIR is where make put the objects. Exit status 1: with --base, a chain grew more
    than policy lets pass.
    """
    if flags:
        click.echo(_flags())
        return
    if objdir is None:
        raise click.UsageError("Missing argument 'OBJDIR'.")
    from workers.stack import desk  # noqa: PLC0415 - keeps --help instant

    if observed:
        _check_observed(objdir, observed, as_json=as_json)
        return
    found = desk.analyse(objdir, base, profiles, machine)
    if svg is not None:
        _plots(svg, found.chains)
    if as_json:
        import json  # noqa: PLC0415

        click.echo(json.dumps(document(found), indent=1))
    else:
        click.echo("\n".join(_text(found, compared=base is not None)))
    if base is not None and _fails(found):
        raise SystemExit(1)


def _flags() -> str:
    """Return the flags, with the plugin built for the gcc that is installed."""
    from bot.verbs.wiring import worker_config  # noqa: PLC0415
    from workers import make  # noqa: PLC0415
    from workers.stack import plugin  # noqa: PLC0415

    path = plugin.ensure(worker_config().plugins, "gcc")
    return f"{make.KCFLAGS} -fplugin={path}"


def document(found: Analysis) -> dict[str, Any]:
    """Return the analysis as `--json` prints it."""
    from dataclasses import asdict  # noqa: PLC0415

    return {
        "machine": found.machine.name,
        "budget_bytes": found.machine.stack.value,
        "chains": [one.model_dump(mode="json", exclude={"patch"}) for one in found.chains],
        "frames": [
            {"function": f.function, "file": f.file, "before": f.before, "after": f.after}
            for f in found.frames
        ],
        "edges": [
            {"caller": c.caller, "callee": c.callee, "file": c.file, "line": c.line,
             "added": c.added}
            for c in found.calls
        ],
        "guards": [one.model_dump(mode="json", exclude={"patch"}) for one in found.guards],
        "targets": [one.model_dump(mode="json", exclude={"patch"}) for one in found.targets],
        "unresolved": [asdict(one) for one in found.unresolved],
        "stats": asdict(found.stats),
    }  # fmt: skip


def _fails(found: Analysis) -> bool:
    from bot.errors import OursError  # noqa: PLC0415
    from bot.review.chains import fails  # noqa: PLC0415
    from policies.schema import PolicyError, load_gates  # noqa: PLC0415

    try:
        return fails(load_gates(), found.chains, found.guards)
    except PolicyError as error:
        raise OursError(str(error)) from error


def _text(found: Analysis, *, compared: bool) -> list[str]:
    from bot.review.chaintable import headline, table  # noqa: PLC0415

    lines: list[str] = []
    for chain in found.chains:
        lines += [f"{chain.profile}: {' -> '.join(chain.waypoints)}"]
        if compared:
            lines += [headline(chain)]
        lines += [*table(chain), ""]
    if compared:
        lines += _changes(found)
    stats = found.stats
    lines.append(
        f"{stats.objects} objects, {stats.functions} functions, {stats.calls} calls; "
        f"{stats.indirect_calls} indirect calls: {stats.resolved} with targets (median "
        f"{stats.targets_median:g}, mean {stats.targets_mean:g}), {stats.by_type_alone} by type "
        f"alone, {stats.without_target} that nothing in this configuration implements, "
        f"{stats.unknown} unknown"
    )
    return lines


def _changes(found: Analysis) -> list[str]:
    lines = [f"frame {f.function}() {f.file}: {f.before} -> {f.after}" for f in found.frames]
    lines += [
        f"call {c.caller}() -> {c.callee}() {'added' if c.added else 'removed'} {c.file}:{c.line}"
        for c in found.calls
    ]
    lines += [
        f"target {t.function}() {'added to' if t.added else 'removed from'} {t.field}"
        for t in found.targets
    ]
    lines += [
        f"guard {'gained' if g.gained else 'lost'}: {g.caller}() calls {g.callee}() "
        f"{'now' if g.gained else 'no longer'} only if {g.clause} {g.file}:{g.line}"
        for g in found.guards
    ]
    return lines or ["nothing changed"]


def _plots(directory: Path, chains: tuple[Chain, ...]) -> None:
    from bot.review.icicle import icicle  # noqa: PLC0415

    directory.mkdir(parents=True, exist_ok=True)
    for chain in chains:
        name = re.sub(r"[^\w.-]", "_", f"{chain.profile}-{chain.name}".strip("-"))
        (directory / f"{name}.svg").write_text(icicle(chain), encoding="utf-8")


def _check_observed(objdir: Path, dumps: tuple[Path, ...], *, as_json: bool) -> None:
    import json  # noqa: PLC0415

    from workers.stack import desk, observed  # noqa: PLC0415
    from workers.stack.program import Program  # noqa: PLC0415

    program = Program(desk.load(objdir).values())
    text = "".join(path.read_text(errors="replace") for path in dumps)
    found = observed.check(program, observed.parse(text))
    if as_json:
        click.echo(json.dumps(observed.as_json(found), indent=1))
    else:
        click.echo("\n".join(observed.as_text(found)))
