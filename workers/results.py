"""Where a worker puts results: Celery's Redis backend, a little more patient and a little less.

A result took minutes to hours of work, and is tried again for as long as a broker may reasonably
be away or full. How far a job is, is not worth a second of waiting: the job goes on. Whoever
listens hears that there is something new, so that nobody has to ask all the time.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.backends.redis import RedisBackend
from celery.exceptions import BackendStoreError
from celery.states import READY_STATES
from redis.exceptions import OutOfMemoryError

from bot.contract import wire

LOG = logging.getLogger(__name__)
PREFIX = "workers.results:Results"


def url(broker: str) -> str:
    """Return the broker's URL as that of this result store."""
    return f"{PREFIX}+{broker.removeprefix('redis+')}"


class Results(RedisBackend):  # type: ignore[misc] # celery ships no types
    """Retries what ends a job; forgets what does not."""

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether another try may succeed: also when the broker had no memory left."""
        return isinstance(exc, OutOfMemoryError) or bool(super().exception_safe_to_retry(exc))

    def store_result(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - celery's signature
        """Store a result, or how far a job is; only the former waits for a broker that is away."""
        if state in READY_STATES:
            return super().store_result(task_id, result, state, *args, **kwargs)
        try:
            return self._once(task_id, result, state, *args, **kwargs)
        except (*self.connection_errors, BackendStoreError, OutOfMemoryError) as error:
            LOG.info("task %s: its progress is not told: %s", task_id, error)
            return result

    def _once(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the same
        encoded = self.encode_result(result, state)
        self._store_result(task_id, encoded, state, *args, **kwargs)
        return encoded

    def _set(self, key: str, value: object, expires: int | None = None) -> None:
        """Store a value that runs out; Celery itself would send all of it to whoever listens."""
        with self.client.pipeline() as pipe:
            pipe.set(key, value, ex=expires or self.expires)
            pipe.publish(wire.NEWS, "")
            pipe.execute()


def brief(record: logging.LogRecord) -> bool:
    """Leave the traceback out of Celery's word on each try; for logging.Logger.addFilter."""
    if record.exc_info and record.levelno <= logging.WARNING:
        record.msg, record.args = f"{record.getMessage()} ({record.exc_info[1]})", ()
        record.exc_info = None
    return True
