"""The command line: wiring and exit codes.

Exit 0 ok, 1 findings that fail policy, 2 wrong input or usage, 3 our own failure.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import Path

import click

from bot.errors import StackhogError, TheirsError

FINDINGS, WRONG_INPUT, OUR_FAILURE = 1, 2, 3
VERBS = (
    "backup",
    "commands",
    "doctor",
    "outbox",
    "restore",
    "retry",
    "review",
    "scope",
    "series",
    "serve",
    "settings",
    "stack",
    "status",
    "stress",
    "tree",
    "watch",
    "web",
    "worker",
)


class Verbs(click.Group):
    """Imports a verb's module only when that verb is used, so that --help is instant."""

    HELP = {  # noqa: RUF012 - click's class attributes are not typed as ClassVar
        "backup": "Copy the store into a file, while the bot runs.",
        "commands": "Print the commands found in mail, and how each is judged.",
        "doctor": "Check this machine; say what is missing and how to add it.",
        "outbox": "Show, approve, drop and send mail that waits; stop all sending.",
        "restore": "Put a copy back into an empty store.",
        "retry": "Try runs again that were given up by our fault.",
        "review": "Review a patch series; print the reply mail.",
        "scope": "Say which series concern the stack, and why.",
        "series": "Print the patch series found in mail.",
        "settings": "Print each setting, and where it came from.",
        "serve": "Be the whole service on this machine.",
        "stack": "Add up the deepest call chains of a built kernel.",
        "status": "Say how the service stands, and what needs an operator.",
        "stress": "Boot a kernel under reclaim stress in QEMU.",
        "tree": "Add and list the kernel trees to review against.",
        "watch": "Follow lists and a mailbox, and answer.",
        "web": "Serve health and metrics over HTTP.",
        "worker": "Run jobs from a broker.",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the verbs, sorted."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the verb."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"bot.verbs.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101 - tests look at every verb
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.HELP[name]) for name in VERBS])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Log every command before it runs.")
@click.version_option(package_name="stackhog")
def cli(verbose: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Review Linux kernel patches for what they do to the stack below direct reclaim.

    Example: stackhog review series.mbox --output reply.eml
    """
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each of its modules


def main() -> None:
    """Run the command line; every error becomes one sentence and an exit code."""
    try:
        cli.main(prog_name="stackhog", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG_INPUT)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stackhog: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # the reader went away (`| head`): leave without a second complaint at shutdown
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (StackhogError, OSError) as error:
        click.echo(f"stackhog: {sentence(error)}", err=True)
        sys.exit(WRONG_INPUT if isinstance(error, TheirsError) else OUR_FAILURE)
    except Exception as error:  # status 1 would say that there are findings
        logging.getLogger(__name__).info("traceback", exc_info=True)
        said = ": ".join(filter(None, (type(error).__name__, sentence(error))))
        click.echo(
            f"stackhog: an error of our own ({said}): repeat with -v and report it", err=True
        )
        sys.exit(OUR_FAILURE)


def sentence(error: Exception) -> str:
    """Return an error as one line for the person at the terminal."""
    if isinstance(error, OSError):
        where = f" ({Path(str(error.filename))})" if error.filename else ""
        return f"{error.strerror or error}{where}"
    return " ".join(str(error).split())
