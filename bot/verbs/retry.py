"""`stackhog retry`: try runs again that were given up by our fault."""

from __future__ import annotations

import click


@click.command(epilog="Example: stackhog retry 17 18")
@click.argument("runs", metavar="RUN…", nargs=-1, type=int)
@click.option("--all", "everything", is_flag=True, help="All that were given up.")
def command(runs: tuple[int, ...], everything: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Have RUN… planned and run again; without any, list what was given up, and why.

    The bot takes them up by itself within a minute; its jobs that were given up are tried anew.
    """
    from datetime import UTC, datetime  # noqa: PLC0415 - keeps --help instant

    from bot.errors import TheirsError  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415
    from bot.store import jobs, wishes  # noqa: PLC0415
    from bot.verbs.watching import store_of  # noqa: PLC0415

    store, now = store_of(load()), datetime.now(UTC)
    with store.session() as session:
        failed = wishes.failed(session)
        known = {one.id: one for one, _ in failed}
        if not runs and not everything:
            for one, reason in failed:
                click.echo(f"{one.id}  {one.series}: {reason}")
            if not failed:
                click.echo("no run was given up", err=True)
            return
        unknown = [str(number) for number in runs if number not in known]
        if unknown:
            raise TheirsError(
                f"run {', '.join(unknown)} was not given up: see `stackhog retry` without a number"
            )
        for number in sorted(known if everything else set(runs)):
            wishes.retry(session, number, now)
            for job in jobs.needed(session, number):
                if job.state is jobs.State.BROKEN:
                    jobs.again(session, job.key, "tried again by hand", now)
            click.echo(f"run {number}, {known[number].series}, is tried again", err=True)
