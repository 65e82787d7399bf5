"""`stackhog outbox`: mail that waits, and the switch that stops it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from bot.verbs import storing

if TYPE_CHECKING:
    from bot.mail.outbox import Outbox
    from bot.mail.smtp import Server
    from bot.settings import Settings
    from bot.store.outbox import Letter, Step

COLUMN = "%Y-%m-%d %H:%M"
IDS = click.argument("ids", metavar="ID…", nargs=-1, required=True, type=click.IntRange(min=1))
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(name="outbox")
def command() -> None:
    """Show mail that waits; approve or drop it; send what is due; stop all sending.

    Example: stackhog outbox list
    """


@command.command(name="list", epilog="Example: stackhog outbox list --state held --state uncertain")
@click.option("--all", "everything", is_flag=True, help="Also what was sent or dropped.")
@click.option("--state", "states", multiple=True, help="Only this state; may be repeated.")
@JSON
def list_(everything: bool, states: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Print the mails that are not over: number, state, due, to, subject, reason."""
    import json  # noqa: PLC0415 - keeps --help instant

    from bot.store.outbox import OPEN, State  # noqa: PLC0415

    for name in states:
        if name not in tuple(State):
            raise click.BadParameter(f"{name} is no state: {', '.join(State)}")
    box = opened()
    wanted = tuple(State) if everything else tuple(map(State, states)) or OPEN
    found = box.listed(wanted)
    if as_json:
        click.echo(json.dumps([as_object(one) for one in found], indent=2, ensure_ascii=False))
        return
    _warn(box)
    for one in found:
        click.echo(line(one))


@command.command(epilog="Example: stackhog outbox show 12")
@click.argument("number", metavar="ID", type=click.IntRange(min=1))
@JSON
def show(number: int, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Print a mail as it is sent, and what became of it."""
    import json  # noqa: PLC0415 - keeps --help instant

    letter, raw, trace = opened().show(number)
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n")
    if as_json:
        steps = [{"at": s.at.isoformat(), "attempt": s.attempt, "stage": s.stage, "said": s.said}
                 for s in trace]  # fmt: skip
        whole = {**as_object(letter), "mail": text, "trace": steps}
        click.echo(json.dumps(whole, indent=2, ensure_ascii=False))
        return
    click.echo(text)
    click.echo(line(letter))
    for step in trace:
        click.echo(traced(step))


@command.command(epilog="Example: stackhog outbox approve 12 13")
@IDS
@click.option("--again", is_flag=True, help="Also mail that failed, or may have arrived.")
def approve(ids: tuple[int, ...], again: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Let held mail go. In dry-run it still stays here."""
    box = opened()
    for number in ids:
        click.echo(line(box.approve(number, getpass.getuser(), _now(), again=again)))


@command.command(epilog="Example: stackhog outbox drop 12")
@IDS
def drop(ids: tuple[int, ...]) -> None:
    """Never send these mails."""
    box = opened()
    for number in ids:
        click.echo(line(box.drop(number, getpass.getuser(), _now())))


@command.command(epilog="Example: stackhog outbox send")
@JSON
def send(as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Send what is due now, once; print what became of it."""
    import json  # noqa: PLC0415 - keeps --help instant

    box = opened(to_send=True)
    _warn(box)
    found = box.deliver_due(_now())
    if as_json:
        click.echo(json.dumps([as_object(one) for one in found], indent=2, ensure_ascii=False))
        return
    for one in found:
        click.echo(line(one))


@command.command(epilog="Example: stackhog outbox stop")
def stop() -> None:
    """Stop all sending, also in running senders, until `stackhog outbox go`."""
    box = _bare()
    box.stop(getpass.getuser(), _now())
    click.echo(f"outbox: {box.stopped()}", err=True)


@command.command(epilog="Example: stackhog outbox go")
def go() -> None:
    """Let mail go again after `stackhog outbox stop`."""
    _bare().go()


def opened(settings: Settings | None = None, *, to_send: bool = False) -> Outbox:
    """Open the store, and the outbox as settings and policies have it.

    Only who is ``to_send`` needs a server. Raises BadSettingError, with the setting's name.
    """
    from datetime import timedelta  # noqa: PLC0415 - keeps --help instant
    from email.utils import parseaddr  # noqa: PLC0415

    from bot import settings as files  # noqa: PLC0415
    from bot.mail.outbox import Outbox  # noqa: PLC0415
    from bot.mail.outrules import Mode, Rules  # noqa: PLC0415
    from bot.mail.smtp import Dialogue  # noqa: PLC0415
    from policies.lists import load as load_lists  # noqa: PLC0415
    from policies.schema import load_gates  # noqa: PLC0415

    known = settings or files.load()
    lists, gate = load_lists(), load_gates().reply

    def is_list(address: str) -> bool:
        return gate.is_list(address) or lists.names(address)

    rules = Rules(
        mode=Mode(known.sending), own=(parseaddr(known.address)[1],), list_cap=known.list_cap,
        person_cap=known.person_cap, thread_limit=known.thread_limit,
        embargo=timedelta(hours=known.embargo_hours),
        is_list=is_list, ignored=lists.people.why_silent,
        own_cap=lambda one: lists.rule(one).daily_cap if is_list(one) else None,
    )  # fmt: skip
    there = server(known) if to_send else None
    return Outbox(storing.opened(known), rules, (lambda: Dialogue(there)) if there else None)


def _bare() -> Outbox:
    """Open the outbox for its switch alone: no bad policy must keep anybody from stopping."""
    from bot import settings as files  # noqa: PLC0415 - keeps --help instant
    from bot.mail.outbox import Outbox  # noqa: PLC0415
    from bot.mail.outrules import Rules  # noqa: PLC0415

    return Outbox(storing.opened(files.load()), Rules())


def server(settings: Settings) -> Server | None:
    """Return whom the settings name to take our mail; None when nothing is to leave.

    Raises BadSettingError, with the setting's name.
    """
    from bot.mail.smtp import PORTS, Server, Tls  # noqa: PLC0415 - keeps --help instant
    from bot.settings import BadSettingError  # noqa: PLC0415

    if settings.sending == "dry-run":
        return None
    if not settings.smtp_host:
        raise BadSettingError(
            f"settings are wrong (smtp_host: sending is {settings.sending} and there is no "
            "server): set STACKHOG_SMTP_HOST, or sending to dry-run"
        )
    tls = Tls(settings.smtp_tls)
    port = settings.smtp_port or PORTS[tls]
    return Server(settings.smtp_host, port, tls, settings.smtp_user, password(settings))


def password(settings: Settings) -> str:
    """Return the password to log in with, from its file or the environment.

    Raises BadSettingError, with the setting's name and never with the password.
    """
    from bot.settings import secret  # noqa: PLC0415 - keeps --help instant

    if not settings.smtp_user:
        return ""
    return secret("smtp_password", settings.smtp_password_file, settings.smtp_password)


def line(letter: Letter) -> str:
    """Return a mail as a person reads it in a list."""
    due = f"{letter.due:{COLUMN}}"
    to = ", ".join(letter.recipients[:1]) or "nobody"
    more = f" +{len(letter.recipients) - 1}" if len(letter.recipients) > 1 else ""
    head = f"{letter.id:>5}  {letter.state:<9}  {due}  {to}{more}  {letter.subject}"
    return f"{head}\n       {letter.reason}" if letter.reason else head


def traced(step: Step) -> str:
    """Return a line of a trace as a person reads it."""
    attempt = f"#{step.attempt}" if step.attempt else ""
    return f"  {step.at:{COLUMN}:%S}  {attempt:>3} {step.stage:<10} {step.said}".rstrip()


def as_object(letter: Letter) -> dict[str, object]:
    """Return a mail as an object of --json."""
    return {
        "id": letter.id, "state": letter.state, "due": letter.due.isoformat(),
        "to": list(letter.recipients), "subject": letter.subject, "reason": letter.reason,
        "message_id": letter.message_id, "thread": letter.thread, "series": letter.series,
        "kind": letter.kind, "attempts": letter.attempts,
        "created": letter.created.isoformat(), "changed": letter.changed.isoformat(),
    }  # fmt: skip


def _warn(box: Outbox) -> None:
    """Say why nothing leaves, if so."""
    for why in (box.stopped(), "dry-run: nothing is sent" if box.is_dry else ""):
        if why:
            click.echo(f"outbox: {why}", err=True)


def _now() -> datetime:
    return datetime.now(UTC)
