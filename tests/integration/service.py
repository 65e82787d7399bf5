"""A bot and two workers on hosts of their own, for one test: started, watched, ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import MappingProxyType
from typing import Any, Self

import redis

from bot.contract import wire
from bot.review.carrier import SEPARATOR
from bot.store import jobs, wishes
from bot.store.database import Store
from bot.store.jobs import Job, State
from bot.store.wishes import Wanted
from tests.integration.author import Author
from tests.integration.hosts import (
    ADDRESSES,
    BUCKET,
    END,
    PASSWORD,
    S3_PORT,
    SMTP_PORT,
    Machines,
    until,
)
from tests.integration.switch import Link

BOT = "stackhog@bot.example.org"
LOST = 10  # seconds, beside the 30 after which a beat runs out
WORKERS = ("w1", "w2")
HELD = ("build", "stack", "unacked")  # what waits, and what was handed out
FAR = datetime(2999, 1, 1, tzinfo=UTC)  # by then all that waits is due
SETTINGS: dict[str, Any] = {
    "address": f"stackhog <{BOT}>", "tree": "mini", "lore_url": "http://127.0.0.1:9/none",
    "sending": "send", "smtp_host": "127.0.0.1", "smtp_port": SMTP_PORT, "smtp_tls": "none",
    "series_minutes": 0, "poll_seconds": 0.3, "retry_seconds": 1, "lost_seconds": LOST,
    "queued_seconds": 20, "list_cap": 1000, "person_cap": 1000, "parallel": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Reply:
    """A mail of ours, without what differs from one run to the next."""

    to: str
    cc: str
    subject: str
    body: str


class Service:
    """All processes of one run; ``with`` ends them, and fails where something is left."""

    def __init__(
        self,
        machines: Machines,
        name: str,
        mails: Sequence[Sequence[bytes]],
        settings: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.machines, self.name, self._mails, self._settings = machines, name, mails, settings

    def __enter__(self) -> Self:
        self._kept = ExitStack()
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self._enter()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _enter(self) -> None:
        machines = self.machines
        self.home = machines.home / self.name
        self.home.mkdir()
        url, local = machines.database(self.name)
        self.store = Store(local)
        self._kept.callback(self.store.close)
        self.redis = redis.Redis(
            unix_socket_path=str(machines.redis_socket), password=PASSWORD, socket_timeout=5
        )
        self._kept.callback(self.redis.close)
        self.redis.flushall()
        self.post = self._kept.enter_context(machines.post())
        self.maildir = self.home / "mail"
        self.author = Author(self.maildir, self.home / "keys", BOT)
        self._kept.callback(self._kill)
        for name in ("bot", *WORKERS):
            self._write(name, url)
        self._start()

    def __exit__(self, *_: object) -> None:
        self._kept.close()
        for name in self.running:  # pytest shows it where something failed
            sys.stdout.write(f"--- {name}\n{self.log(name)}\n")

    def _write(self, name: str, url: str) -> None:
        values = SETTINGS | {
            "broker_url": f"redis://:{PASSWORD}@{ADDRESSES['data']}/0", "store_url": url,
            "kernel_config": str(self.machines.home / "mini.toml"),
            "dkim_keys": str(self.home / "keys"), "worker_name": name,
            "artifacts_url": f"s3://{BUCKET}/{self.name}",
            "s3_endpoint": f"http://{ADDRESSES['data']}:{S3_PORT}",
            "s3_access_key_file": str(self.machines.home / "access"),
            "s3_secret_key_file": str(self.machines.home / "secret"), "slots": 2,
            "queues": ["build", "stack"], **self._settings,
        }  # fmt: skip
        if name == "bot":
            del values["worker_name"]
        lines = [f"{key} = {_toml(value)}" for key, value in sorted(values.items())]
        (self.machines.home / f"{name}.toml").write_text("\n".join(lines) + "\n")

    def _start(self) -> None:
        maildir = f"maildir:{self.maildir}"
        for name in WORKERS:
            self._launch(name, "worker")
        self._launch("bot", "-v", "watch", "--run", "asked", maildir)
        until("both workers are there", self._ready, 60)

    def _ready(self) -> bool:
        for name, one in self.running.items():
            assert one.poll() is None, f"{name} ended: {self.log(name)}"
        return len(list(self.redis.scan_iter(wire.presence_key("*")))) == len(WORKERS)

    def _launch(self, name: str, *words: str) -> None:
        machines = self.machines
        self.running[name] = machines.hosts[name].start(
            [*machines.stackhog, *words], self.home / f"{name}.log", machines.environment(name)
        )

    def _kill(self) -> None:
        for link in self.machines.switch.links.values():
            link.heal()
        for one in self.running.values():
            one.kill()
            one.wait(END)

    def link(self, name: str) -> Link:
        """Return the cable of a host."""
        return self.machines.switch.links[name]

    def ask(self) -> None:
        """Send all series, and a command for each."""
        for number, mails in enumerate(self._mails):
            for mail in mails:
                self.author.deliver(mail)
            self.author.ask("/test build stack", _id(mails[0]), f"ask-{number}@example.org")

    def jobs(self) -> tuple[Job, ...]:
        """Return the jobs that the broker or a worker has."""
        with self.store.reading() as session:
            return jobs.under_way(session)

    def at_work(self, worker: str, kind: str = "build") -> list[Job]:
        """Return the jobs of a kind that a worker works on, as the bot knows."""
        return [
            one for one in self.jobs()
            if one.state is State.RUNNING and worker in one.worker and one.kind == kind
        ]  # fmt: skip

    def log(self, name: str) -> str:
        """Return what a process has said."""
        return (self.home / f"{name}.log").read_text()

    def replies(self) -> dict[str, Reply]:
        """Return the mails that were taken, by what they answer; each must be there once."""
        found = [message_from_bytes(raw, policy=policy.default) for *_, raw in self.post.mails]
        counts = Counter(str(one["In-Reply-To"]) for one in found)
        assert [name for name, count in counts.items() if count > 1] == []
        assert len({one["Message-ID"] for one in found}) == len(found)
        return {str(one["In-Reply-To"]): _reply(one) for one in found}

    def answered(self) -> bool:
        """Whether there is a reply to each command."""
        return len(self.post.mails) >= len(self._mails)

    def wait_for_answers(self, seconds: float = 90) -> None:
        """Wait until all is answered."""
        until("each command is answered", self.answered, seconds)

    def wait(self, seconds: float = 90) -> None:
        """Wait until all is answered, and nobody works on anything any more."""
        self.wait_for_answers(seconds)
        until("no job is under way", lambda: not self.jobs(), 30)
        until("no run is open", lambda: not self._open(), 30)
        until("the workers are idle", lambda: not self.busy(), 60, self.busy)

    def busy(self) -> list[str]:
        """Return what a worker still has or may take, by the broker."""
        keys = sorted(bytes(key).decode() for key in self.redis.scan_iter("*"))
        return [
            key for key in keys
            if key.split(SEPARATOR)[0] in HELD or key.startswith(wire.beat_key(""))
        ]  # fmt: skip

    def _open(self) -> list[Wanted]:
        with self.store.reading() as session:
            found = (*wishes.running(session, FAR), *wishes.waiting(session, FAR))
        return [one for one in found if one.asked_in is not None]

    def attempts(self) -> dict[str, int]:
        """Return how often each job was sent."""
        with self.store.reading() as session:
            keys = [one for number in range(1, 100) for one in jobs.needed(session, number)]
        return {one.key: one.attempts for one in keys}

    def end(self) -> dict[str, Reply]:
        """End all as an operator does; return the replies. Fails where something is left."""
        for name, one in self.running.items():
            assert one.poll() is None, f"{name} ended by itself: {self.log(name)[-2000:]}"
            one.send_signal(signal.SIGTERM)
        for name, one in self.running.items():
            assert one.wait(END) == 0, f"{name}: {self.log(name)[-2000:]}"
        assert self.machines.left() == {}
        assert self.machines.mounts() == []
        for name in WORKERS:
            builds = self.machines.home / name / "cache" / "builds"
            assert [one.name for one in builds.iterdir()] == []
        return self.replies()


def _id(mail: bytes) -> str:
    return str(message_from_bytes(mail)["Message-ID"]).strip("<>")


def _reply(mail: EmailMessage) -> Reply:
    return Reply(str(mail["To"]), str(mail["Cc"]), str(mail["Subject"]), mail.get_content())


def _toml(value: object) -> str:
    return str(value) if isinstance(value, int | float) else repr(value).replace("'", '"')
