"""The pages: what came in, what runs, what was found and said. All of it is read, none written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from bot.contract import Chain, StressRun
from bot.review import chaintable
from bot.store import catalog, depths, dossier, labels
from bot.store import series as kept
from bot.store.catalog import Page, Standing
from bot.store.database import Store
from bot.store.labels import Kind
from bot.store.outbox import OPEN, Session
from bot.web import about, dots, files, health, icicle, listing, standing
from bot.web.about import About
from bot.web.listing import NAMES, BadQueryError, Query
from bot.web.templating import growth, render
from bot.web.visitor import NOBODY, Visitor, current

NOT_FOUND, BAD = 404, 400
SUGGESTED = 60.0  # seconds that suggestions are kept
LISTS = 100  # whose latest series is told
KNOWN = 300  # values that a field suggests
MINE = 20  # series with findings in a person's files
MOVES = (Standing.WAITING, Standing.QUEUED, Standing.RUNNING)
USUAL = "ext4"  # the branch whose trend is shown first
STACKS = 20  # of each side that are shown


@dataclass(frozen=True)
class Shop:
    """What pages are made of."""

    store: Store
    templates: Environment
    clock: Callable[[], datetime]
    has_files: bool = False  # whether what runs left can be read from here
    has_guide: bool = False  # whether kernels can be asked about
    suggested: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asked: list[float] = field(default_factory=list)  # when that was looked up, if it was

    def page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401 - what a template takes
        """Return a page."""
        visitor = current.get()
        kept = {"Cache-Control": "private, no-store"} if visitor.who else {}
        return HTMLResponse(self._made(template, visitor, values), status, kept)

    def part(self, template: str, **values: Any) -> str:  # noqa: ANN401 - the same
        """Return a part of one, the same for whoever reads it."""
        return self._made(template, NOBODY, values)

    def _made(self, template: str, visitor: Visitor, values: dict[str, Any]) -> str:
        return render(self.templates, template, now=self.clock(), names=NAMES, visitor=visitor, guided=self.has_guide, **values)  # noqa: E501 # fmt: skip

    def known(self, session: Session) -> dict[str, tuple[str, ...]]:
        """Return what the fields of a filter suggest; looked up once in a while."""
        if not self.asked or time.monotonic() - self.asked[-1] > SUGGESTED:
            self.asked[:] = [time.monotonic()]
            for kind in (Kind.LIST, Kind.MAINTAINER, Kind.FILESYSTEM):
                self.suggested[f"{kind}s"] = labels.known(session, kind, KNOWN)
        return self.suggested

    def missing(self, lead: str) -> HTMLResponse:
        """Say that there is no such series."""
        text = f"No series begins with the mail <{lead}>, as far as this bot has seen."
        return self.page("message.html", NOT_FOUND, here="series", title="No such series", text=text)  # noqa: E501 # fmt: skip


def router(shop: Shop) -> APIRouter:
    """Serve the pages."""
    found = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

    @found.get("/")
    def overview_page(request: Request) -> HTMLResponse:
        return _overview(shop, listing.query(request.query_params), request.query_params.get("after", ""))  # noqa: E501 # fmt: skip

    @found.get("/series/{lead:path}")
    def series_page(lead: str) -> HTMLResponse:
        return _series(shop, lead)

    @found.get("/stack/{lead:path}")
    def stack_page(lead: str) -> HTMLResponse:
        return _stack(shop, lead)

    @found.get("/stress/{lead:path}")
    def stress_page(lead: str) -> HTMLResponse:
        return _stress(shop, lead)

    @found.get("/trend")
    def trend_page(profile: str = "", name: str = "") -> HTMLResponse:
        return _trend(shop, profile, name)

    @found.get("/status")
    def status_page() -> HTMLResponse:
        with shop.store.reading() as session:
            lists = labels.latest(session, Kind.LIST, LISTS)
        return shop.page("status.html", here="status", lists=lists, **now_values(shop))

    @found.get("/about")
    def about_page() -> HTMLResponse:
        return shop.page("about.html", here="about")

    return found


def now_values(shop: Shop) -> dict[str, Any]:
    """Return what the panel of what goes on now shows."""
    found = standing.look(shop.store, shop.clock())
    waits = [one.oldest for one in found.figures.lines if one.oldest]
    runs = found.overview.runs
    return {
        "standing": found, "oldest": min(waits, default=None),
        "counts": {"queued": runs.get("waiting", 0), "running": runs.get("running", 0)},
        "reasons": health.reasons(found.living, found.at),
    }  # fmt: skip


def rows_of(shop: Shop, query: Query, after: str = "") -> Page:
    """Return the series of a list. Raises BadQueryError."""
    with shop.store.reading() as session:
        return catalog.page(session, listing.asked(query, after))


def rows_part(shop: Shop, query: Query) -> str:
    """Return the first part of a list. Raises BadQueryError."""
    page = rows_of(shop, query)
    return shop.part("_rows.html", cards=page.cards, next=_next(query, page))


def progress_part(shop: Shop, lead: str, *, pushed: bool) -> str:
    """Return how far a series has come."""
    with shop.store.reading() as session:
        card = catalog.card(session, lead)
        papers = dossier.read(session, lead, [lead]) if card else None
    return shop.part("_progress.html", card=card, papers=papers, pushed=pushed) if card else ""


def _next(query: Query, page: Page) -> str:
    return query.link(after=listing.mark(page.after)) if page.after else ""


def _overview(shop: Shop, query: Query, after: str) -> HTMLResponse:
    wrong = ""
    try:
        page = rows_of(shop, query, after)
    except BadQueryError as error:
        page, wrong = Page(()), str(error)
    with shop.store.reading() as session:
        asked = catalog.Asked(
            ((Kind.MAINTAINER, query.maintainer.lower()),), Standing.FINDINGS
        )  # fmt: skip
        mine = catalog.page(session, asked, MINE).cards if query.maintainer else ()
        known = shop.known(session)
    return shop.page(
        "overview.html", BAD if wrong else 200, here="series", query=query, cards=page.cards,
        next=_next(query, page), known=known, mine=mine, wrong=wrong, live=not after and not wrong,
        **now_values(shop),
    )  # fmt: skip


def _series(shop: Shop, lead: str) -> HTMLResponse:
    found = about.look(shop.store, lead)
    if found is None:
        return shop.missing(lead)
    with shop.store.reading() as session:
        row = kept.get(session, lead)
    return shop.page(
        "series.html", here="series", tab="series", about=found, card=found.card,
        papers=found.dossier, scope=row.reason if row else "", live=_moves(found), pushed=False,
        link=lambda **parts: Query(**parts).link(),
        files=files.left(found.report) if shop.has_files and found.report else (),
    )  # fmt: skip


def _moves(found: About) -> bool:
    """Whether what the page shows may still change by itself."""
    open_ = any(mail.letter.state in OPEN for mail, _ in found.mails)
    return open_ or found.card.standing in MOVES


def _stack(shop: Shop, lead: str) -> HTMLResponse:
    there = about.report(shop.store, lead)
    if there is None:
        return shop.missing(lead)
    card, report = there
    stack = report.stack if report else None
    chains = [chain_values(one) for one in stack.chains] if stack else []
    chains.sort(key=lambda one: (not one["change"], -one["deep"]))  # those that moved first
    return shop.page(
        "stack.html", here="series", tab="stack", card=card, chains=chains,
        frames=[one for one in stack.frames if one.before != one.after] if stack else (),
    )  # fmt: skip


def chain_values(chain: Chain, *, of_budget: bool = True) -> dict[str, Any]:
    """Return what is shown of a chain."""
    sides = [one.witness_bytes if one else None for one in (chain.before, chain.after)]
    return {
        "anchor": about.chain_anchor(chain), "profile": chain.profile, "branch": chain.name,
        "name": chaintable.clean(f"{chain.profile} {chain.name}".strip()),
        "headline": chaintable.headline(chain), "change": growth(*sides).replace("±0", ""),
        "deep": max(one or 0 for one in sides),
        "picture": icicle.draw(chain, of_budget=of_budget), "rows": icicle.rows(chain),
        "budget": chain.budget_bytes,
    }  # fmt: skip


def _stress(shop: Shop, lead: str) -> HTMLResponse:
    there = about.report(shop.store, lead)
    if there is None:
        return shop.missing(lead)
    card, report = there
    runs = report.stress.runs if report and report.stress else ()
    return shop.page(
        "stress.html", here="series", tab="stress", card=card, runs=[_run(one) for one in runs]
    )


def _run(run: StressRun) -> dict[str, Any]:
    writes = [one for boot in run.patched for one in boot.stacks if one.writes_pages]
    kswapd = sorted(
        {(one.depth, tuple(reversed(one.functions))) for one in writes
         if "kswapd" in one.functions}, reverse=True,
    )  # fmt: skip
    direct = [
        (one.count, tuple(reversed(one.stack)))
        for boot in run.patched for one in boot.direct_writes
    ]  # fmt: skip
    reached, others = dots.plots(run)
    return {
        "anchor": about.run_anchor(run), "run": run, "plots": reached, "others": others,
        "reports": [one for boot in run.patched for one in boot.reports],
        "kswapd": kswapd[:STACKS], "direct": direct[:STACKS],
    }  # fmt: skip


def _trend(shop: Shop, profile: str, name: str) -> HTMLResponse:
    with shop.store.reading() as session:
        there = depths.names(session)
        if not profile and there:
            profile, name = next((one for one in there if one[1] == USUAL), there[0])
        points = depths.trend(session, profile, name)
    return shop.page(
        "trend.html", here="trend", profile=profile, name=name, points=points,
        profiles=sorted({one for one, _ in there}), trend=dots.trend(points),
        branches=sorted({branch for _, branch in there if branch}),
    )  # fmt: skip
