"""The Celery application: queues, and why each of its settings is what it is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery import Celery
from celery.signals import worker_process_init
from kombu.entity import Exchange
from kombu.entity import Queue as Route

from bot.contract import Queue
from workers.config import WorkerConfig
from workers.process import die_with_parent

# above the longest hard time limit, or Redis hands a job out twice while it still runs
VISIBILITY = timedelta(hours=48)
KEEP_RESULTS = timedelta(hours=24)


def make_app(broker_url: str, worker: WorkerConfig) -> Celery:
    """Return the application of a worker; tasks find ``worker`` as ``app.conf.worker``."""
    transport = {
        "visibility_timeout": int(VISIBILITY.total_seconds()),
        "unacked_restore_limit": 100,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }
    app = Celery("stackhog", broker=broker_url, backend=broker_url, include=["workers.tasks"])
    app.conf.update(
        worker=worker,
        task_queues=[_route(queue.value) for queue in Queue],
        task_default_queue=Queue.BUILD.value,
        task_serializer="json",
        accept_content=["json"],
        result_serializer="json",
        result_expires=KEEP_RESULTS,
        task_acks_late=True,  # a job survives its worker
        task_reject_on_worker_lost=True,  # …and is handed out again; tasks count their attempts
        task_track_started=True,
        worker_prefetch_multiplier=1,  # a slot that compiles holds no second job back
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options=transport,
        result_backend_transport_options=transport,
        redis_backend_health_check_interval=10,
    )
    return app


def _route(name: str) -> Route:
    # without an exchange of its own a queue is bound to the default one and gets its jobs too
    return Route(name, Exchange(name), routing_key=name)  # type: ignore[no-untyped-call]


@worker_process_init.connect  # type: ignore[untyped-decorator] # celery ships no types
def _slot_dies_with_worker(**_: Any) -> None:  # noqa: ANN401 - the signal's own signature
    # a killed worker must not leave a slot that goes on compiling
    die_with_parent()
