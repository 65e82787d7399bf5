"""A store as one file: gzip, in it a JSON text on each line.

The first line says what it is; of each table follow a head, its rows and how many they were; the
last line has the checksum of all lines before it. Nothing in it depends on which database it
came from, and it is written and read a row at a time.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Column, DateTime, LargeBinary, Table

from bot.errors import TheirsError
from bot.store.kinds import fitting

NAME, FORMAT = "stackhog store", 1
LINE = 1 << 30  # bytes of a line; a longer one is none of ours
COMPRESSION = 6


class BackupError(TheirsError):
    """A backup cannot be read, or not be restored here."""


@dataclass(frozen=True)
class Head:
    """The first line: the schema it was made from, when, by which program."""

    revision: str
    made: str
    program: str
    name: str = NAME
    format: int = FORMAT


class Writer:
    """Writes lines, and counts and sums what it wrote."""

    def __init__(self, stream: gzip.GzipFile, head: Head) -> None:
        self._stream, self._sum, self.rows = stream, hashlib.sha256(), 0
        self._line(asdict(head))

    def table(self, table: Table, rows: Iterable[Iterable[Any]]) -> None:
        """Write a table."""
        columns = list(table.columns)
        self._line({"table": table.name, "columns": [one.name for one in columns]})
        before = self.rows
        for row in rows:
            self._line([_out(value, one) for value, one in zip(row, columns, strict=True)])
            self.rows += 1
        self._line({"rows": self.rows - before})

    def end(self) -> None:
        """Write the last line."""
        self._line({"sha256": self._sum.hexdigest(), "rows": self.rows})

    def _line(self, value: object) -> None:
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        self._sum.update(line)
        self._stream.write(line)


class Reader:
    """Reads what a Writer wrote; all methods raise BackupError for what is none of it."""

    def __init__(self, stream: gzip.GzipFile, path: Path) -> None:
        self._stream, self._path, self._sum, self.rows = stream, path, hashlib.sha256(), 0
        first = self._line()
        if not isinstance(first, dict) or first.get("name") != NAME:
            raise BackupError(f"{path} is no backup of a store")
        if first.get("format") != FORMAT:
            raise BackupError(f"{path} was made by a newer stackhog: restore it with that one")
        self.head = Head(
            str(first.get("revision")), str(first.get("made")), str(first.get("program"))
        )

    def tables(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the name and the columns of each table; read its rows before the next one."""
        while True:
            before = self._sum.hexdigest()
            line = self._line()
            if not isinstance(line, dict):
                raise self.damaged("a row is where none may be")
            if "sha256" in line:
                self._finish(line, before)
                return
            columns = line.get("columns")
            if not isinstance(columns, list):
                raise self.damaged("a table has no columns")
            yield str(line.get("table")), [str(one) for one in columns]

    def table(self, columns: list[Column[Any]]) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table, to be put into these columns."""
        count = 0
        while isinstance(line := self._line(), list):
            try:
                row = {one.name: _in(value, one) for one, value in zip(columns, line, strict=True)}
            except (ValueError, TypeError) as error:
                raise self.damaged("a value is none of its column") from error
            yield row
            count += 1
        self.rows += count
        if not isinstance(line, dict) or line.get("rows") != count:
            raise self.damaged("rows are missing")

    def _finish(self, line: dict[str, Any], found: str) -> None:
        if line["sha256"] != found or line.get("rows") != self.rows:
            raise self.damaged("its checksum does not match")
        if self._read(1):
            raise self.damaged("something follows its end")

    def _line(self) -> object:
        line = self._read()
        if not line.endswith(b"\n"):
            raise self.damaged("it ends too early")
        self._sum.update(line)
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self.damaged("a line of it is no JSON") from error

    def _read(self, most: int = LINE) -> bytes:
        try:
            return self._stream.readline(most)
        except (OSError, EOFError, zlib.error) as error:
            raise self.damaged(str(error)) from error

    def damaged(self, why: str) -> BackupError:
        """Return what to raise for a file that is not whole."""
        return BackupError(f"{self._path} is damaged ({why}): take another backup")


@contextmanager
def writing(path: Path, head: Head) -> Iterator[Writer]:
    """Yield what writes a backup; the file is there at the end, whole, or not at all."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(number, "wb") as raw:  # noqa: PTH123 - a descriptor; 0600: mail is in it
            with gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as packed:
                writer = Writer(packed, head)
                yield writer
                writer.end()
            raw.flush()
            os.fsync(raw.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Yield what reads a backup. Raises BackupError, OSError."""
    with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as packed:
        yield Reader(packed, path)


def _out(value: Any, column: Column[Any]) -> object:  # noqa: ANN401 - of any column
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(column.type, LargeBinary) and value is not None:
        return base64.b64encode(value).decode()
    return value


def _in(value: Any, column: Column[Any]) -> object:  # noqa: ANN401 - the same
    """Return a value as its column takes it. Raises ValueError, TypeError."""
    if value is None or isinstance(column.type, JSON):
        return value
    if isinstance(column.type, DateTime):
        return datetime.fromisoformat(value)
    if isinstance(column.type, LargeBinary):
        return base64.b64decode(value, validate=True)
    return fitting(value, column.type)
