"""Five hosts on one machine: bot, data (broker and database), two workers; links that break.

Each is a network namespace with its own address and name; the cables go to a switch that the
test holds (switch.py). Processes are put into their namespace by nsenter(1) and not by `ip netns
exec`, which mounts a new /sys, without the control groups that builds are to have; and what a
worker leaves mounted is seen this way.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aiosmtpd.smtp import SMTP

from tests.gitmail import miniature
from tests.integration import smtpcut
from tests.integration.conftest import CONFIG, FRAGMENT, ROOT
from tests.integration.switch import DEVICE, Switch, inside

PREFIX = "stackhog-hosts-"
MARK = "STACKHOG_HOSTS"  # in the environment of all that is started
ADDRESSES = {"bot": "10.77.0.1", "data": "10.77.0.2", "w1": "10.77.0.11", "w2": "10.77.0.12"}
PASSWORD = "only-in-here"  # noqa: S105 - nobody else reaches these servers
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
RCLONE = ROOT / ".venv/bin/rclone"
BUCKET = "artifacts"
SMTP_PORT, S3_PORT = 2525, 9000
START = 30.0  # seconds in which a server has to answer
END = 30.0  # seconds in which a process has to end
Argv = Sequence[str | Path]


def identity() -> str:
    """Return what tells this process from all others, also from later ones of the same number."""
    return f"{os.getpid()}-{_started(os.getpid())}"


def _started(pid: int) -> str:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def sweep() -> None:
    """Remove what runs left behind that were killed."""
    for place in (Path("/run/netns"), Path(tempfile.gettempdir())):
        for path in sorted(place.glob(f"{PREFIX}*")):
            pid, started, *_ = path.name.removeprefix(PREFIX).split("-")
            if _started(int(pid)) == started:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                remove(path.name)


def remove(namespace: str) -> None:
    """End all that runs in a namespace, and the namespace."""
    for pid in processes(namespace):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)  # noqa: S607


def processes(namespace: str) -> list[int]:
    """Return the processes in a namespace."""
    done = subprocess.run(
        ["ip", "netns", "pids", namespace], check=False, text=True, capture_output=True  # noqa: S607
    )  # fmt: skip
    return sorted(map(int, done.stdout.split()))


def until(
    what: str, found: Callable[[], object], seconds: float = START, but: Callable[[], object] = str
) -> None:  # fmt: skip
    """Wait until something is so; fails with its name, and with what is in the way."""
    end = time.monotonic() + seconds
    while not found():
        late = time.monotonic() > end
        assert not late, f"after {seconds:.0f} s it was still not so: {what} {but()}"
        time.sleep(0.05)


class Host:
    """A namespace with an address, and processes in it."""

    def __init__(self, name: str) -> None:
        """Make it; fails with a sentence where that is not possible."""
        self.name, self.address = name, ADDRESSES[name]
        self.namespace = f"{PREFIX}{identity()}-{name}"
        done = subprocess.run(
            ["ip", "netns", "add", self.namespace], check=False, text=True, capture_output=True  # noqa: S607
        )  # fmt: skip
        assert done.returncode == 0, (
            "no network namespace can be made here, and this test is about hosts of their own: "
            f"run it as root, where namespaces may be made ({done.stderr.strip()})"
        )

    def plug(self) -> None:
        """Set address and devices up; the switch has made the cable."""
        for words in (
            ["link", "set", "lo", "up"],
            ["address", "add", f"{self.address}/24", "dev", DEVICE],
            ["link", "set", DEVICE, "up"],
        ):
            subprocess.run(["ip", "-n", self.namespace, *words], check=True)  # noqa: S607

    def start(
        self, argv: Argv, log: Path, env: Mapping[str, str], user: str = ""
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """Start a process that dies with this one."""
        as_user = [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        command = [
            "unshare", "--uts", "--",
            "sh", "-c", 'echo "$1" > /proc/sys/kernel/hostname; shift; exec "$@"', "sh", self.name,
            "nsenter", f"--net=/run/netns/{self.namespace}", "--",
            "setpriv", *as_user, "--pdeathsig", "KILL", "--", *map(str, argv),
        ]  # fmt: skip
        with log.open("ab") as out:
            return subprocess.Popen(
                command, cwd=ROOT, env={**env, MARK: identity()}, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def signal(self, how: signal.Signals) -> None:
        """Send a signal to all that runs on this host."""
        for pid in processes(self.namespace):
            os.kill(pid, how)


@dataclass
class Post(smtpcut.Post):
    """An SMTP server of the bot's host; ``mails`` is what it took responsibility for."""

    listener: socket.socket | None = None

    async def _serve(self) -> asyncio.Server:
        assert self.listener is not None
        return await self._loop.create_server(
            lambda: SMTP(self, loop=self._loop, hostname="post.example"), sock=self.listener
        )


class Machines:
    """The hosts with their cables, the servers of the data host, and a kernel tree."""

    stackhog = (sys.executable, "-m", "bot")

    def __enter__(self) -> Self:
        sweep()
        self._kept = ExitStack()
        try:
            self._build()
        except BaseException:
            self._kept.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def _build(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{identity()}-"))
        self.home.chmod(0o755)
        self._kept.callback(shutil.rmtree, self.home, ignore_errors=True)
        self.hosts: dict[str, Host] = {}
        for name in ADDRESSES:
            self.hosts[name] = Host(name)
            self._kept.callback(remove, self.hosts[name].namespace)
        self.switch = Switch({name: one.namespace for name, one in self.hosts.items()})
        self._kept.callback(self.switch.close)
        for one in self.hosts.values():
            one.plug()
        self._redis()
        self._postgres()
        self._s3()
        self._tree()

    def _redis(self) -> None:
        self.redis_socket = self.home / "redis.sock"
        directory = self.home / "redis"
        directory.mkdir()
        argv: list[str | Path] = [
            "redis-server", "--bind", ADDRESSES["data"], "--requirepass", PASSWORD,
            "--unixsocket", self.redis_socket, "--dir", directory, "--appendonly", "no",
            "--save", "", "--maxmemory", "256mb", "--maxmemory-policy", "noeviction",
        ]  # fmt: skip
        self._redis_argv = argv
        self._serve_redis()

    def _serve_redis(self) -> None:
        self.redis_socket.unlink(missing_ok=True)
        self._broker = self._serve("data", self._redis_argv, self.redis_socket.exists)

    def restart_broker(self) -> None:
        """Kill the broker, and start it again; its host soon forgets all its connections."""
        retries = Path("/proc/sys/net/ipv4/tcp_orphan_retries")
        inside(self.hosts["data"].namespace, lambda: retries.write_text("1"))
        self._broker.kill()
        self._broker.wait(END)
        self._serve_redis()

    def _postgres(self) -> None:
        data = self.home / "postgres"
        data.mkdir()
        shutil.chown(data, "postgres", "postgres")
        words = self.home / "password"
        words.write_text(PASSWORD)
        as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
        subprocess.run(
            [*as_owner, POSTGRES / "initdb", "-D", data / "d", "-U", "postgres", "-E", "UTF8", "-N",
             "--locale", "C", "--auth-local=trust", "--auth-host=scram-sha-256",
             f"--pwfile={words}"],
            check=True, cwd=data, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        with (data / "d" / "pg_hba.conf").open("a") as hba:
            hba.write("host all all 10.77.0.0/24 scram-sha-256\n")
        argv: list[str | Path] = [
            POSTGRES / "postgres", "-D", data / "d", "-k", data, "-c",
            f"listen_addresses={ADDRESSES['data']}", "-c", "fsync=off", "-c", "shared_buffers=32MB",
        ]  # fmt: skip
        self.postgres_socket = data
        ready: list[str | Path] = [POSTGRES / "pg_isready", "-q", "-h", data]
        self._serve("data", argv, lambda: not subprocess.run(ready, check=False).returncode, "postgres")  # noqa: E501 # fmt: skip

    def _s3(self) -> None:
        bucket = self.home / "s3" / BUCKET
        bucket.mkdir(parents=True)
        for name in ("access", "secret"):
            (self.home / name).write_text(PASSWORD)
        argv: list[str | Path] = [
            RCLONE, "serve", "s3", "--addr", f"{ADDRESSES['data']}:{S3_PORT}", "--config",
            "/dev/null", "--auth-key", f"{PASSWORD},{PASSWORD}", bucket.parent,
        ]  # fmt: skip
        log = self.home / "rclone.log"
        self._serve("data", argv, lambda: "Starting" in log.read_text())

    def _serve(
        self, host: str, argv: Argv, ready: Callable[[], object], user: str = ""
    ) -> subprocess.Popen[bytes]:
        name = Path(argv[0]).name
        log = self.home / f"{name}.log"
        server = self.hosts[host].start(argv, log, os.environ, user)
        self._kept.callback(server.wait, END)
        self._kept.callback(server.kill)
        until(f"{name} answers", ready)
        assert server.poll() is None, log.read_text()
        return server

    def _tree(self) -> None:
        """Make the tree of all hosts: the kernel in miniature, slow enough to be interrupted."""
        self.repo = miniature(self.home / "repo")
        compiles, slow = 'echo "  CC      $@"; $(CC)', "$(if $(filter mm/%,$@),sleep 2;) "
        self.repo.edit("slower", "Makefile", f"@{compiles}", f"@{slow}{compiles}")
        (self.home / "mini.config").write_text(FRAGMENT)
        (self.home / "mini.toml").write_text(CONFIG.format(compiler="gcc"))
        for name in ("bot", "w1", "w2"):
            subprocess.run(
                [*self.stackhog, "tree", "add", "mini", self.repo.path], cwd=ROOT, check=True,
                capture_output=True, env=self.environment(name),
            )  # fmt: skip

    def environment(self, host: str) -> dict[str, str]:
        """Return the environment of a part on a host."""
        return {
            **os.environ, "STACKHOG_HOME": str(self.home / host),
            "STACKHOG_CONFIG": str(self.home / f"{host}.toml"),
        }  # fmt: skip

    def series(self, subject: str, *edits: tuple[str, str, str]) -> list[bytes]:
        """Return the mails of a series that changes the tree so."""
        base = self.repo.git("rev-parse", "HEAD").strip()
        for number, edit in enumerate(edits, 1):
            self.repo.edit(f"{subject}, part {number}", *edit)
        found = self.repo.mails(base)
        self.repo.git("reset", "--quiet", "--hard", base)
        return found

    def database(self, name: str) -> tuple[str, str]:
        """Make an empty database; return its URLs, over the network and by the socket."""
        subprocess.run(
            [POSTGRES / "createdb", "-h", self.postgres_socket, "-U", "postgres", name], check=True
        )
        return (
            f"postgresql+psycopg://postgres:{PASSWORD}@{ADDRESSES['data']}/{name}",
            f"postgresql+psycopg://postgres@/{name}?host={self.postgres_socket}",
        )

    def post(self) -> Post:
        """Return an SMTP server, to be entered, on the loopback of the bot's host."""
        address = ("127.0.0.1", SMTP_PORT)
        return Post(
            listener=inside(self.hosts["bot"].namespace, lambda: socket.create_server(address))
        )

    def left(self) -> dict[int, str]:
        """Return the processes of bot and workers, wherever they are, with their commands."""
        found = {
            pid: _command(pid) for name in ("bot", "w1", "w2")
            for pid in processes(self.hosts[name].namespace)
        }  # fmt: skip
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                mounts = (path / "mountinfo").read_text()
                if int(path.name) not in found and _below(mounts, self.home):
                    found[int(path.name)] = _command(int(path.name))
        return found

    def mounts(self) -> list[str]:
        """Return what is mounted below the home of a host."""
        return _below(Path("/proc/self/mountinfo").read_text(), self.home)


def _below(mounts: str, home: Path) -> list[str]:
    return [line for line in mounts.splitlines() if str(home) in line]


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return ""
