"""The page as it is served: real HTTP, a real process, and promtool's opinion."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.settings import Settings
from bot.store.database import Store
from bot.web.app import make_app
from bot.web.server import ServeError, Server
from tests import history, stores
from tests.stores import STORES, opened

SETTINGS = Settings()  # type: ignore[call-arg] # pydantic-settings fills the fields
SECONDS = 60


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return opened(tmp_path / "store.db")


@contextmanager
def served(store: Store) -> Iterator[str]:
    with Server(make_app(store, SETTINGS), "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.port}"


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - our own
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def alive(store: Store) -> None:
    with store.session() as session:
        history.lives(session, datetime.now(UTC))
        history.works(session, seen=datetime.now(UTC))


def test_health_readiness_and_metrics_are_served(store: Store) -> None:
    with served(store) as url:
        assert get(f"{url}/healthz") == (200, "ok\n")
        status, said = get(f"{url}/readyz")
        assert (status, json.loads(said)["ready"]) == (503, False)
        assert json.loads(said)["reasons"][0] == "no bot was ever seen"
        alive(store)
        assert get(f"{url}/readyz") == (200, '{"ready":true,"reasons":[]}')
        status, said = get(f"{url}/metrics")
        assert status == 200
        assert "stackhog_workers 1.0" in said
        assert get(f"{url}/docs")[0] == 404
        assert get(f"{url}/openapi.json")[0] == 404


def test_promtool_has_nothing_to_say(store: Store) -> None:
    alive(store)
    with store.session() as session:
        history.reviewed(session, "one", 0)
        history.source(session, 'imap://jane@host/"IN\\BOX"', datetime.now(UTC))
    with served(store) as url:
        said = get(f"{url}/metrics")[1]
    done = subprocess.run(
        ["/usr/bin/promtool", "check", "metrics"],
        input=said,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_database_that_is_away_is_a_503_until_it_is_back() -> None:
    with stores.server() as cluster:
        store = Store(cluster.fresh())
        alive(store)
        with served(store) as url:
            assert get(f"{url}/readyz")[0] == 200
            cluster.stop()
            said = '{"ready":false,"reasons":["the store cannot be used"]}'
            assert get(f"{url}/readyz") == (503, said)
            assert get(f"{url}/metrics") == (503, "the store cannot be used\n")
            assert get(f"{url}/healthz")[0] == 200
            cluster.start()
            alive(store)
            assert get(f"{url}/readyz")[0] == 200
            assert get(f"{url}/metrics")[0] == 200
        store.close()


def test_many_scrapes_at_once_all_get_an_answer(store: Store) -> None:
    alive(store)
    found: list[int] = []
    with served(store) as url:
        threads = [
            threading.Thread(target=lambda: found.append(get(f"{url}/metrics")[0]))
            for _ in range(30)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert found == [200] * 30


def test_a_port_that_is_taken_is_one_sentence(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServeError, match=f"127.0.0.1 port {port} cannot be served on"):
            Server(make_app(store, SETTINGS), "127.0.0.1", port).start()


def test_it_serves_again_on_the_port_that_it_left(store: Store) -> None:
    port = 0
    for _ in range(3):
        server = Server(make_app(store, SETTINGS), "127.0.0.1", port)
        server.start()
        port = server.port
        assert get(f"http://127.0.0.1:{port}/healthz")[0] == 200
        server.stop()
        server.stop()
        assert not server.alive()
    assert threading.active_count() < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_verb_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    environment = os.environ | {
        "STACKHOG_HOME": str(tmp_path), "STACKHOG_CONFIG": str(tmp_path / "none.toml"),
        "STACKHOG_STORE_URL": STORES.url(tmp_path / "data" / "store.db"),
        "STACKHOG_LOG_FORMAT": "json",
    }  # fmt: skip
    command = [sys.executable, "-m", "bot", "web", "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = json.loads(process.stderr.readline())
        port = line["message"].split()[-1]
        assert get(f"http://127.0.0.1:{port}/healthz") == (200, "ok\n")
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(SECONDS) == 0
        assert time.monotonic() - began < 10
        assert process.stderr.read() == ""
