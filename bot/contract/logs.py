"""Lines of the log, for the bot and the workers: what each concerns, and one format for all.

Mail ends up in messages. In text what could end a line, reorder it or move a terminal's cursor
is shown as an escape, and a traceback is indented, so that no mail can write a line of its own.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, TextIO

from pythonjsonlogger.json import JsonFormatter

Format = Literal["text", "json"]
FIELDS = ("series", "run", "task")
LONGEST = 998  # characters of a field: a Message-ID is no longer
CHATTY = ("alembic", "uvicorn")  # they tell at INFO what concerns nobody
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SPACE = re.compile(r"\s")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about")


@contextmanager
def about(
    series: str | None = None, run: int | str | None = None, task: str | None = None
) -> Iterator[None]:
    """Put on every line of this thread which series, run or task it concerns, until the end.

    What is None stays as it is outside.
    """
    given = {"series": series, "run": run, "task": task}
    more = {name: str(value) for name, value in given.items() if value is not None}
    token = _ABOUT.set({**_ABOUT.get({}), **more})
    try:
        yield
    finally:
        _ABOUT.reset(token)


class About(logging.Filter):
    """Adds ``series``, ``run`` and ``task`` to each record; "" where a line concerns none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all records pass."""
        known = _ABOUT.get({})
        for name in FIELDS:
            if not hasattr(record, name):  # `extra` of the call wins
                setattr(record, name, known.get(name, ""))
        return True


def configure(form: Format, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Write all logging of this process to ``stream`` (default: stderr), a line for each record."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_json() if form == "json" else Text())
    handler.addFilter(About())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


class Text(logging.Formatter):
    """``TIME LEVEL series=… run=… message``; a traceback follows, each line indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        parts = [self.formatTime(record), record.levelname]
        for name in FIELDS:
            value = _field(getattr(record, name, ""))
            if value or name != "task":
                parts.append(f"{name}={value or '-'}")
        lines = [f"{' '.join(parts)} {safe(record.getMessage())}"]
        lines += [f"  | {safe(line)}" for line in self._below(record)]
        return "\n".join(lines)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - the library's signature
        """Return the time of a record: UTC, in milliseconds."""
        return _time(record)

    def _below(self, record: logging.LogRecord) -> Iterator[str]:
        if record.exc_info:
            yield from self.formatException(record.exc_info).split("\n")
        if record.stack_info:
            yield from record.stack_info.split("\n")


class _Json(JsonFormatter):
    """The library's, with times like those in text."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - the library's signature
        return _time(record)


def _json() -> logging.Formatter:
    names = {
        "asctime": "time", "levelname": "level", "name": "logger", "threadName": "thread",
        "exc_info": "exception", "stack_info": "stack",
    }  # fmt: skip
    shown = ("asctime", "levelname", "name", "threadName", *FIELDS, "message")
    return _Json(list(shown), rename_fields=names, rename_fields_keep_missing=False)


def safe(text: str) -> str:
    """Return text on one line, with escapes instead of what is not to be printed."""
    return _UNSAFE.sub(_escaped, text)


def _field(value: object) -> str:
    return _SPACE.sub("_", safe(str(value)[:LONGEST]))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")  # noqa: PLR2004 - of two digits


def _time(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
