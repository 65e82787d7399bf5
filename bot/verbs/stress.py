"""`stackhog stress`: a kernel image under reclaim stress in QEMU, on its own."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = "Example: stackhog stress arch/x86/boot/bzImage --base ../plain/arch/x86/boot/bzImage"
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=EXAMPLE)
@click.argument("image", type=FILE)
@click.option("--base", type=FILE, help="The kernel before the change.")
@click.option(
    "--profile", "profiles", multiple=True, default=("quick",), show_default=True,
    help="Stress profile: a name, or a .toml file; may be repeated.",
)  # fmt: skip
@click.option("--filesystem", "filesystems", multiple=True, help="Only on this one; may be repeated.")  # noqa: E501 # fmt: skip
@click.option("--pairs", type=click.IntRange(1, 10), help="Boots of each kernel; default: the profile's.")  # noqa: E501 # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--consoles", type=click.Path(path_type=Path), help="Write each boot's console here.")
@click.option("--stacks", type=FILE, help="Write the stacks here, for `stackhog stack --observed`.")
@click.option(
    "--export", type=click.Path(path_type=Path),
    help="Write what QEMU needs here, with boot.sh, instead of booting.",
)  # fmt: skip
def command(  # noqa: PLR0913, PLR0917 - an option each
    image: Path,
    base: Path | None,
    profiles: tuple[str, ...],
    filesystems: tuple[str, ...],
    pairs: int | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
    consoles: Path | None,
    stacks: Path | None,
    export: Path | None,
) -> None:
    """Boot a kernel under reclaim stress, and say only what is certain.

    IMAGE is a bzImage; a vmlinux in its build directory decodes what it says. Exit status 1:
    something was found, or with --base something that the base does not show.
    """
    from bot.settings import load  # noqa: PLC0415 - keeps --help instant
    from bot.verbs import stressing  # noqa: PLC0415
    from bot.verbs.progress import reporter  # noqa: PLC0415

    runs = stressing.runs(profiles, filesystems, pairs)
    settings = load()
    if export is not None:
        stressing.export(settings, image, runs[0], export)
        click.echo(f"boot it with: sh {export}/boot.sh")
        return
    with reporter(("stress",)) as tell:
        result = stressing.run(settings, image, base, runs, tell)
        tell.end()
    found = stressing.findings(result, image)
    stressing.keep(settings, result, consoles, stacks)
    click.echo(stressing.as_json(result, found) if as_json else stressing.as_text(result, found))
    if found:
        raise SystemExit(1)
