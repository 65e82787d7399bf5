"""The application: each router is one thing that is served."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from bot.settings import Settings
from bot.store.database import Store, StoreError
from bot.web import health, metrics

Clock = Callable[[], datetime]
AWAY = 503  # service unavailable


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def make_app(store: Store, settings: Settings, clock: Clock = now) -> FastAPI:
    """Return the application; it reads the store, and never speaks to the queue."""
    app = FastAPI(title="stackhog", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.settings = settings
    app.include_router(probes(store, clock))
    app.include_router(measured(store, clock))
    return app


def probes(store: Store, clock: Clock) -> APIRouter:
    """Serve /healthz and /readyz."""
    router = APIRouter()

    @router.get("/healthz")
    def healthz() -> PlainTextResponse:
        """Say that this process answers."""
        return PlainTextResponse("ok\n")

    @router.get("/readyz")
    def readyz() -> JSONResponse:
        """Say whether the service can do its work now, or why not."""
        wrong = health.look(store, clock())
        status = AWAY if wrong else 200
        return JSONResponse({"ready": not wrong, "reasons": list(wrong)}, status)

    return router


def measured(store: Store, clock: Clock) -> APIRouter:
    """Serve /metrics."""
    router = APIRouter()
    registry = metrics.registry(store, clock)

    @router.get("/metrics")
    def scrape() -> Response:
        """Return all metrics as Prometheus reads them; 503 where the store cannot be read."""
        try:
            text = generate_latest(registry)
        except StoreError as error:
            health.LOG.warning("%s", error)
            return PlainTextResponse("the store cannot be used\n", AWAY)
        return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router
