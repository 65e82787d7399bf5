"""What programs read: JSON with OpenAPI, Atom feeds, badges."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from bot.service.reports import Report
from bot.store import catalog, depths
from bot.store.catalog import Card, Standing
from bot.store.labels import LENGTH
from bot.web import about, listing
from bot.web.listing import NAMES, BadQueryError
from bot.web.pages import Shop, rows_of

NOT_FOUND, BAD = 404, 400
COLOURS = {
    Standing.PASSED: "#1d6b3a", Standing.FINDINGS: "#a32020", Standing.INCONCLUSIVE: "#855000",
    Standing.BROKEN: "#855000",
}  # fmt: skip
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # of a feed without entries
LETTER = 7  # pixels of a letter of a badge, about
Words = Annotated[str, Field(max_length=LENGTH)]
WRONG: dict[int | str, dict[str, Any]] = {
    BAD: {"description": "A part of the query that cannot be read"}
}
NONE: dict[int | str, dict[str, Any]] = {NOT_FOUND: {"description": "No series of that Message-ID"}}


class Filter(BaseModel):
    """What is looked for; whatever is empty holds for all."""

    list: Words = ""
    maintainer: Words = ""
    path: Words = ""
    filesystem: Words = ""
    state: Standing | Literal[""] = ""
    text: Words = ""
    after: Words = ""  # `next` of the part before


class SeriesCard(BaseModel):
    """One series in a list; times are ISO 8601 with their zone."""

    id: str
    title: str
    version: int
    patches: int
    submitter: str
    date: datetime
    state: Standing
    reason: str
    findings: int
    step: str


class SeriesPage(BaseModel):
    """A part of a list; `next` is what `after` of the next part is, none at the end."""

    series: list[SeriesCard]
    next: str | None


class FindingTold(BaseModel):
    """A finding; `before` and `after` are bytes."""

    kind: str
    severity: str
    patch: int
    file: str
    line: int | None
    function: str | None
    before: int | None
    after: int | None
    text: list[str]
    reproduce: str


class ChainMeasured(BaseModel):
    """The deepest stack through the waypoints of a profile, in bytes; null: not reached."""

    profile: str
    name: str
    before: int | None
    after: int | None
    budget: int


class SeriesDetail(SeriesCard):
    """One series, and what its last run came to."""

    base: str | None
    tree: str | None
    found: list[FindingTold]
    chains: list[ChainMeasured]


class Measured(BaseModel):
    """A chain in the kernels of one run, in bytes."""

    series: str
    at: datetime
    tree: str
    release: str
    before: int | None
    after: int | None
    budget: int


def json_router(shop: Shop) -> APIRouter:
    """Serve /api."""
    found = APIRouter(prefix="/api", tags=["series"])

    @found.get("/series", responses=WRONG)
    def series(given: Annotated[Filter, Query()]) -> SeriesPage:
        """Return series, the latest first."""
        try:
            page = rows_of(shop, listing.query(given.model_dump()), given.after)
        except BadQueryError as error:
            raise HTTPException(BAD, str(error)) from error
        following = listing.mark(page.after) if page.after else None
        return SeriesPage(series=[_card(one) for one in page.cards], next=following)

    @found.get("/series/{lead:path}", responses=NONE)
    def one_series(lead: str) -> SeriesDetail:
        """Return one series, by the Message-ID of its first mail."""
        there = about.report(shop.store, lead)
        if there is None:
            raise HTTPException(NOT_FOUND, "there is no such series")
        return _detail(*there)

    @found.get("/trend")
    def trend(profile: Words, name: Words = "") -> list[Measured]:
        """Return how deep a chain was on the bases of the latest runs, the oldest first."""
        with shop.store.reading() as session:
            points = depths.trend(session, profile, name)
        return [
            Measured(**{key: value for key, value in vars(one).items()
                        if key in Measured.model_fields})
            for one in points
        ]  # fmt: skip

    return found


def plain_router(shop: Shop) -> APIRouter:
    """Serve feeds and badges."""
    found = APIRouter(include_in_schema=False)

    @found.get("/feed")
    def feed(request: Request) -> Response:
        query = listing.query(request.query_params)
        try:
            page = rows_of(shop, query)
        except BadQueryError as error:
            raise HTTPException(BAD, str(error)) from error
        text = _feed(page.cards, query, str(request.base_url).rstrip("/"))
        return Response(text, media_type="application/atom+xml")

    @found.get("/badge/{lead:path}.svg")
    def badge(lead: str) -> Response:
        with shop.store.reading() as session:
            card = catalog.card(session, lead)
        text = NAMES[card.standing] if card else "unknown"
        svg = shop.part(
            "badge.svg", text=text, width=76 + LETTER * len(text),
            colour=COLOURS.get(card.standing, "#57606a") if card else "#57606a",
        )  # fmt: skip
        return Response(svg, media_type="image/svg+xml", headers={"Cache-Control": "max-age=60"})

    return found


def _card(card: Card) -> SeriesCard:
    return SeriesCard(**_fields(card))


def _fields(card: Card) -> dict[str, Any]:
    return {
        "id": card.lead, "title": card.title, "version": card.version, "patches": card.total,
        "submitter": card.submitter, "date": card.date, "state": card.standing,
        "reason": card.reason, "findings": card.found, "step": card.step,
    }  # fmt: skip


def _detail(card: Card, report: Report | None) -> SeriesDetail:
    chains = report.stack.chains if report and report.stack else ()
    return SeriesDetail(
        **_fields(card), base=report.commit if report else None,
        tree=report.tree if report else None,
        found=[
            FindingTold(**one.model_dump(include=set(FindingTold.model_fields)))
            for one in (report.findings if report else ())
        ],
        chains=[
            ChainMeasured(
                profile=one.profile, name=one.name, budget=one.budget_bytes,
                before=one.before.witness_bytes if one.before else None,
                after=one.after.witness_bytes if one.after else None,
            )
            for one in chains
        ],
    )  # fmt: skip


def _feed(cards: tuple[Card, ...], query: listing.Query, base: str) -> bytes:
    from feedgen.feed import FeedGenerator  # noqa: PLC0415 - lxml is large, and feeds are few

    feed = FeedGenerator()
    feed.id(f"{base}/feed{query.link()}")
    feed.title(_xml(f"stackhog: {query.said}"))
    feed.link(href=f"{base}/feed{query.link()}", rel="self")
    feed.link(href=f"{base}/{query.link()}", rel="alternate")
    feed.updated(max((one.changed or one.date for one in cards), default=EPOCH))
    for card in cards:
        entry = feed.add_entry(order="append")
        entry.id(f"{base}/series/{quote(card.lead, safe='@')}")
        entry.title(_xml(f"[{NAMES[card.standing]}] {card.title}"))
        entry.link(href=f"{base}/series/{quote(card.lead, safe='@')}")
        entry.author(name=_xml(card.submitter) or "unknown")
        entry.updated(card.changed or card.date)
        entry.summary(_xml(card.step or card.reason or NAMES[card.standing]))
    text: bytes = feed.atom_str(pretty=True)
    return text


def _xml(text: str) -> str:
    """Return text without what XML 1.0 (2.2, Characters) has no way to write."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
