"""What stands before every page: headers that keep scripts out, and bounds for each reader."""

from __future__ import annotations

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# what came by mail is escaped; should that fail, a browser still runs nothing of it
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
FREE = ("/healthz", "/readyz", "/metrics", "/static/")  # probes, and what a browser keeps
TOO_MANY = 429
QUESTIONS = RateLimitItemPerMinute(30)  # about kernels, of an address: each takes seconds
SIGN_INS = RateLimitItemPerMinute(10)  # of an address, right or wrong


class Guarded:
    """Adds the headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with the headers."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class Limited:
    """Lets an address ask so often in a minute, and no more."""

    def __init__(self, app: ASGIApp, a_minute: int) -> None:
        self._app, self._limit = app, RateLimitItemPerMinute(a_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say that it is too often."""
        if scope["type"] != "http" or str(scope["path"]).startswith(FREE):
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        who = client[0] if client else "unknown"
        signs_in = scope["method"] == "POST" and scope["path"] == "/signin"
        asks = scope["path"] == "/chains" and bool(scope["query_string"])
        may = not signs_in or await self._limiter.hit(SIGN_INS, "sign in", who)
        may = may and (not asks or await self._limiter.hit(QUESTIONS, "question", who))
        if may and await self._limiter.hit(self._limit, who):
            await self._app(scope, receive, send)
            return
        answer = PlainTextResponse(
            "too many requests from this address: wait a minute\n", TOO_MANY,
            headers={"Retry-After": "60"},
        )  # fmt: skip
        await answer(scope, receive, send)
