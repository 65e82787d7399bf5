"""Who signed in: by a token of a file, or at an OpenID Connect provider; everyone else reads.

The browser keeps a signed cookie and nothing else is kept of a visit. Each form that changes
something carries the word that the cookie holds, so that no other site can send it.
"""

from __future__ import annotations

import contextvars
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.errors import OursError, TheirsError
from bot.service import acting
from bot.settings import Settings, secret
from bot.store.wishes import Asked
from bot.web.pages import Shop
from bot.web.templating import segment
from bot.web.visitor import Visitor, current

HOURS = 12  # that a visit lasts
DENIED, UNKNOWN, SEE_OTHER, AWAY = 403, 401, 303, 502
VERBS = ("test", "cancel", "mute", "unmute")
Text = Annotated[str, Form(max_length=1000)]
Step = Callable[[Request], Awaitable[Any]]


@dataclass(frozen=True)
class Door:
    """How people may sign in."""

    tokens: tuple[tuple[str, str], ...]  # address, SHA-256 of its token in hexadecimal
    people: tuple[str, ...]  # patterns of addresses that a provider may vouch for
    provider: Any  # authlib's client, or None

    @property
    def is_open(self) -> bool:
        """Whether there is any way."""
        return bool(self.tokens) or self.provider is not None

    def by_token(self, token: str) -> str | None:
        """Return whose token it is; each is compared, so that time tells nothing."""
        given = hashlib.sha256(token.strip().encode()).hexdigest()
        found = [who for who, digest in self.tokens if hmac.compare_digest(digest, given)]
        return found[0] if found else None

    def admits(self, address: str) -> bool:
        """Whether an address that a provider vouches for may act."""
        return any(fnmatchcase(address.lower(), one.lower()) for one in self.people)


def door(settings: Settings) -> Door:
    """Return how people may sign in. Raises BadSettingError, OursError."""
    provider = None
    if settings.web_oidc_issuer:
        # it brings 20 MB, only where it is used
        from authlib.integrations.starlette_client import OAuth  # noqa: PLC0415

        word = secret("web_oidc_secret", settings.web_oidc_secret_file, settings.web_oidc_secret)
        provider = OAuth().register(
            "provider", client_id=settings.web_oidc_client, client_secret=word,
            server_metadata_url=f"{settings.web_oidc_issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={"scope": "openid email", "code_challenge_method": "S256"},
        )  # fmt: skip
    return Door(_tokens(settings.web_tokens_file), settings.web_people, provider)


def _tokens(path: Path | None) -> tuple[tuple[str, str], ...]:
    if path is None:
        return ()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OursError(f"web_tokens_file: {path} cannot be read: let this user read it") from error
    found = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or len(words[1]) != 64:  # noqa: PLR2004 - digits of a SHA-256
            raise OursError(
                f"web_tokens_file: line {number} of {path} is no address and SHA-256: write "
                "`printf %s TOKEN | sha256sum`"
            )
        found.append((words[0], words[1].lower()))
    return tuple(found)


def key(settings: Settings) -> str:
    """Return what cookies are signed with; of this process alone where none is set."""
    if settings.web_secret_file is None and settings.web_secret is None:
        return secrets.token_hex(32)
    return secret("web_secret", settings.web_secret_file, settings.web_secret)


class Visiting:
    """Tells the pages who visits, by the session of the request."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        held = scope.get("session") or {}
        found = Visitor(str(held.get("who", "")), str(held.get("word", "")), self._door.is_open)
        token: contextvars.Token[Visitor] = current.set(found)
        try:
            await self._app(scope, receive, send)
        finally:
            current.reset(token)


def router(shop: Shop, door: Door) -> APIRouter:
    """Serve the sign-in and what those who signed in may do."""
    found = APIRouter(include_in_schema=False)

    @found.get("/signin")
    def form() -> HTMLResponse:
        return shop.page(
            "signin.html", here="", wrong="", tokens=bool(door.tokens),
            provider=door.provider is not None,
        )  # fmt: skip

    @found.post("/signin")
    def by_token(request: Request, token: Text) -> Response:
        who = door.by_token(token)
        if who is None:
            return shop.page(
                "signin.html", UNKNOWN, here="", wrong="This token is nobody's", tokens=True,
                provider=door.provider is not None,
            )  # fmt: skip
        return _entered(request, who)

    @found.post("/signout")
    def out(request: Request, word: Text = "") -> Response:
        _meant(word)
        request.session.clear()
        return RedirectResponse("/", SEE_OTHER)

    if door.provider is not None:
        _provided(found, door)
    _acts(found, shop)
    return found


def _provided(found: APIRouter, door: Door) -> None:
    from authlib.integrations.base_client import OAuthError  # noqa: PLC0415 - the same

    @found.get("/signin/provider")
    async def leave(request: Request) -> Response:
        back = str(request.url_for("come_back"))
        try:
            away: Response = await door.provider.authorize_redirect(request, back)
        except Exception as error:
            raise HTTPException(AWAY, "the provider cannot be reached: try again") from error
        return away

    @found.get("/signin/done", name="come_back")
    async def come_back(request: Request) -> Response:
        try:
            told = await door.provider.authorize_access_token(request)
        except OAuthError as error:
            raise HTTPException(DENIED, "the provider did not let you in: sign in again") from error
        person = told.get("userinfo") or {}
        address = str(person.get("email", ""))
        if person.get("email_verified") is not True or not door.admits(address):
            raise HTTPException(DENIED, f"{address or 'this account'} is not among web_people")
        return _entered(request, address)


def _entered(request: Request, who: str) -> Response:
    request.session.clear()
    request.session.update(who=who, word=secrets.token_urlsafe(24))
    return RedirectResponse("/", SEE_OTHER)


def _acts(found: APIRouter, shop: Shop) -> None:
    @found.post("/act/{verb}")
    def act(
        verb: str, series: Text, word: Text = "", finding: Text = "", reason: Text = ""
    ) -> Response:
        who = _meant(word)
        if verb not in VERBS:
            raise HTTPException(404, "nothing of that name can be done")
        args = {"test": {"fresh": True}, "cancel": {}}.get(
            verb, {"finding": finding, "reason": " ".join(reason.split())}
        )
        asked = Asked(
            f"{uuid.uuid4()}@{acting.PAGE}", 1, who, verb, args, series, allowed=True,
            reason="signed in to the page",
        )  # fmt: skip
        outcome = acting.ask(shop.store, asked, shop.clock())
        if outcome.startswith("not done"):
            raise HTTPException(400, outcome)
        return RedirectResponse(f"/series/{segment(series)}", SEE_OTHER)

    @found.post("/mail/{verb}")
    def mail(verb: str, letter: Annotated[int, Form(ge=1)], series: Text, word: Text = "") -> Response:  # noqa: E501 # fmt: skip
        who = _meant(word)
        if verb not in {"approve", "drop"}:
            raise HTTPException(404, "nothing of that name can be done")
        try:
            acting.post(shop.store, letter, verb, who, shop.clock())
        except TheirsError as error:
            raise HTTPException(400, str(error)) from error
        return RedirectResponse(f"/series/{segment(series)}", SEE_OTHER)


def _meant(word: str) -> str:
    """Return who sends a form of ours. Raises HTTPException."""
    visitor = current.get()
    if not visitor.who:
        raise HTTPException(UNKNOWN, "sign in first")
    if not hmac.compare_digest(visitor.word, word):
        raise HTTPException(DENIED, "this form is not of your visit: load the page again")
    return visitor.who
