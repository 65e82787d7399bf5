"""Stores for tests, on the database that is asked for: ``pytest --store sqlite|postgresql``.

A test names its store by a path below its own directory. On SQLite that is the file, on
PostgreSQL a database that is made when the path is named first.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from bot.store.database import Store

BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
OWNER = "postgres"  # nobody starts a server as root
START = 30.0  # seconds
SETTINGS = {  # a test's data need not survive the machine
    "listen_addresses": "", "fsync": "off", "full_page_writes": "off",
    "max_connections": "100", "shared_buffers": "32MB", "autovacuum": "off",
}  # fmt: skip


class Cluster:
    """A real PostgreSQL on a unix socket of its own, as a user who may do nothing else."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="pg-"))
        self.data, self.log = self.home / "data", self.home / "log"
        self._server: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._template = ""
        if os.geteuid() == 0:
            owner = pwd.getpwnam(OWNER)
            os.chown(self.home, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "-D", self.data, "-U", OWNER, "-A", "trust", "-E", "UTF8", "-N",
                  "--locale", "C.UTF-8")  # fmt: skip
        rules = "local all app scram-sha-256\nlocal all all trust\n"
        (self.data / "pg_hba.conf").write_text(rules)
        self.start()

    def _command(self, name: str, *words: str | Path) -> list[str]:
        command = [str(BIN[-1] / name), *map(str, words)]
        plain = ["setpriv", "--pdeathsig", "INT"]
        if os.geteuid() == 0:
            plain += [f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups"]
        return [*plain, "--", *command]

    def _run(self, name: str, *words: str | Path) -> None:
        subprocess.run(
            self._command(name, *words), cwd=self.home, check=True, stdout=subprocess.DEVNULL
        )

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = [word for pair in SETTINGS.items() for word in ("-c", "=".join(pair))]
        options += ["-c", f"unix_socket_directories={self.home}"]
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                self._command("postgres", "-D", self.data, *options), cwd=self.home, stdout=log,
                stderr=log,
            )  # fmt: skip
        ready = self._command("pg_isready", "-q", "-h", self.home)
        end = time.monotonic() + START
        while subprocess.run(ready, check=False, cwd=self.home).returncode:
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT ends all sessions, SIGQUIT is a crash."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(START)
            self._server = None

    def remove(self) -> None:
        """Stop the server, and forget all that it had."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.home)

    def url(self, name: str = OWNER, user: str = OWNER) -> str:
        """Return the URL of a database, as an operator writes it."""
        return f"postgresql://{user}@/{name}?host={self.home}"

    def ask(self, statement: str, name: str = OWNER) -> list[tuple[object, ...]]:
        """Run a statement outside of any transaction; return the rows."""
        engine = create_engine(self.url(name).replace(":", "+psycopg:", 1))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            found = connection.execute(text(statement))
            rows = [tuple(row) for row in found] if found.returns_rows else []
        engine.dispose()
        return rows

    def empty(self, options: str = "") -> str:
        """Return the URL of a new database without tables."""
        name = f"t{os.getpid()}_{next(self._numbers)}"
        self.ask(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever uses it."""
        self.ask(f"DROP DATABASE {_name(url)} WITH (FORCE)")

    def fresh(self) -> str:
        """Return the URL of a new store, copied from one that was made once."""
        if not self._template:
            url = self.empty()
            Store(url).close()
            self._template = _name(url)
        return self.empty(f"TEMPLATE {self._template}")


class Stores:
    """What a path stands for while tests run."""

    def __init__(self) -> None:
        self.cluster: Cluster | None = None  # None: SQLite
        self._urls: dict[Path, str] = {}
        self._open: list[Store] = []

    def open(self, path: Path) -> Store:
        """Open the store that a path stands for."""
        self._open.append(Store(self.url(path)))
        return self._open[-1]

    def close(self) -> None:
        """Give all connections back, and forget all stores."""
        while self._open:
            self._open.pop().close()
        while self._urls and self.cluster:
            self.cluster.drop(self._urls.popitem()[1])

    def url(self, path: Path) -> str:
        """Return the URL of the store that a path stands for; it may be there or not."""
        if self.cluster is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            return f"sqlite:///{path}"
        if path not in self._urls:
            self._urls[path] = self.cluster.fresh()
        return self._urls[path]

    def empty(self, path: Path) -> str:
        """Return the URL of a store that has no tables yet."""
        if self.cluster is None:
            return self.url(path)
        self._urls[path] = self.cluster.empty()
        return self._urls[path]


STORES = Stores()


def opened(path: Path) -> Store:
    """Open the store that a path stands for; it is made when it is not there."""
    return STORES.open(path)


@contextmanager
def server() -> Iterator[Cluster]:
    """Run a PostgreSQL."""
    found = Cluster()
    try:
        yield found
    finally:
        found.remove()


def _name(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]
