"""`make bench page`: what a page takes at the server, out of a store of 100,000 series."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
from sqlalchemy import text

from bot.settings import Settings
from bot.store.database import Store
from bot.web.app import make_app
from bot.web.server import Server
from tests import crowd, stores

Say = Callable[[str, float, float, str], None]
MANY, LIMIT, RUNS = 100_000, 0.1, 9  # series, seconds, of which the median counts


def paths() -> dict[str, str]:
    """Return the pages, the costliest filters among them."""
    lead = crowd.lead(MANY - MANY % 36 - 36)
    return {
        "list": "/", "findings": "/?state=findings", "inconclusive": "/?state=inconclusive",
        "skipped": "/?state=skipped", "waiting": "/?state=waiting",
        "of a list": "/?list=linux-mm@lists.example.org",
        "path and list": "/?path=fs/ext4/inode.c&list=linux-mm@lists.example.org",
        "needs me": "/?maintainer=owner-ext4@example.org", "text of few": "/?text=dev399@",
        "text of none": "/?text=nosuchthing", "series": f"/series/{lead}",
        "stack": f"/stack/{lead}", "stress": f"/stress/{lead}", "trend": "/trend",
        "status": "/status", "feed": "/feed", "json": "/api/series",
    }  # fmt: skip


def run(say: Say, home: Path) -> None:
    """Measure on both databases."""
    with _sqlite(home) as store:
        _measure(say, "SQLite", store)
    with _postgresql() as store:
        _measure(say, "PostgreSQL", store)


def _measure(say: Say, name: str, store: Store) -> None:
    crowd.fill(store, MANY)
    with store.session() as session:
        session.execute(text("ANALYZE"))  # as autovacuum does after a while
    settings = Settings(web_rate=1_000_000)  # type: ignore[call-arg] # pydantic-settings fills the fields
    app = make_app(store, settings, lambda: crowd.NOW + timedelta(minutes=5))
    with Server(app, "127.0.0.1", 0) as server, httpx.Client(
        base_url=f"http://127.0.0.1:{server.port}", timeout=60
    ) as client:  # fmt: skip
        for page, path in paths().items():
            client.get(path).raise_for_status()
            times = [_timed(client, path) for _ in range(RUNS)]
            detail = f"{name}, {MANY:,} series, {path}"
            say(f"page {page}, seconds", statistics.median(times), LIMIT, detail)


def _timed(client: httpx.Client, path: str) -> float:
    began = time.monotonic()
    client.get(path).raise_for_status()
    return time.monotonic() - began


@contextmanager
def _sqlite(home: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{home}/pages.db")
    yield store
    store.close()


@contextmanager
def _postgresql() -> Iterator[Store]:
    with stores.server() as cluster:
        store = Store(cluster.empty())
        yield store
        store.close()
