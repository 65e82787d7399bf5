"""Serves an application in a thread, so that it may stand beside the bot."""

from __future__ import annotations

import socket
import threading
import time
from typing import Self

import uvicorn
from fastapi import FastAPI

from bot.errors import OursError

PATIENCE = 30.0  # seconds until it must serve
GRACE = 5  # seconds that requests under way may take when it ends


class ServeError(OursError):
    """The address cannot be served on."""


class Server:
    """Serves ``app`` on ``host`` and ``port``; port 0 is any that is free."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        self._host, self.port = host, port  # the port that is served, once it is
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False, lifespan="off",
                ws="none", timeout_graceful_shutdown=GRACE,
            )
        )  # fmt: skip
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        """Begin to serve; it does when this returns. Raises ServeError."""
        self._socket = _bound(self._host, self.port)
        self.port = int(self._socket.getsockname()[1])
        self._thread.start()
        end = time.monotonic() + PATIENCE
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise ServeError(f"nothing can be served on {self._host}: see the log")
            time.sleep(0.01)

    def stop(self) -> None:
        """End serving; may be called twice."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        if self._socket is not None:
            self._socket.close()

    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        assert self._socket is not None  # noqa: S101 - start() has bound it
        self._server.run(sockets=[self._socket])


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        found = socket.create_server((host, port), family=family)
        # asyncio sets it where it makes the socket; without it each answer waits 40 ms for an ACK
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise ServeError(
            f"{host} port {port} cannot be served on ({error.strerror or error}): "
            "mend web_host and web_port, or end what has it"
        ) from error
    return found
