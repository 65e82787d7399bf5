"""What the verbs share: settings turned into what workers are handed."""

from __future__ import annotations

from bot.settings import Settings, load
from workers.config import WorkerConfig


def worker_config(settings: Settings | None = None) -> WorkerConfig:
    """Return the directories and limits of a worker on this machine."""
    found = settings or load()
    return WorkerConfig(found.data, found.cache, found.sandbox_uid, found.patch_bytes)
