"""Many machines: links between bot, data and workers are cut, slow and one-way; reviews end right.

All is real but the cables: PostgreSQL, Redis, Celery, builds of the kernel in miniature, SMTP.
Each test asks for the same reviews, in a new store; what is answered must be the same, once.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.integration.hosts import Machines, until
from tests.integration.service import Reply, Service
from tests.integration.test_build import BUFFER, DEEPER

Replies = dict[str, Reply]
SIZES = (600, 700, 800, 900, 1000, 1100)


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with Machines() as found:
        yield found


@pytest.fixture(scope="module")
def mails(machines: Machines) -> list[list[bytes]]:
    """Return series, of one patch and of two; no two patches are the same, or one is a reroll."""
    found = []
    for number, size in enumerate(SIZES):
        old, new = BUFFER
        edits = [("mm/vmscan.c", old, new.replace("600", str(size)))]
        if number % 2:
            old, new = DEEPER
            edits.append(("fs/minifs/inode.c", old, new.replace("300", str(size - 100))))
        found.append(machines.series(f"mm: change {number}", *edits))
    return found


@pytest.fixture(scope="module")
def calm(machines: Machines, mails: list[list[bytes]]) -> Replies:
    """Return the replies when nothing is in the way."""
    with Service(machines, "calm", mails) as service:
        service.ask()
        service.wait()
        return service.end()


@pytest.fixture
def service(
    machines: Machines, mails: list[list[bytes]], calm: Replies, request: pytest.FixtureRequest
) -> Iterator[Service]:
    assert len(calm) == len(SIZES)
    settings = getattr(request, "param", {})
    with Service(machines, request.node.originalname[:40], mails, settings) as found:
        found.ask()
        yield found


def test_without_trouble_all_is_told_once(calm: Replies) -> None:
    for number, size in enumerate(SIZES):
        body = calm[f"<ask-{number}@example.org>"].body
        assert body.startswith("stack: pageout() grows by")
        assert f"char text[{size}];" in body


def test_a_worker_that_is_cut_off_is_replaced_and_its_late_answer_changes_nothing(
    service: Service, calm: Replies
) -> None:
    _cut_off_when_it_says(service, b"PUT /")  # in the middle of a build, with an artifact
    service.wait_for_answers()
    assert "no sign of it from w1; it is sent again" in service.log("bot")
    service.link("w1").heal()
    service.wait()
    assert service.end() == calm


def test_a_bot_that_is_cut_off_from_broker_and_database_goes_on(
    service: Service, calm: Replies
) -> None:
    until("somebody builds", lambda: service.at_work("w"))
    service.link("bot").cut()
    time.sleep(20)
    service.link("bot").heal()
    service.wait()
    assert service.link("bot").dropped
    assert service.end() == calm


def test_links_that_are_slow_and_lose_much_carry_all(service: Service, calm: Replies) -> None:
    for name, delay, loss in (("w1", 0.15, 0.05), ("w2", 0.15, 0.05), ("bot", 0.01, 0.01)):
        service.link(name).slow(delay, loss)  # there and back
    service.wait(180)
    assert all(service.link(name).dropped for name in ("w1", "w2", "bot"))
    assert service.end() == calm


def test_a_worker_that_hears_and_is_not_heard_is_replaced(service: Service, calm: Replies) -> None:
    until("w1 builds", lambda: service.at_work("w1"))
    service.link("w1").out.cut = True
    service.wait_for_answers()
    service.link("w1").heal()
    service.wait()
    assert service.end() == calm


def test_servers_that_stand_still_for_a_while_lose_nothing(service: Service, calm: Replies) -> None:
    until("somebody builds", lambda: service.at_work("w"))
    service.machines.hosts["data"].signal(signal.SIGSTOP)
    time.sleep(15)
    service.machines.hosts["data"].signal(signal.SIGCONT)
    service.wait()
    assert service.end() == calm


def test_a_result_that_is_cut_off_on_its_way_is_told_once(service: Service, calm: Replies) -> None:
    _cut_off_when_it_says(service, b'"SUCCESS"')
    service.wait_for_answers()
    assert max(service.attempts().values()) == 2  # the other worker was faster
    service.link("w1").heal()
    service.wait()
    assert service.end() == calm


@pytest.mark.parametrize("service", [{"lost_seconds": 30}], indirect=True, ids=["patient"])
def test_a_result_that_is_cut_off_for_a_moment_is_waited_for(
    service: Service, calm: Replies
) -> None:
    _cut_off_when_it_says(service, b'"SUCCESS"')
    time.sleep(8)
    service.link("w1").heal()
    service.wait()
    assert set(service.attempts().values()) == {1}
    assert service.end() == calm


def test_idle_workers_find_a_broker_that_was_restarted_behind_their_backs(
    machines: Machines, mails: list[list[bytes]], calm: Replies
) -> None:
    """What they wait on is then a connection that the other end has forgotten."""
    with Service(machines, "idle", mails) as service:
        for name in ("w1", "w2"):
            service.link(name).cut()
        machines.restart_broker()
        time.sleep(4)
        for name in ("w1", "w2"):
            service.link(name).heal()
        service.ask()
        service.wait()
        assert service.end() == calm


def _cut_off_when_it_says(service: Service, words: bytes) -> None:
    """Cut the first worker off from the moment on in which it sends some bytes."""
    link = service.link("w1")
    link.sprung.clear()
    link.trap = words
    assert link.sprung.wait(60), f"{words!r} was not seen on the wire"
