"""Who carries jobs hears at once that something was stored of one, and nothing else comes in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.contract import Queue
from bot.review.carrier import BrokerAwayError, Carrier, Seen
from tests.integration.brokers import Server, serving
from workers.app import make_app
from workers.config import WorkerConfig

RESULT = {"outcome": "passed"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as found:
        yield found


@pytest.fixture
def carrier(server: Server) -> Iterator[Carrier]:
    found = Carrier(server.url)
    yield found
    found.close()


def store(server: Server, task: str, state: str) -> None:
    app = make_app(server.url, WorkerConfig(Path("/nowhere"), Path("/nowhere")))
    app.backend.store_result(task, RESULT, state)


def test_a_result_is_heard_of_at_once(server: Server, carrier: Carrier) -> None:
    assert not carrier.listen(0.05)
    later = threading.Timer(0.3, store, (server, "a-1", "SUCCESS"))
    later.start()
    began = time.monotonic()
    assert carrier.listen(20.0)
    assert time.monotonic() - began < 5
    later.join()
    assert carrier.look(["a-1"]) == {"a-1": Seen(result=RESULT)}
    assert 0 < carrier._redis.ttl("celery-task-meta-a-1") <= 24 * 3600


def test_much_news_is_heard_of_once(server: Server, carrier: Carrier) -> None:
    carrier.listen(0.0)
    for number in range(20):
        store(server, f"a-{number}", "STARTED")
    assert carrier.listen(1.0)
    assert not carrier.listen(0.1)


def test_a_broker_that_comes_back_is_heard_again(server: Server, carrier: Carrier) -> None:
    carrier.listen(0.0)
    server.kill()
    with pytest.raises(BrokerAwayError):
        carrier.listen(5.0)
    server.start()
    assert not carrier.listen(0.1)
    store(server, "a-1", "SUCCESS")
    assert carrier.listen(5.0)


def test_what_is_sent_subscribes_to_nothing(carrier: Carrier) -> None:
    for number in range(5):
        carrier.send(Queue.STACK, "stack", f"a-{number}", "{}", 60.0, 5)
    clients = carrier._redis.client_list()
    assert [one["sub"] for one in clients] == ["0"] * len(clients)
    assert all("subscribe" not in one["cmd"] for one in clients)
