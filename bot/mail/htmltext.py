"""HTML mail as plain text, quotes marked with ">" as plain mail has them.

Comments, declarations and attributes are taken away before html.parser sees the rest: it
needs quadratic time for those that never end, and raises on some.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

LIMIT = 512 * 1024  # characters that are looked at
_OPEN = re.compile(r"<(?=[^<>]*(?:<|\Z))")  # of no tag: there is another "<" before any ">"
_DECLARATION = re.compile(r"<[!?][^<>]*>")
# a value in quotes may hold ">"; where the quotes do not match, the first ">" ends the tag
_ATTRIBUTES = re.compile(
    r"<(/?[A-Za-z][^\s/<>\"']*)(?:(?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*>|[^<>]*>)"
)
_BLANK = re.compile(r"[ \t\r\n\f]+")  # what HTML collapses; a non-breaking space stays
_DROPPED = frozenset({"script", "style", "head", "title", "template", "noscript", "textarea"})
_BLOCK_NAMES = (
    "address article aside blockquote body br center dd div dl dt fieldset footer form h1 h2 h3 "
    "h4 h5 h6 header hr html li main nav ol p pre section table tbody td tfoot th thead tr ul"
)
_BLOCKS = frozenset(_BLOCK_NAMES.split())


def text(html: str) -> str:
    """Return what a reader sees, a line for each line; quoted lines begin with "> "."""
    closed = _OPEN.sub("&lt;", _without_comments(html[:LIMIT]))
    reader = _Reader()
    reader.feed(_ATTRIBUTES.sub(r"<\1>", _DECLARATION.sub("", closed)))
    reader.close()
    return reader.text()


def _without_comments(html: str) -> str:
    before, *rest = html.split("<!--")
    return before + "".join(part.partition("-->")[2] for part in rest)


class _Reader(HTMLParser):
    """Collects lines; a block element begins and ends one."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[tuple[bool, str]] = []  # quoted or not
        self._line: list[str] = []
        self._dropped = self._quoted = self._kept = 0  # how deep in script, blockquote, pre

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - html.parser's signature
        if tag in _BLOCKS:
            self._end_line(also_empty=tag == "br")
        self._count(tag, 1)

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._end_line()
        self._count(tag, -1)

    def handle_data(self, data: str) -> None:
        if self._dropped:
            return
        if not self._kept:
            self._line.append(_BLANK.sub(" ", data))
            return
        first, *rest = data.replace("\r\n", "\n").split("\n")
        self._line.append(first)
        for one in rest:
            self._end_line(also_empty=True)
            self._line.append(one)

    def text(self) -> str:
        """Return the lines so far."""
        self._end_line()
        return "".join(f"> {line}\n" if quoted else f"{line}\n" for quoted, line in self._lines)

    def _count(self, tag: str, step: int) -> None:
        if tag in _DROPPED:
            self._dropped = max(0, self._dropped + step)
        elif tag == "blockquote":
            self._quoted = max(0, self._quoted + step)
        elif tag == "pre":
            self._kept = max(0, self._kept + step)

    def _end_line(self, *, also_empty: bool = False) -> None:
        line = "".join(self._line)
        line = line.rstrip(" ") if self._kept else line.strip(" ")
        self._line = []
        if line or also_empty:
            self._lines.append((self._quoted > 0, line))
