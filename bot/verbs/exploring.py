"""A process beside the page that answers questions about kernels, so that pages never wait for it.

It is begun at the first question, keeps the last kernel, yields to everything else on the
machine, and ends when nobody has asked for a while, or when an answer takes too long.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import threading
from multiprocessing.pool import Pool
from typing import TYPE_CHECKING

from bot.contract.explore import Explored, Question
from bot.errors import OursError, StackhogError
from workers.artifacts import Artifacts
from workers.config import WorkerConfig

if TYPE_CHECKING:
    from workers.stack.explore import Explorer

PATIENCE = 30.0  # seconds for an answer, and for the one before it
IDLE = 300.0  # seconds without a question until it ends
MEMORY = 2 << 30  # bytes of address space; a kernel of 60,000 functions takes 400 MB
KEPT: dict[str, Explorer] = {}  # of the process itself: the last kernel


class Explorers:
    """Answers one question at a time; may be asked by several threads."""

    def __init__(self, worker: WorkerConfig) -> None:
        self._worker = worker
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._idle: threading.Timer | None = None

    def ask(self, question: Question) -> Explored:
        """Return the answers. Raises OursError."""
        if not self._lock.acquire(timeout=PATIENCE):
            raise OursError("others are asking about kernels now: try again in a minute")
        try:
            return self._ask(question)
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, question: Question) -> Explored:
        if self._pool is None:
            self._pool = multiprocessing.get_context("spawn").Pool(1, _humble)
        try:
            told = self._pool.apply_async(_answered, (self._worker, question)).get(PATIENCE)
        except multiprocessing.TimeoutError as error:
            self._end()
            raise OursError("this takes too long: ask for functions that are nearer") from error
        self._rest()
        if isinstance(told, str):
            raise OursError(told)
        return told

    def _rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = threading.Timer(IDLE, self.close)
        self._idle.daemon = True
        self._idle.start()

    def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()
        self._pool = self._idle = None


def _humble() -> None:
    os.nice(15)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _answered(worker: WorkerConfig, question: Question) -> Explored | str:
    """Return the answers, or why there are none."""
    from workers.stack import explore  # noqa: PLC0415 - the page itself does without it

    try:
        if question.facts not in KEPT:
            fetch = Artifacts(worker.artifacts, worker.remote).get
            KEPT.clear()
            KEPT[question.facts] = explore.opened(question, fetch)
        return KEPT[question.facts].answer(question)
    except (StackhogError, ValueError, MemoryError) as error:
        KEPT.clear()
        return str(error) or "this kernel is too large to be asked about"
