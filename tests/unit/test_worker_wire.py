"""How both ends speak to the broker: options, URLs with passwords, and what is said of failures."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from bot.contract import wire
from workers.app import make_app
from workers.config import WorkerConfig

SECRET = "p@ss/w:rd%#?"  # noqa: S105 - of nobody


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("redis://h", "redis://:p%40ss%2Fw%3Ard%25%23%3F@h"),
        ("redis://h:1/2", "redis://:p%40ss%2Fw%3Ard%25%23%3F@h:1/2"),
        ("rediss://me@h/0", "rediss://me:p%40ss%2Fw%3Ard%25%23%3F@h/0"),
        ("redis+socket:///run/r", "redis+socket://:p%40ss%2Fw%3Ard%25%23%3F@/run/r"),
    ],
)
def test_a_password_goes_into_a_url_and_comes_out_again(url: str, whole: str) -> None:
    found = wire.with_password(url, SECRET)
    assert found == whole
    assert wire.has_password(found)
    assert not wire.has_password(url)
    queues, results, _ = connections(found)
    assert (queues["password"], results["password"]) == (SECRET, SECRET)
    assert "p%40ss" not in wire.shown(found)
    with pytest.raises(wire.BadBrokerError, match="two passwords"):
        wire.with_password(found, "other")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h/0", "redis://h/0"),
        ("redis://me@h/0", "redis://me@h/0"),
        ("redis://:p@h/0", "redis://:***@h/0"),
        ("redis+socket:///run/a%20b", "redis+socket:///run/a b"),
        ("redis://h/0?password=p", "redis://h/0"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert wire.shown(url) == shown


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (redis.exceptions.AuthenticationError("WRONGPASS"), "refuses the password"),
        (redis.exceptions.AuthenticationError("invalid"), "refuses the password"),
        (redis.exceptions.ResponseError("NOAUTH Authentication required."), "refuses the password"),
        (
            raised(redis.exceptions.ConnectionError("x"), ssl.SSLCertVerificationError("y")),
            "does not verify: mend broker_ca",
        ),
        (raised(redis.exceptions.ConnectionError("x"), ssl.SSLError("y")), "does not speak TLS"),
        (redis.exceptions.OutOfMemoryError("x"), "is full"),
        (redis.exceptions.ConnectionError("Error 111"), "answers at redis://:***@h/0 (Err"),
        (redis.exceptions.TimeoutError("slow\nly"), "(slow ly): start it"),
    ],
)  # fmt: skip
def test_each_failure_has_its_sentence(error: Exception, said: str) -> None:
    found = wire.unreachable("redis://:geheim@h/0", error)
    assert said in found
    assert "geheim" not in found
    assert "\n" not in found


def test_only_certificates_that_verify_are_taken(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca)
    assert wire.tls("redis://h/0", None) is None
    assert wire.tls("rediss://h/0", None) == {
        "ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True,
    }  # fmt: skip
    found = wire.tls("rediss://h/0", ca)
    assert found is not None
    assert found["ssl_ca_certs"] == str(ca)
    with pytest.raises(wire.BadBrokerError, match="write it as rediss://"):
        wire.tls("redis://h/0", ca)
    ca.write_text("nothing")
    with pytest.raises(wire.BadBrokerError, match="holds no certificate"):
        wire.tls("rediss://h/0", ca)
    with pytest.raises(wire.BadBrokerError, match="holds no certificate"):
        wire.tls("rediss://h/0", tmp_path / "none")


def connections(url: str, ca: Path | None = None) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Return what redis-py is called with: for the queues, for results; and the channel."""
    app = make_app(url, WorkerConfig(Path("d"), Path("c")), ca)
    channel_class = app.connection().transport.Channel
    channel = channel_class.__new__(channel_class)
    transport = app.connection().transport
    for name, value in transport.client.transport_options.items():
        setattr(channel, name, value)
    channel.connection = transport
    return channel._connparams(), app.backend.connparams, channel


@pytest.mark.parametrize("url", ["redis://h/0", "rediss://h/0", "redis+socket:///run/r"])
def test_every_option_reaches_the_client(url: str, tmp_path: Path) -> None:
    ca = None
    if url.startswith("rediss"):
        ca = tmp_path / "ca.pem"
        trustme.CA().cert_pem.write_to_path(ca)
    queues, results, channel = connections(url, ca)
    assert channel.visibility_timeout == 48 * 3600
    assert channel.priority_steps == list(range(10))
    assert channel.queue_order_strategy == "priority"
    assert set(wire.transport()) <= set(channel.from_transport_options)
    for found in (queues, results):
        assert found["socket_timeout"] == 10
        assert found["health_check_interval"] == 10
        assert found.get("ssl_ca_certs") == (str(ca) if ca else None)
        assert found.get("socket_keepalive") == (None if "socket:" in url else True)
        assert found.get("socket_connect_timeout") == (None if "socket:" in url else 5)
        # redis-py takes all of them
        options = {
            k: v for k, v in found.items() if k not in {"connection_class", "max_connections"}
        }
        found.get("connection_class", redis.Connection)(**options)


def test_the_app_is_set_as_it_must_be() -> None:
    conf = make_app("redis://h/0", WorkerConfig(Path("d"), Path("c"))).conf
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.worker_prefetch_multiplier == 1
    assert not conf.worker_cancel_long_running_tasks_on_connection_loss
    assert conf.broker_connection_max_retries is None
    assert conf.result_backend_always_retry
    assert [queue.name for queue in conf.task_queues] == ["stack", "kvm", "stress", "build"]
