"""`stackhog serve`: everything in one process tree, from a mail to a mail, and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.store import jobs, wishes
from bot.store.database import sqlite
from bot.store.jobs import New
from tests.integration.conftest import Desk, children, command_of
from tests.integration.test_watch import Inbox, Post, inbox

__all__ = ["inbox"]
SECONDS = 120.0


class Served:
    """A running service."""

    def __init__(self, post: Post) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = post.desk.home / "serve.log"
        environment = {
            **post.desk.environment(), "STACKHOG_CONFIG": str(post.desk.home / "stackhog.toml"),
            "STACKHOG_POLL_SECONDS": "0.3", "STACKHOG_LOST_SECONDS": "10", "STACKHOG_SLOTS": "2",
            "STACKHOG_LOG_FORMAT": "json",
        }  # fmt: skip
        with self.log.open("wb") as log:
            words = ("-v", "serve", "--port", str(self.port), f"maildir:{post.maildir}")
            self.running = subprocess.Popen(
                post.desk.command(*words), env=environment, stdout=log, stderr=log,
            )  # fmt: skip

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as found:
                return found.status, found.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def below(self, word: str) -> list[int]:
        return [pid for pid in children(self.running.pid) if word in command_of(pid)]


def until(what: Callable[[], Any], why: Callable[[], str] = str) -> None:
    end = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < end, why()
        time.sleep(0.1)


@pytest.fixture
def served(desk: Desk, inbox: tuple[Inbox, int]) -> Iterator[tuple[Post, Served, Inbox]]:
    taken, port = inbox
    post = Post(desk, port, "send")
    found = Served(post)
    yield post, found, taken
    found.running.kill()
    found.running.wait()


def test_from_a_mail_to_a_mail_whatever_is_killed(served: tuple[Post, Served, Inbox]) -> None:
    post, service, taken = served
    until(lambda: service.get("/readyz")[0] == 200, service.log.read_text)
    assert service.get("/healthz") == (200, "ok\n")
    lead = post.deliver_patch()
    post.ask("/test build stack", lead)
    until(lambda: service.below("cc1"), service.log.read_text)
    (broker,) = service.below("valkey-server")
    for pid in [*service.below("bot worker"), broker]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: taken.mails, service.log.read_text)
    (answer,) = taken.mails
    assert answer.get_content().startswith("stack: pageout() grows by")
    text = service.get("/metrics")[1]
    assert 'stackhog_runs_total{outcome="passed"}' in text or "stackhog_runs_total" in text
    assert 'stackhog_jobs{kind="build",state="done"} 1.0' in text
    assert 'stackhog_jobs{kind="stack",state="done"} 1.0' in text
    time.sleep(2)
    assert len(taken.mails) == 1
    lines = [json.loads(one) for one in service.log.read_text().splitlines() if one[:1] == "{"]
    assert any(lead in str(one.get("series")) for one in lines)


def test_it_ends_when_it_is_told_and_leaves_nothing(served: tuple[Post, Served, Inbox]) -> None:
    _, service, _ = served
    until(lambda: service.get("/readyz")[0] == 200, service.log.read_text)
    below = children(service.running.pid)
    assert len(below) >= 3
    service.running.send_signal(signal.SIGTERM)
    assert service.running.wait(30) == 0
    assert [pid for pid in below if "stackhog" in command_of(pid) or "bot" in command_of(pid)] == []
    assert service.get("/healthz")[0] == 0


def test_killed_outright_it_takes_all_with_it(served: tuple[Post, Served, Inbox]) -> None:
    _, service, _ = served
    until(lambda: service.get("/readyz")[0] == 200, service.log.read_text)
    below = children(service.running.pid)
    service.running.kill()
    service.running.wait()
    until(lambda: not [pid for pid in below if Path(f"/proc/{pid}/exe").exists()])


def test_what_was_given_up_is_listed_and_tried_again(desk: Desk) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415 - for this alone

    now = datetime.now(UTC)
    store = sqlite(desk.home / "state" / "data" / "store.db")
    with store.session() as session:
        number = wishes.want(session, "lead@example.org", {}, None, now)
        wishes.planned(session, number, "{}", 5, now)
        jobs.want(session, New("k" * 64, "build", "{}", 60.0), number, 5, now)
        jobs.send(session, "k" * 64, "t", "e", now, now)
        jobs.give_up(session, "t", "no room", now)
        wishes.end(session, number, wishes.Wish.FAILED, "the build job is broken: no room", now)
    store.close()
    listed = desk.run("retry")
    assert listed.stdout == f"{number}  lead@example.org: the build job is broken: no room\n"
    assert desk.run("retry", "99").returncode == 2
    assert desk.run("retry", str(number)).returncode == 0
    with sqlite(desk.home / "state" / "data" / "store.db").session() as session:
        assert len(wishes.waiting(session, now.replace(year=now.year + 1))) == 1
        job = jobs.get(session, "k" * 64)
    assert job is not None
    assert (job.state, job.failures) == (jobs.State.READY, 0)
