"""The application: each router is one thing that is served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException as NoPageError
from starlette.middleware.sessions import SessionMiddleware

from bot.settings import Settings
from bot.store.database import Store, StoreError
from bot.web import api, downloads, explorer, guard, health, listing, metrics, pages, signin
from bot.web.downloads import Shelf
from bot.web.explorer import Guide
from bot.web.listing import BadQueryError
from bot.web.live import FullError, Hub
from bot.web.pages import Shop
from bot.web.templating import environment

Clock = Callable[[], datetime]
HERE = Path(__file__).parent
PING = 15  # seconds after which a silent stream says that it lives
AWAY = 503  # service unavailable


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def make_app(
    store: Store, settings: Settings, clock: Clock = now, shelf: Shelf | None = None,
    guide: Guide | None = None,
) -> FastAPI:  # fmt: skip
    """Return the application; it reads the store, and never speaks to the queue.

    ``shelf`` is where the files are that runs left, ``guide`` who answers about kernels; what
    there is none of is not offered.
    """
    app = FastAPI(
        title="stackhog", version=version("stackhog"), docs_url=None, redoc_url=None,
        openapi_url="/api/openapi.json",
    )  # fmt: skip
    app.state.settings = settings
    shop = Shop(store, environment(settings.lore_url), clock, shelf is not None, guide is not None)
    app.include_router(probes(store, clock))
    app.include_router(measured(store, clock))
    app.include_router(api.json_router(shop))
    app.include_router(api.plain_router(shop))
    app.include_router(lively(shop))
    app.include_router(pages.router(shop))
    if shelf is not None:
        app.include_router(downloads.router(shop, shelf))
    if guide is not None:
        app.include_router(explorer.router(shop, guide))
    way = signin.door(settings)
    app.include_router(signin.router(shop, way))
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.add_exception_handler(StoreError, _away(shop))
    app.add_exception_handler(NoPageError, _no_page(shop))
    app.add_middleware(signin.Visiting, door=way)
    app.add_middleware(
        SessionMiddleware, secret_key=signin.key(settings), session_cookie="stackhog",
        max_age=signin.HOURS * 3600, same_site="lax", https_only=settings.web_https,
    )  # fmt: skip
    app.add_middleware(guard.Limited, a_minute=settings.web_rate)
    app.add_middleware(guard.Guarded)
    return app


def lively(shop: Shop) -> APIRouter:
    """Serve what moves: parts of pages, as server-sent events."""
    router = APIRouter(prefix="/live", include_in_schema=False)
    hub = Hub()

    def told(name: str, make: Callable[[], str]) -> EventSourceResponse:
        if hub.is_full:
            raise HTTPException(AWAY, "too many read live: reload the page now and then")
        return EventSourceResponse(_events(hub, name, make), ping=PING, sep="\n")

    @router.get("/now")
    async def now_part() -> EventSourceResponse:
        return told("now", lambda: shop.part("_now.html", **pages.now_values(shop)))

    @router.get("/rows")
    async def rows(request: Request) -> EventSourceResponse:
        query = listing.query(request.query_params)
        try:
            listing.asked(query)
        except BadQueryError as error:
            raise HTTPException(api.BAD, str(error)) from error
        return told(f"rows {query.link()}", lambda: pages.rows_part(shop, query))

    @router.get("/series/{lead:path}")
    async def series(lead: str) -> EventSourceResponse:
        return told(f"series {lead}", lambda: pages.progress_part(shop, lead, pushed=True))

    return router


async def _events(
    hub: Hub, name: str, make: Callable[[], str]
) -> AsyncIterator[Mapping[str, str]]:  # fmt: skip
    with suppress(FullError):
        async for text in hub.read(name, make):
            yield {"event": "part", "data": text}


def _away(shop: Shop) -> Callable[[Request, Any], Response]:
    """Say that the store cannot be read, to people in a page and to programs in JSON."""

    def answer(request: Request, error: StoreError) -> Response:
        health.LOG.warning("%s", error)  # who asks need not know where it is
        return _said(shop, request, AWAY, "The store cannot be used now", "Try again in a minute.")

    return answer


def _no_page(shop: Shop) -> Callable[[Request, Any], Response]:
    def answer(request: Request, error: NoPageError) -> Response:
        title = "No such page" if error.status_code == api.NOT_FOUND else "This cannot be answered"
        return _said(shop, request, error.status_code, title, str(error.detail))

    return answer


def _said(shop: Shop, request: Request, status: int, title: str, text: str) -> Response:
    if request.url.path.startswith(("/api/", "/live/")):
        return JSONResponse({"detail": text}, status)
    return shop.page("message.html", status, here="", title=title, text=text)


def probes(store: Store, clock: Clock) -> APIRouter:
    """Serve /healthz and /readyz."""
    router = APIRouter(include_in_schema=False)

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
    router = APIRouter(include_in_schema=False)
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
