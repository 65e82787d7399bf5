"""The Celery application of a worker; docs/decisions/0023 says why each setting is what it is."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

from celery import Celery, current_app, platforms
from celery.signals import worker_before_create_process, worker_process_init
from kombu.entity import Exchange
from kombu.entity import Queue as Route

from bot.contract import wire
from workers import results
from workers.abilities import ORDER
from workers.config import WorkerConfig
from workers.process import die_with_parent

RESULT_TRIES = 200  # with pauses of 5 s on average: a quarter of an hour


def make_app(
    broker_url: str, worker: WorkerConfig, ca: Path | None = None, name: str = ""
) -> Celery:
    """Return the application of a worker; tasks find ``worker`` as ``app.conf.worker``.

    Raises BadBrokerError for a certificate that cannot be used.
    """
    app = Celery(
        "stackhog", broker=broker_url, backend=results.url(broker_url), include=["workers.tasks"]
    )
    app.conf.update(
        wire.options(broker_url, ca),
        worker=worker,
        presence_name=name,
        main_process=os.getpid(),
        task_queues=[_route(queue) for queue in ORDER],
        task_default_queue=ORDER[-1],
        task_acks_late=True,  # a job survives its worker
        task_reject_on_worker_lost=True,  # …and is handed out again; tasks count their attempts
        task_track_started=True,
        worker_prefetch_multiplier=1,  # a slot that compiles holds no second job back
        worker_disable_prefetch=True,  # …nor after a connection was lost under a running job
        worker_cancel_long_running_tasks_on_connection_loss=False,  # a late answer is still one
        worker_enable_prefetch_count_reduction=False,
        worker_enable_remote_control=False,  # nobody uses it, and it costs a connection
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker outlives any absence of the broker
        broker_channel_error_retry=True,  # …and a broker without memory
        result_backend_always_retry=True,
        result_backend_max_retries=RESULT_TRIES,
        result_backend_base_sleep_between_retries_ms=100,
        result_backend_max_sleep_between_retries_ms=10_000,
        # the tries above are enough: without these two, each would be 20 tries of its own
        result_backend_transport_options={"retry_policy": {"max_retries": 1, "interval_max": 0}},
    )
    return app


def _route(name: str) -> Route:
    # without an exchange of its own a queue is bound to the default one and gets its jobs too
    return Route(name, Exchange(name), routing_key=name)  # type: ignore[no-untyped-call]


# Celery's own way to ask the kernel for it brings a parser of C into each slot, of 13 MB
platforms.set_pdeathsig = lambda _: die_with_parent()


@worker_before_create_process.connect  # type: ignore[untyped-decorator] # the same
def _share_what_is_there(**_: Any) -> None:  # noqa: ANN401 - the same
    gc.collect()
    gc.freeze()  # or a collection in a slot would copy it


@worker_process_init.connect  # type: ignore[untyped-decorator] # celery ships no types
def _slot_dies_with_worker(**_: Any) -> None:  # noqa: ANN401 - the signal's own signature
    # a killed worker must not leave a slot that goes on compiling
    die_with_parent()
    if os.getppid() != current_app.conf.main_process:  # it died before that was asked
        os._exit(1)
