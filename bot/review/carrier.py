"""The service's end of the queue: many jobs at a time, and what is known of each.

What lies in the broker may be lost at any moment; whoever calls keeps the truth elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
from celery import Celery
from celery.backends.redis import RedisBackend
from celery.utils.time import get_exponential_backoff_interval
from kombu.exceptions import OperationalError
from pydantic import ValidationError

from bot.contract import OursError, Progress, Queue, wire
from bot.contract.wire import Presence
from bot.review.queue import GRACE, PROGRESS

SEPARATOR = "\x06\x16"  # between a queue's name and a priority: kombu/transport/redis.py
UNACKED, UNACKED_INDEX = "unacked", "unacked_index"  # the same
LONGEST_PAUSE = 8 * 3600  # seconds
PREFIX = "bot.review.carrier:Silent"
VOID_SECONDS = int(wire.VISIBILITY.total_seconds()) + 3600  # longer than Redis hands it out


class BrokerAwayError(OursError):
    """The broker does not answer, or takes nothing."""


@dataclass(frozen=True)
class Seen:
    """What the broker knows of a task: who works on it, how far it is, or how it ended."""

    worker: str = ""
    progress: Progress | None = None
    result: dict[str, Any] | None = None
    lost: str = ""  # ended without a result: why


def backoff(tries: int, first: float) -> timedelta:
    """Return the pause after so many tries that came to nothing: doubled, up to 8 hours."""
    seconds = get_exponential_backoff_interval(first, tries, LONGEST_PAUSE)
    return timedelta(seconds=seconds)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (OperationalError, redis.exceptions.RedisError, RuntimeError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise BrokerAwayError(f"the broker does not answer as it should: {said}") from error


class Silent(RedisBackend):  # type: ignore[misc] # celery ships no types
    """Celery's store of results, which subscribes to none: nobody would ever read what comes."""

    def on_task_call(self, producer: object, task_id: str) -> None:
        """Do nothing when a task is sent."""


class Carrier:
    """Sends tasks under names of their own, and looks after all of them at once."""

    def __init__(self, url: str, ca: Path | None = None) -> None:
        store = f"{PREFIX}+{url.removeprefix('redis+')}"
        self._app = Celery("stackhog", broker=url, backend=store)
        self._ear: Any = None  # redis-py's, of the one thread that listens
        self._app.conf.update(
            wire.options(url, ca),
            result_backend_transport_options={"retry_policy": {"timeout": 5.0, "max_retries": 1}},
        )

    def epoch(self) -> str:
        """Return the broker's mark, which is another one when it was restarted empty."""
        with _answering():
            self._redis.set(wire.EPOCH, uuid4().hex, nx=True)
            found = self._redis.get(wire.EPOCH)
        return bytes(found or b"").decode()

    def send(
        self, kind: Queue, queue: str, task: str, request: str, seconds: float, priority: int
    ) -> None:
        """Put a task on a queue with a hard time limit. Raises BrokerAwayError."""
        with _answering():
            self._app.send_task(
                f"stackhog.{kind}", args=[json.loads(request)], task_id=task, queue=queue,
                time_limit=seconds + GRACE, priority=priority, retry=False,
            )  # fmt: skip

    def look(self, tasks: Collection[str]) -> dict[str, Seen]:
        """Return what is known of some tasks. Raises BrokerAwayError."""
        names = sorted(tasks)
        if not names:
            return {}
        backend = self._app.backend
        with _answering():
            raws = self._redis.mget([backend.get_key_for_task(one) for one in names])
            metas = {n: backend.decode(raw) for n, raw in zip(names, raws, strict=True) if raw}
        return {name: _seen(meta) for name, meta in metas.items()}

    def beats(self, tasks: Collection[str]) -> dict[str, str]:
        """Return which of some tasks are worked on, and by whom. Raises BrokerAwayError."""
        names = sorted(tasks)
        if not names:
            return {}
        with _answering():
            found = self._redis.mget([wire.beat_key(one) for one in names])
        return {
            n: raw.decode().partition(" ")[0] for n, raw in zip(names, found, strict=True) if raw
        }

    def held(self) -> frozenset[str]:
        """Return the tasks that wait in a queue. Raises BrokerAwayError."""
        found = set()
        with _answering():
            for name in (*(queue.value for queue in Queue), wire.KVM):
                for priority in range(wire.PRIORITIES):
                    key = f"{name}{SEPARATOR}{priority}" if priority else name
                    found |= {_task(json.loads(raw)) for raw in self._redis.lrange(key, 0, -1)}
        return frozenset(found)

    def handed(self) -> dict[str, str]:
        """Return the tasks that were handed to a worker and not acknowledged, by what kombu
        calls them: their worker works on them, or is gone, or could not say that it is done.

        Raises BrokerAwayError.
        """
        with _answering():
            found = self._redis.hgetall(UNACKED)
        return {tag.decode(): _task(json.loads(raw)[0]) for tag, raw in found.items()}

    def drop(self, tags: Collection[str]) -> None:
        """Forget messages that were handed out, or Redis hands them out again in two days.

        An acknowledgement that comes later changes nothing. Raises BrokerAwayError.
        """
        if tags:
            with _answering(), self._redis.pipeline() as pipe:
                pipe.zrem(UNACKED_INDEX, *sorted(tags)).hdel(UNACKED, *sorted(tags)).execute()

    def void(self, tasks: Collection[str]) -> None:
        """Say that some tasks are no longer wanted. Raises BrokerAwayError."""
        with _answering():
            for task in sorted(tasks):
                self._redis.set(wire.void_key(task), 1, ex=VOID_SECONDS)

    def listen(self, seconds: float) -> bool:
        """Wait until something is stored of some task; False: nothing was, for so long.

        For one thread. Raises BrokerAwayError.
        """
        ear, self._ear = self._ear, None  # one that fails is not used again
        with _answering():
            if ear is None:
                ear = self._redis.pubsub(ignore_subscribe_messages=True)
                ear.subscribe(wire.NEWS)
            found = ear.get_message(timeout=seconds)
            while ear.get_message(timeout=0.0):
                pass
        self._ear = ear
        return found is not None

    def forget(self, tasks: Collection[str]) -> None:
        """Drop the results of some tasks. Raises BrokerAwayError."""
        keys = [self._app.backend.get_key_for_task(one) for one in sorted(tasks)]
        if keys:
            with _answering():
                self._redis.delete(*keys)

    def workers(self) -> tuple[Presence, ...]:
        """Return the workers that live, by name. Raises BrokerAwayError."""
        with _answering():
            keys = sorted(self._redis.scan_iter(f"{wire.presence_key('')}*"))
            raws = self._redis.mget(keys) if keys else []
        found = (_presence(raw) for raw in raws if raw)
        return tuple(one for one in found if one is not None)

    def close(self) -> None:
        """Let go of all connections."""
        self._app.close()

    @property
    def _redis(self) -> Any:  # noqa: ANN401 - celery ships no types
        return self._app.backend.client


def _seen(meta: Mapping[str, Any]) -> Seen:
    match meta["status"], meta["result"]:
        case "SUCCESS", dict() as found:
            return Seen(result=found)
        case "STARTED", dict() as found:
            # Celery puts a name of its own before the worker's; beats have the worker's alone
            return Seen(worker=str(found.get("hostname", "")).removeprefix("celery@"))
        case "FAILURE" | "REVOKED" | "SUCCESS", found:
            return Seen(lost=_why(found))
        case status, found if status == PROGRESS:
            return Seen(progress=Progress.model_validate(found))
    return Seen()


def _why(found: object) -> str:
    if isinstance(found, dict):
        return f"{found.get('exc_type')}: {found.get('exc_message')}"[:200]
    return str(found)[:200]


def _task(message: Mapping[str, Any]) -> str:
    return str(message.get("headers", {}).get("id", ""))


def _presence(raw: bytes) -> Presence | None:
    try:
        return Presence.model_validate_json(raw)
    except ValidationError:  # of a worker of another version
        return None
