"""The bot's end of the queue: tasks go by name, requests and results are contract records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from celery.result import AsyncResult
from kombu.exceptions import OperationalError

from bot.contract import OursError, Progress, Queue, Record, wire

GRACE = 60  # seconds between the soft end of a job and the hard one
PROGRESS = "PROGRESS"  # workers/tasks.py sets this state
# both spellings of "the broker is not there": of the queue, and of the result store
BROKER_GONE = (
    OperationalError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    ConnectionError,
)


class JobLostError(OursError):
    """A job ended without a result: its worker died or it ran into the hard time limit."""


@dataclass(frozen=True)
class State:
    """What is known of a job: its progress, or its result."""

    progress: Progress | None = None
    result: dict[str, Any] | None = None


@contextmanager
def _no_runtime_error() -> Iterator[None]:
    """Celery's Redis backend gives up with a RuntimeError; it means that the broker is gone."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError("the broker does not answer") from error


class Client:
    """Sends jobs and looks after them."""

    def __init__(self, url: str, ca: Path | None = None) -> None:
        self._app = Celery("stackhog", broker=url, backend=url)
        self._app.conf.update(
            wire.options(url, ca),
            result_backend_transport_options={"retry_policy": {"timeout": 5.0, "max_retries": 2}},
        )

    def send(self, queue: Queue, request: Record, seconds: float) -> str:
        """Put a job on its queue with a hard time limit; return its id."""
        with _no_runtime_error():
            sent: AsyncResult[Any] = self._app.send_task(
                f"stackhog.{queue}", args=[request.model_dump(mode="json")], queue=queue.value,
                time_limit=seconds + GRACE, retry=False,
            )  # fmt: skip
        return str(sent.id)

    def look(self, job: str) -> State:
        """Return what is known of a job now.

        Raises JobLostError, and one of BROKER_GONE when there is no broker.
        """
        with _no_runtime_error():
            found = self._app.backend.get_task_meta(job)
        match found["status"]:
            case "SUCCESS":
                return State(result=found["result"])
            case "FAILURE" | "REVOKED":
                raise JobLostError(f"a job was lost ({found['result']!r}); see the worker's log")
            case _ if found["status"] == PROGRESS:
                return State(progress=Progress.model_validate(found["result"]))
        return State()

    def close(self) -> None:
        """Let go of all connections."""
        self._app.close()
