"""`stackhog review`: the whole job, here and now."""

from __future__ import annotations

import sys
from pathlib import Path

import click

JOBS = ("build", "stack", "stress")
EXIT_FINDINGS, EXIT_OURS = 1, 3


def _jobs(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    jobs = tuple(word.strip() for word in value.split(",") if word.strip())
    unknown = [job for job in jobs if job not in JOBS]
    if unknown or "build" not in jobs:
        raise click.BadParameter(f"build is needed, and there are: {', '.join(JOBS)}")
    return jobs


@click.command(epilog="Example: stackhog review series.mbox --tree debian-6.1 --output reply.eml")
@click.argument("path", metavar="PATH-OR-MSGID")
@click.option(
    "--jobs", default=",".join(JOBS), show_default=True, callback=_jobs, help="What to run."
)
@click.option(
    "--tree", default=None, help="The only kernel tree to look in; see `stackhog tree list`."
)
@click.option(
    "--base", default=None, help="Commit, tag or tree to apply to; default: what the series tells."
)
@click.option("--config", default=None, help="Kernel configuration: a name, or a .toml file.")
@click.option(
    "--profile", "profiles", multiple=True,
    help="Stress profile: a name, or a .toml file; may be repeated; default: the configuration's.",
)  # fmt: skip
@click.option(
    "--series", "wanted", default=None, help="Message-ID, when PATH holds several series."
)
@click.option("--output", type=click.Path(path_type=Path), default=None, help="Write the reply here too.")  # noqa: E501 # fmt: skip
@click.option("--json", "report", type=click.Path(path_type=Path), default=None, help="Write a report here.")  # noqa: E501 # fmt: skip
def command(  # noqa: PLR0913, PLR0917 - one per option
    path: str,
    jobs: tuple[str, ...],
    tree: str | None,
    base: str | None,
    config: str | None,
    profiles: tuple[str, ...],
    wanted: str | None,
    output: Path | None,
    report: Path | None,
) -> None:
    """Review the patch series in PATH and print the reply mail.

    PATH is an mbox, a maildir, an .eml file or a public-inbox v2 repository; a Message-ID
    is looked up on lore. Progress goes to standard error. Exit 1: findings that fail policy.
    """
    from bot.settings import load  # noqa: PLC0415 - keeps --help instant
    from bot.verbs.wiring import broker_url, worker_config  # noqa: PLC0415
    from workers.fleet import Fleet  # noqa: PLC0415

    settings = load()
    log = worker_config(settings).cache / "worker.log"
    with Fleet(broker_url(settings), settings.slots, log) as fleet:
        # read while broker and worker start: it takes as long as they do
        from bot.verbs.reviewing import Asked, review  # noqa: PLC0415

        asked = Asked(
            path, tree, base, config, wanted, stack="stack" in jobs, stress="stress" in jobs,
            profiles=profiles,
        )  # fmt: skip
        done = review(asked, settings, fleet)
    sys.stdout.buffer.write(done.mail)
    sys.stdout.buffer.flush()
    if output is not None:
        output.write_bytes(done.mail)
    if report is not None:
        report.write_text(done.report, encoding="utf-8")
    if done.broken:
        click.echo(f"stackhog: the stress job is broken: {done.broken}", err=True)
    if done.failed or done.broken:
        sys.exit(EXIT_FINDINGS if done.failed else EXIT_OURS)
