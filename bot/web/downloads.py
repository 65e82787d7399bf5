"""Serves the files that runs left, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, Response

from bot.errors import OursError
from bot.web import about, files
from bot.web.pages import Shop

NOT_FOUND, GONE = 404, 410


class Shelf(Protocol):
    """Where artifacts are."""

    def fetched(self, key: str) -> Path:
        """Return a file that holds an artifact; it may have to be fetched. Raises OursError."""
        ...


def router(shop: Shop, shelf: Shelf) -> APIRouter:
    """Serve the files of runs, and no others."""
    found = APIRouter(include_in_schema=False)

    @found.get("/file/{name}")
    def file(name: str, series: str) -> Response:
        there = about.report(shop.store, series)
        known = files.left(there[1]) if there and there[1] else ()
        one = next((one for one in known if one.name == name), None)
        if one is None:
            raise HTTPException(NOT_FOUND, "the run of this series left no such file")
        try:
            path = shelf.fetched(one.key)
        except OursError as error:
            raise HTTPException(GONE, "this file is not kept any more") from error
        kind = "text/plain; charset=utf-8" if name.endswith(".txt") else "application/octet-stream"
        return FileResponse(path, media_type=kind, filename=name)

    return found
