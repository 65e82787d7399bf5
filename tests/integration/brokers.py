"""Real brokers (Debian's redis-server) and real workers with slow stub jobs, for tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from bot.contract import BuildRequest, KernelConfig, Limits, PatchText, Queue, wire
from bot.review.carrier import Carrier

ROOT = Path(__file__).parents[2]
CONFIG = KernelConfig(
    name="none", arch="x86_64", target="bzImage", compiler="gcc", base="tinyconfig", options=()
)
LIMITS = Limits(
    wall_seconds=60, memory_bytes=1 << 30, processes=60, file_bytes=16 << 20,
    disk_bytes=64 << 20, parallel=2,
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(what: Callable[[], object], seconds: float = 20.0) -> Any:  # noqa: ANN401 - what it gives
    """Return what a call gives as soon as that is something; fails after so many seconds."""
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends, f"nothing within {seconds} s"
        time.sleep(0.05)
    return found


@dataclass
class Server:
    """A redis-server that can be killed and started again on its port, always empty."""

    directory: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        listening = () if "--port" in self.options else ("--port", str(self.port))
        with (self.directory / "redis.log").open("ab") as log:
            command = [
                "setpriv", "--pdeathsig", "KILL", "redis-server", *listening, "--bind",
                "127.0.0.1", "--save", "", "--dir", str(self.directory), *self.options,
            ]  # fmt: skip
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._listens)

    def _listens(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[Server]:
    found = Server(directory, options)
    found.start()
    try:
        yield found
    finally:
        found.kill()


@dataclass
class Worker:
    """A worker process with slow jobs, and what it has begun."""

    home: Path
    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def begun(self) -> list[str]:
        path = self.home / "begun"
        return path.read_text().split() if path.exists() else []

    @property
    def said(self) -> str:
        return (self.home / "worker.out").read_text()


def environment(home: Path, **settings: str | Path) -> dict[str, str]:
    named = {f"STACKHOG_{name.upper()}": str(value) for name, value in settings.items()}
    plain = {k: v for k, v in os.environ.items() if not k.startswith("STACKHOG_")}
    return {
        **plain, "STACKHOG_HOME": str(home / "state"), "SLOW_LOG": str(home / "begun"),
        "STACKHOG_CONFIG": str(home / "none.toml"), **named,
    }  # fmt: skip


@contextmanager
def working(home: Path, url: str, *words: str, **settings: str | Path) -> Iterator[Worker]:
    """Run a worker named ``w`` with jobs that only wait, until the block ends."""
    with (home / "worker.out").open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.slowworker", "worker", *words], cwd=ROOT,
            env=environment(home, **{"broker_url": url, "worker_name": "w", **settings}),
            stdout=out, stderr=out, text=True,
        )  # fmt: skip
    found = Worker(home, process)
    try:
        yield found
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def ready(carrier: Carrier, name: str = "w") -> wire.Presence:
    """Return what a worker says of itself, as soon as it does."""
    found = until(lambda: [one for one in carrier.workers() if one.name == name])
    assert isinstance(found[0], wire.Presence)
    return found[0]


def send(
    carrier: Carrier, name: str, seconds: float, queue: str = "build", priority: int = 5
) -> None:
    patch = PatchText(
        index=1, message_id="1@x", subject="s", author_name="a", author_email="a@x", message="",
        date=datetime(2026, 1, 1, tzinfo=UTC), diff=f"{name} {seconds}".encode(),
    )  # fmt: skip
    request = BuildRequest(tree="t", base="1" * 40, config=CONFIG, limits=LIMITS, patches=(patch,))
    carrier.send(Queue.BUILD, queue, name, request.model_dump_json(), 600, priority)


def result(carrier: Carrier, name: str) -> str | None:
    """Return what a slow job answered, None: nothing yet."""
    seen = carrier.look([name]).get(name)
    return None if seen is None or seen.result is None else str(seen.result["reason"])
