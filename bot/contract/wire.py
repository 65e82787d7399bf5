"""How both ends of the queue speak to the broker: names, keys, times, and the options of Redis.

The store is the truth; what lies in Redis may be lost at any moment. Beside the queues there are
small keys that expire by themselves: a *beat* says that a task is being worked on and by whom, a
*void* that it is no longer wanted, a *presence* that a worker lives and what it can do.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from bot.contract import Record
from bot.errors import OursError

# above the longest hard time limit, or Redis hands a job out twice while it still runs
VISIBILITY = timedelta(hours=48)
KEEP_RESULTS = timedelta(hours=24)
PRIORITIES = 10  # 0 is served first; kombu keeps a list for each
BEAT = timedelta(seconds=5)  # how often a living task says so
BEAT_LOST = timedelta(seconds=30)  # without a beat for so long a task counts as lost
PRESENT = timedelta(seconds=10)  # how often a worker says that it lives
PRESENT_LOST = timedelta(seconds=35)
NEWS = "stackhog-news"  # a channel: something was stored of some task
EPOCH = "stackhog-epoch"  # gone when the broker was restarted empty: all it held is lost
ANSWER_SECONDS = 10  # a broker that is silent for longer counts as away
CONNECT_SECONDS = 5
KEEPALIVE = {  # a broker that was cut off is noticed within 25 seconds, also by who only waits
    socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3,
}  # fmt: skip
KVM = "kvm"  # the queue of stress jobs for workers on which KVM boots


class BadBrokerError(OursError):
    """The broker's URL or certificate cannot be used."""


class Presence(Record):
    """What a worker says of itself."""

    name: str  # host:pid, or as it was named
    host: str
    slots: int
    queues: tuple[str, ...]
    cores: int
    memory: int  # bytes
    disk_free: int  # bytes, of the cache's file system
    disk_used: int = 0  # bytes below the cache directory
    disk_budget: int = 0  # bytes; 0: none was set
    accelerator: str = ""  # "kvm" or "tcg"
    version: str = ""  # of stackhog
    compiler: str = ""  # first line of `gcc --version`
    draining: bool = False  # takes no new job


def beat_key(task: str) -> str:
    """Return the key that a running task keeps alive; its value names the worker."""
    return f"stackhog-beat-{task}"


def void_key(task: str) -> str:
    """Return the key that says that a task is no longer wanted."""
    return f"stackhog-void-{task}"


def presence_key(name: str) -> str:
    """Return the key under which a worker says that it lives."""
    return f"stackhog-worker-{name}"


def transport() -> dict[str, Any]:
    """Return kombu's options for Redis; both ends must have the same (docs/decisions/0023)."""
    return {
        "visibility_timeout": int(VISIBILITY.total_seconds()),
        "unacked_restore_limit": 100,
        "priority_steps": list(range(PRIORITIES)),
        "queue_order_strategy": "priority",
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
        "socket_keepalive_options": KEEPALIVE,  # the kernel's own are two hours
        "health_check_interval": 10,
    }


def options(url: str, ca: Path | None = None) -> dict[str, Any]:
    """Return the Celery settings that both ends share (docs/decisions/0023)."""
    secured = tls(url, ca)
    found: dict[str, Any] = {
        "task_serializer": "json", "result_serializer": "json", "accept_content": ["json"],
        "broker_transport_options": transport(), "broker_use_ssl": secured,
        "broker_connection_timeout": CONNECT_SECONDS, "redis_backend_use_ssl": secured,
        "redis_socket_timeout": ANSWER_SECONDS, "redis_socket_connect_timeout": CONNECT_SECONDS,
        "redis_backend_health_check_interval": 10, "result_expires": KEEP_RESULTS,
    }  # fmt: skip
    if not url.startswith("redis+socket:"):  # redis-py takes it for TCP alone
        found["redis_socket_keepalive"] = True
    return found


def tls(url: str, ca: Path | None) -> dict[str, Any] | None:
    """Return what Celery's broker_use_ssl and redis_backend_use_ssl are set to; None: no TLS.

    The server's certificate always has to verify. Raises BadBrokerError for a ``ca`` that cannot
    be read, or that no connection would use.
    """
    if not url.startswith("rediss://"):
        if ca is not None:
            raise BadBrokerError(
                "broker_ca is set, and the broker's URL is not encrypted: write it as rediss://"
            )
        return None
    found: dict[str, Any] = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    if ca is None:
        return found
    try:
        ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise BadBrokerError(f"broker_ca: {ca} holds no certificate that can be read") from error
    return {**found, "ssl_ca_certs": str(ca)}


def _split(url: str) -> tuple[str, str, str, str]:
    """Return scheme with its slashes, user, password as it is spelled, and the rest."""
    scheme, slashes, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    name, _, password = user.partition(":")
    return f"{scheme}{slashes}", name, password, f"{host}{slash}{path}"


def has_password(url: str) -> bool:
    """Whether a broker's URL holds a password."""
    return bool(_split(url)[2])


def with_password(url: str, password: str) -> str:
    """Return a broker's URL with a password in it: for connecting, never for showing.

    Raises BadBrokerError where there is one already.
    """
    scheme, name, given, rest = _split(url)
    if given:
        raise BadBrokerError("the broker has two passwords: take the one in broker_url out")
    return f"{scheme}{name}:{quote(password, safe='')}@{rest}"


def shown(url: str) -> str:
    """Return a broker's URL as it may be shown: without password and query, paths readable."""
    scheme, name, given, rest = _split(url)
    place = unquote(rest.partition("?")[0])
    return f"{scheme}{name}:***@{place}" if given else f"{scheme}{name and name + '@'}{place}"


def unreachable(url: str, error: BaseException) -> str:
    """Return the sentence that says why a broker cannot be used, and what to do."""
    where = shown(url)
    for one in _causes(error):
        kinds = {kind.__name__ for kind in type(one).__mro__}
        text = str(one)
        if isinstance(one, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in text:
            return f"the certificate of the broker at {where} does not verify: mend broker_ca"
        if kinds & {"AuthenticationError", "NoPermissionError"} or "NOAUTH" in text:
            return f"the broker at {where} refuses the password: mend broker_password_file"
        if "SSLError" in kinds or "SSL" in text:
            return (
                f"the broker at {where} does not speak TLS as it should: write redis:// or mend it"
            )
        if "OutOfMemoryError" in kinds:
            return f"the broker at {where} is full: give it more memory (maxmemory)"
    said = " ".join(str(error).split())[:200]
    return f"no broker answers at {where} ({said}): start it, or mend broker_url"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, the deepest first."""
    deeper = error.__cause__ or error.__context__
    if deeper is not None:
        yield from _causes(deeper)
    yield error
