"""All parts of a service, each a process that can be killed, started again as an init does."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.faults.links import HOST, Link
from tests.faults.post import BOT, People
from tests.gitmail import miniature
from tests.integration.conftest import CONFIG, FRAGMENT
from tests.integration.smtpcut import Post

MARK = "STACKHOG_FAULTS"  # in the environment of all that is started
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
DYING_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
AGAIN = 0.5  # seconds until what died is started again
NOBODY = "nobody"


@dataclass
class Proc:
    """A process that is kept running."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    running: subprocess.Popen[bytes] | None = None
    died: float = 0.0
    starts: int = 0
    held: bool = False  # not to be started for now

    def tend(self) -> None:
        """Start it if it is not running, not at once after its death."""
        if self.running is not None and self.running.poll() is None:
            return
        if self.running is not None and not self.died:
            self.died = time.monotonic()
        if self.held or (self.died and time.monotonic() - self.died < AGAIN):
            return
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [*DYING_WITH_US, *self.argv], env=dict(self.env), stdout=log, stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        self.died, self.starts = 0.0, self.starts + 1

    def kill(self, how: signal.Signals = signal.SIGKILL) -> bool:
        """Send a signal to the process itself."""
        if self.running is None or self.running.poll() is not None:
            return False
        self.running.send_signal(how)
        return True


@dataclass
class World:
    """A bot, a broker, a database, two workers, an SMTP server and the links between them."""

    home: Path
    store: str = "postgresql"
    slots: int = 2
    settings: Mapping[str, object] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._kept = ExitStack()
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self.disk = self.home / "disk"
        self.disk.mkdir(parents=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=400m,mode=755", "none", self.disk],  # noqa: S607
            check=True,
        )
        self._kept.callback(
            lambda: subprocess.run(["umount", "--lazy", self.disk], check=True)  # noqa: S607
        )
        self.post = self._kept.enter_context(Post(hook=lambda _: None))
        self.procs: dict[str, Proc] = {}
        self._add_broker()
        if self.store == "postgresql":
            self._add_database()
        self._tree()
        self.people = People(self.home / "mail", self.home / "keys")
        self._settings()
        self._add_bot()
        for number in (1, 2):
            self._add_worker(f"worker{number}")
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.procs.values():
            one.held = True
        for name in sorted(self.procs, key=lambda n: n in {"broker", "database"}):
            self.procs[name].kill()
        self.kill_database()
        for one in self.procs.values():
            if one.running is not None:
                one.running.wait(30)
        self._kept.close()

    def tend(self) -> None:
        """Start again what died."""
        for one in self.procs.values():
            one.tend()

    def environment(self, home: str) -> dict[str, str]:
        """Return the environment of a part."""
        return {
            **os.environ, MARK: self.mark, "STACKHOG_HOME": str(self.home / home),
            "STACKHOG_CONFIG": str(self.home / f"{home}.toml"),
        }  # fmt: skip

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command line as the operator of the bot."""
        return subprocess.run(
            [sys.executable, "-m", "bot", *words], env=self.environment("bot"), check=False,
            text=True, capture_output=True, timeout=120,
        )  # fmt: skip

    def kill_database(self) -> bool:
        """Kill the database server and all of its processes."""
        found = [
            pid
            for pid in marked(self.mark)
            if _word(pid, 0).startswith(("postgres", str(POSTGRES)))
        ]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    def slots_of(self, name: str) -> list[int]:
        """Return the processes below a worker."""
        running = self.procs[name].running
        return below(running.pid) if running is not None else []

    def _add_broker(self) -> None:
        port = _free()
        self.redis = self.disk / "redis"
        self.redis.mkdir()
        argv = [
            "redis-server", "--port", str(port), "--bind", HOST, "--dir", str(self.redis),
            "--appendonly", "yes", "--save", "", "--maxmemory", "200mb",
            "--maxmemory-policy", "noeviction", "--loglevel", "warning",
        ]  # fmt: skip
        self.procs["broker"] = Proc(
            "broker", argv, {**os.environ, MARK: self.mark}, self._log("broker")
        )
        self.links = {
            name: self._kept.enter_context(Link(port)) for name in ("bot", "worker1", "worker2")
        }

    def _add_database(self) -> None:
        data, port = self.disk / "postgresql", _free()
        data.mkdir()
        shutil.chown(data, NOBODY)
        as_nobody = ["setpriv", "--reuid", NOBODY, "--regid", "nogroup", "--clear-groups"]
        subprocess.run(
            [*as_nobody, POSTGRES / "initdb", "-D", data, "-U", "stackhog", "-A", "trust",
             "--no-sync", "-E", "UTF8", "--locale", "C"],
            check=True, capture_output=True, env={**os.environ, "HOME": "/nonexistent"},
        )  # fmt: skip
        argv = [
            *as_nobody, str(POSTGRES / "postgres"), "-D", str(data), "-p", str(port), "-k", "",
            "-c", f"listen_addresses={HOST}", "-c", "shared_buffers=32MB",
            "-c", "max_wal_size=64MB",
        ]  # fmt: skip
        self.procs["database"] = Proc(
            "database", argv, {**os.environ, MARK: self.mark}, self._log("database")
        )
        self.links["database"] = self._kept.enter_context(Link(port))

    def _tree(self) -> None:
        self.repo = miniature(self.home / "repo")
        (self.home / "mini.config").write_text(FRAGMENT)
        (self.home / "mini.toml").write_text(CONFIG.format(compiler="gcc"))

    def _settings(self) -> None:
        url = f"postgresql+psycopg://stackhog@{HOST}:{self.links['database'].port}/postgres" if "database" in self.links else f"sqlite:///{self.disk}/store.db"  # noqa: E501 # fmt: skip
        for home in ("bot", "worker1", "worker2"):
            values: dict[str, object] = {
                "broker_url": f"redis://{HOST}:{self.links[home].port}/0", "store_url": url,
                "address": f"stackhog <{BOT}>", "tree": "mini",
                "kernel_config": str(self.home / "mini.toml"), "dkim_keys": str(self.home / "keys"),
                "lore_url": f"http://{HOST}:9/none", "sending": "send", "smtp_host": HOST,
                "smtp_port": self.post.port, "smtp_tls": "none", "series_minutes": 0,
                "poll_seconds": 0.3, "retry_seconds": 1, "lost_seconds": 10, "queued_seconds": 20,
                "job_losses": 50, "job_failures": 50, "list_cap": 100000, "person_cap": 100000,
                "slots": self.slots, **self.settings,
            }  # fmt: skip
            lines = [f"{name} = {_toml(value)}" for name, value in sorted(values.items())]
            (self.home / f"{home}.toml").write_text("\n".join(lines) + "\n")
            subprocess.run(
                [sys.executable, "-m", "bot", "tree", "add", "mini", self.repo.path],
                env=self.environment(home), check=True, capture_output=True,
            )  # fmt: skip

    def _add_bot(self) -> None:
        self.clock = self.home / "clock"
        self.clock.write_text("+0\n")
        if not FAKETIME.exists():  # the loader only warns: no clock would ever jump
            raise FileNotFoundError(FAKETIME)
        env = {
            **self.environment("bot"), "LD_PRELOAD": str(FAKETIME), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(self.clock), "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip
        argv = [sys.executable, "-m", "bot", "-v", "watch", f"maildir:{self.people.maildir}"]
        self.procs["bot"] = Proc("bot", argv, env, self._log("bot"))

    def _add_worker(self, name: str) -> None:
        argv = [sys.executable, "-m", "tests.faults.stub", "worker", "--slots", str(self.slots),
                "--queues", "build,stack"]  # fmt: skip
        self.procs[name] = Proc(name, argv, self.environment(name), self._log(name))

    def _log(self, name: str) -> Path:
        return self.home / f"{name}.log"


def marked(mark: str) -> list[int]:
    """Return the processes that carry a mark in their environment, in order."""
    needle, found = f"{MARK}={mark}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if needle in path.read_bytes():
                found.append(int(path.parent.name))
    return sorted(found)


def _word(pid: int, number: int) -> str:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[number].decode()
    return ""


def below(pid: int) -> list[int]:
    """Return the processes below one, at any depth."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                found += [int(child), *below(int(child))]
    return found


def _free() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
