"""The broker's options, shown with a real redis-server and a real worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import trustme

from bot.contract import wire
from bot.review.carrier import BrokerAwayError, Carrier
from tests.faults.links import Link
from tests.integration.brokers import (
    ROOT,
    Server,
    environment,
    ready,
    result,
    send,
    serving,
    until,
    working,
)
from tests.integration.conftest import STACKHOG, children, one_line
from workers import broker

PASSWORD = "p@ss/w:rd%"  # noqa: S105 - of a server that lives for a test


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, "--maxmemory", "64mb", "--maxmemory-policy", "noeviction") as found:
        yield found


def test_what_is_urgent_overtakes_what_was_asked_for_before(server: Server, tmp_path: Path) -> None:
    carrier = Carrier(server.url)
    for number in (9, 1, 0):
        send(carrier, f"p{number}-a", 0, priority=number)
        send(carrier, f"p{number}-b", 0, priority=number)
    send(carrier, "stack-9", 0, queue="stack", priority=9)
    send(carrier, "stack-9b", 0, queue="stack", priority=9)
    send(carrier, "stack-0", 0, queue="stack", priority=0)
    with working(tmp_path, server.url, "--slots", "1") as worker:
        until(lambda: len(worker.begun) == 9)
    # of what is equally urgent a stack job is first, whose review is nearly done
    assert worker.begun == [
        "stack-0",
        "p0-a",
        "p0-b",
        "p1-a",
        "p1-b",
        "stack-9",
        "stack-9b",
        "p9-a",
        "p9-b",
    ]


def test_a_busy_worker_holds_no_second_job_back(server: Server, tmp_path: Path) -> None:
    carrier = Carrier(server.url)
    with working(tmp_path, server.url, "--slots", "2") as worker:
        ready(carrier)
        for number in range(5):
            send(carrier, f"job{number}", 6)
        until(lambda: len(worker.begun) == 2)
        time.sleep(1.5)
        assert server.client().llen("build\x06\x165") == 3
        assert server.client().hlen("unacked") == 2


def test_results_and_everything_else_run_out(server: Server, tmp_path: Path) -> None:
    carrier = Carrier(server.url)
    with working(tmp_path, server.url, "--slots", "1"):
        send(carrier, "one", 0)
        until(lambda: result(carrier, "one"))
        ready(carrier)
    client = server.client()
    names = [bytes(key).decode() for key in client.scan_iter()]
    lasting = {name for name in names if client.ttl(name) == -1}
    assert {name for name in lasting if not name.startswith("_kombu.binding")} == set()
    assert 0 < client.ttl("celery-task-meta-one") <= wire.KEEP_RESULTS.total_seconds()


def test_a_job_outlives_a_broker_that_is_restarted_empty(server: Server, tmp_path: Path) -> None:
    carrier = Carrier(server.url)
    # one slot is idle, so that the connection is in use when it breaks
    with working(tmp_path, server.url, "--slots", "2") as worker:
        ready(carrier)
        epoch = carrier.epoch()
        send(carrier, "running", 8)
        until(lambda: worker.begun == ["running"])
        server.kill()
        with pytest.raises(BrokerAwayError):
            carrier.epoch()
        time.sleep(2)
        server.start()
        assert until(lambda: _epoch(carrier)) != epoch
        assert until(lambda: result(carrier, "running"), 60) == "running"
        send(carrier, "next", 0)
        assert until(lambda: result(carrier, "next"), 60) == "next"
        assert worker.begun == ["running", "next"]
        assert ready(carrier).name == "w"
        assert "Traceback" not in worker.said


def test_a_result_waits_for_the_broker(server: Server, tmp_path: Path) -> None:
    carrier = Carrier(server.url)
    with working(tmp_path, server.url, "--slots", "1") as worker:
        ready(carrier)
        send(carrier, "running", 2)
        until(lambda: worker.begun == ["running"])
        server.kill()
        time.sleep(12)  # it ends meanwhile
        server.start()
        assert until(lambda: result(carrier, "running"), 60) == "running"


@pytest.mark.parametrize("how", ["cut", "silence"])
def test_a_job_outlives_a_broken_link(server: Server, tmp_path: Path, how: str) -> None:
    carrier = Carrier(server.url)
    with Link(server.port) as link, working(tmp_path, _through(link), "--slots", "2") as worker:
        ready(carrier)
        send(carrier, "running", 6)
        until(lambda: worker.begun == ["running"])
        (link.cut if how == "cut" else link.silence)()
        time.sleep(15)
        if how == "silence":
            link.cut()  # what was held back is lost, as after a reboot of a router
        link.heal()
        assert until(lambda: result(carrier, "running"), 90) == "running"
        send(carrier, "next", 0)
        assert until(lambda: result(carrier, "next"), 90) == "next"
        assert worker.begun == ["running", "next"]
        # what is done is acknowledged, or it would run again after the visibility timeout
        until(lambda: server.client().hlen("unacked") == 0)


def test_a_worker_that_lost_its_link_takes_no_more_than_it_can(
    server: Server, tmp_path: Path
) -> None:
    carrier = Carrier(server.url)
    with Link(server.port) as link, working(tmp_path, _through(link), "--slots", "2") as worker:
        ready(carrier)
        send(carrier, "running", 25)
        until(lambda: worker.begun == ["running"])
        link.cut()
        time.sleep(1)
        link.heal()
        send(carrier, "beside", 15)
        until(lambda: worker.begun == ["running", "beside"], 30)
        send(carrier, "next", 0)
        time.sleep(3)
        assert server.client().llen("build\x06\x165") == 1
        assert until(lambda: result(carrier, "next"), 60) == "next"


def test_a_silent_link_does_not_hold_a_worker(server: Server, tmp_path: Path) -> None:
    carrier = Carrier(server.url)
    with Link(server.port) as link, working(tmp_path, _through(link), "--slots", "1") as worker:
        ready(carrier)
        link.silence()
        time.sleep(14)  # by now it has noticed, and speaks to nobody over a new connection
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(45) == 0


def _through(link: Link) -> str:
    return f"redis://127.0.0.1:{link.port}/0"


def _epoch(carrier: Carrier) -> str | None:
    try:
        return carrier.epoch()
    except BrokerAwayError:
        return None


def test_a_slot_that_is_killed_gives_its_job_back(server: Server, tmp_path: Path) -> None:
    carrier = Carrier(server.url)
    with working(tmp_path, server.url, "--slots", "1") as worker:
        ready(carrier)
        send(carrier, "job", 2)
        until(lambda: worker.begun == ["job"])
        os.kill(children(worker.pid)[0], signal.SIGKILL)
        assert until(lambda: result(carrier, "job"), 60) == "job"
        assert worker.begun == ["job", "job"]


def test_a_full_broker_takes_nothing_and_loses_no_result(server: Server, tmp_path: Path) -> None:
    carrier, client = Carrier(server.url), server.client()
    with working(tmp_path, server.url, "--slots", "1") as worker:
        ready(carrier)
        send(carrier, "running", 2)
        until(lambda: worker.begun == ["running"])
        client.config_set("maxmemory", 1)
        with pytest.raises(BrokerAwayError, match="command not allowed when used memory"):
            send(carrier, "refused", 0)
        time.sleep(5)  # the job ends and cannot say so
        assert result(carrier, "running") is None
        client.config_set("maxmemory", 1 << 26)
        assert until(lambda: result(carrier, "running"), 60) == "running"
        send(carrier, "refused", 0)
        assert until(lambda: result(carrier, "refused"), 60) == "refused"


def test_a_worker_outlives_a_full_broker(server: Server, tmp_path: Path) -> None:
    carrier, client = Carrier(server.url), server.client()
    for number in range(3):
        send(carrier, f"waiting{number}", 0)
    client.config_set("maxmemory", 1)
    with working(tmp_path, server.url, "--slots", "1") as worker:
        time.sleep(8)
        assert worker.process.poll() is None
        client.config_set("maxmemory", 1 << 26)
        ready(carrier)
        send(carrier, "next", 0)
        assert until(lambda: result(carrier, "next"), 60) == "next"
        # what it took when it could not be noted is gone: the bot asks the broker, and sends again
        lost = {f"waiting{number}" for number in range(3)} - set(worker.begun)
        assert not lost & carrier.held()


def test_the_embedded_broker_refuses_rather_than_forgets(tmp_path: Path) -> None:
    server = broker.start(tmp_path / "broker")
    try:
        client = redis.Redis(unix_socket_path=str(tmp_path / "broker"))
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert int(str(client.config_get("maxmemory")["maxmemory"])) > 0
        assert client.config_get("save") == {"save": ""}
    finally:
        server.kill()
        server.wait()


# ---- TLS and password ----


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Server]:
    authority = trustme.CA()
    own = authority.issue_cert("localhost", "127.0.0.1")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    (tmp_path / "wrong").write_text("not it\n")
    (tmp_path / "users.conf").write_text(f'requirepass "{PASSWORD}"\n')
    found = Server(tmp_path)
    found.options = (
        "--port", "0", "--tls-port", str(found.port), "--tls-cert-file", str(tmp_path / "cert.pem"),
        "--tls-key-file", str(tmp_path / "key.pem"), "--tls-auth-clients", "no",
        "--requirepass", PASSWORD,
    )  # fmt: skip
    found.start()
    yield found
    found.kill()


def test_a_job_is_done_over_tls_with_a_password(secured: Server, tmp_path: Path) -> None:
    url, ca = f"rediss://localhost:{secured.port}/0", tmp_path / "ca.pem"
    carrier = Carrier(wire.with_password(url, PASSWORD), ca)
    given: dict[str, str | Path] = {
        "broker_ca": ca, "broker_password_file": tmp_path / "password",
    }  # fmt: skip
    with working(tmp_path, url, "--slots", "1", **given) as worker:
        ready(carrier)
        send(carrier, "one", 1)
        until(lambda: worker.begun)
        for pid in (worker.pid, *children(worker.pid)):
            for name in ("cmdline", "environ"):
                text = Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
                assert PASSWORD not in text
                assert "p%40ss" not in text
        assert until(lambda: result(carrier, "one")) == "one"
        secured.kill()  # its complaints are logged
        time.sleep(3)
        worker.process.send_signal(signal.SIGTERM)
        worker.process.wait(60)
    assert PASSWORD not in worker.said
    assert "p%40ss" not in worker.said


@pytest.mark.parametrize(
    ("url", "changes", "said"),
    [
        ("rediss://localhost:{port}/0", {"broker_ca": "other.pem"}, "does not verify"),
        ("rediss://localhost:{port}/0", {"broker_password_file": "wrong"}, "refuses the password"),
        ("rediss://localhost:{port}/0", {"broker_password_file": None}, "refuses the password"),
        ("rediss://localhost:{port}/0", {"broker_ca": "password"}, "holds no certificate"),
        ("rediss://localhost:{port}/0", {"broker_password_file": "none"}, "cannot be read"),
        ("redis://localhost:{port}/0", {}, "write it as rediss://"),
        ("redis://localhost:{port}/0", {"broker_ca": None}, "no broker answers"),
        ("rediss://localhost:1/0", {}, "no broker answers"),
        ("rediss://:{word}@localhost:{port}/0", {}, "holds a password too"),
    ],
)
def test_a_broker_that_cannot_be_used_is_one_sentence(
    secured: Server, tmp_path: Path, url: str, changes: dict[str, str | None], said: str
) -> None:
    wanted = {"broker_ca": "ca.pem", "broker_password_file": "password"} | changes
    given = {name: tmp_path / value for name, value in wanted.items() if value is not None}
    named = url.format(port=secured.port, word="p%40ss")
    done = subprocess.run(
        [*STACKHOG, "worker"], cwd=ROOT, env=environment(tmp_path, broker_url=named, **given),
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode in {2, 3}
    assert said in one_line(done.stderr)
    assert "p%40ss" not in done.stderr
    assert PASSWORD not in done.stderr


def test_a_password_on_the_command_line_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [*STACKHOG, "worker", "--broker", "redis://:secret@localhost/0"], cwd=ROOT,
        env=environment(tmp_path), check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "broker_password_file" in one_line(done.stderr)
    assert "secret" not in done.stderr


def test_a_presence_is_read_by_the_other_end(server: Server, tmp_path: Path) -> None:
    with working(tmp_path, server.url, "--slots", "3", "--queues", "build,stack"):
        found = ready(Carrier(server.url))
        raw = server.client().get(wire.presence_key("w"))
    assert (found.slots, found.queues, found.draining) == (3, ("stack", "build"), False)
    assert raw is not None
    assert json.loads(raw)["version"]
    assert found.compiler.startswith("gcc")
