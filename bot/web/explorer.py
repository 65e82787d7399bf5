"""The chains explorer: a kernel's functions, who calls whom, and the deepest way between two."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from pydantic import ValidationError

from bot.contract.explore import Explored, Question
from bot.errors import OursError
from bot.review.frozen import Frozen
from bot.service import reports
from bot.store import dossier
from bot.store.dossier import Ended
from bot.web.pages import Shop, chain_values

MOST = 40  # of the latest runs that are looked through for kernels
KEPT = 60.0  # seconds that the list of kernels is kept
Word = Annotated[str, Query(max_length=200)]


class Guide(Protocol):
    """Who answers questions about kernels."""

    def ask(self, question: Question) -> Explored:
        """Return the answers. Raises OursError."""
        ...


@dataclass(frozen=True)
class Built:
    """A kernel that can be asked about: the base of a run."""

    key: str  # artifact: its facts
    arch: str
    name: str


class Kernels:
    """The kernels of the latest runs, each once; may be asked by several threads."""

    def __init__(self, shop: Shop) -> None:
        self._shop, self._lock = shop, threading.Lock()
        self._found: tuple[Built, ...] = ()
        self._at: float | None = None
        self._known: dict[str, Built | None] = {}  # by run

    def there(self) -> tuple[Built, ...]:
        """Return them, the latest first. Raises StoreError."""
        with self._lock:
            if self._at is None or time.monotonic() - self._at > KEPT:
                self._found, self._at = tuple(self._look()), time.monotonic()
            return self._found

    def _look(self) -> list[Built]:
        with self._shop.store.reading() as session:
            runs = dossier.latest(session, MOST, frozenset(self._known))
        self._known |= {one.run: _built(one) for one in runs if one.report}
        self._known = {one.run: self._known.get(one.run) for one in runs}
        found = {one.key: one for one in reversed(list(self._known.values())) if one}
        return list(reversed(found.values()))


def _built(one: Ended) -> Built | None:
    try:
        report = reports.read(one.report or "")
        arch = Frozen.model_validate_json(one.plan).request.config.arch if one.plan else "x86_64"
    except ValidationError:
        return None
    key = report.build.kernel_facts
    name = f"{report.tree} {report.commit[:12]}, Linux {report.build.kernel_release}, {arch}"
    return Built(key, arch, name) if key else None


def router(shop: Shop, guide: Guide) -> APIRouter:
    """Serve the explorer."""
    found = APIRouter(include_in_schema=False)
    kernels = Kernels(shop)

    @found.get("/chains")
    def chains(
        kernel: Word = "", text: Word = "", around: Word = "", start: Word = "", end: Word = ""
    ) -> HTMLResponse:
        built = kernels.there()
        chosen = next((one for one in built if one.key == kernel), built[0] if built else None)
        answer, wrong = Explored(), ""
        asked = [one.strip().removesuffix("()") for one in (text, around, start, end)]
        if chosen and any(asked):
            question = Question(
                facts=chosen.key, arch=chosen.arch, text=asked[0], around=asked[1],
                start=asked[2], end=asked[3],
            )  # fmt: skip
            try:
                answer = guide.ask(question)
            except OursError as error:
                wrong = str(error)
        chain = answer.chain if answer.chain and answer.chain.after else None
        return shop.page(
            "chains.html", here="chains", kernels=built, chosen=chosen, text=asked[0],
            around=asked[1], start=asked[2], end=asked[3], answer=answer,
            wrong=wrong or answer.problem,
            one=chain_values(chain, of_budget=False) if chain else None,
        )  # fmt: skip

    return found
