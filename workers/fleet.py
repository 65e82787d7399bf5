"""A broker and a worker of our own, for one command on one machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from workers import broker, process


class Fleet:
    """The processes of one run: an embedded broker (unless a URL is given) and one worker.

    The URL that is given must be that of the settings, which the worker reads as well.

    Everything it starts dies with the process that made it, even on SIGKILL.
    """

    def __init__(self, broker_url: str | None, slots: int, log: Path) -> None:
        self._given, self._slots, self._log = broker_url, slots, log
        self._directory = tempfile.TemporaryDirectory(prefix="stackhog-")
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """The broker's URL, with its password."""
        return self._given or broker.url(Path(self._directory.name, "broker"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._directory.cleanup()

    def start(self) -> None:
        """Start what is missing.

        Raises broker.BrokerError.
        """
        if not self._given:
            self._processes.append(broker.start(Path(self._directory.name, "broker")))
        self._log.parent.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "bot", "worker", "--slots", str(self._slots)]
        if not self._given:  # nobody else would take what this one cannot do
            argv.append("--anyway")
        # the worker reads a given broker from the settings itself: no password is ever passed on
        named = {} if self._given else {"STACKHOG_BROKER_URL": self.url}
        with self._log.open("ab") as log:
            worker = process.spawn(argv, env={**os.environ, **named}, stdout=log, stderr=log)
        self._processes.append(worker)

    def stop(self) -> None:
        """Kill everything, the worker first so that it does not complain of the broker."""
        for running in reversed(self._processes):
            process.kill(running)
        self._processes.clear()

    def alive(self) -> bool:
        """Whether every process still runs."""
        return all(running.poll() is None for running in self._processes)
