from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from bot.contract import logs

LOG = logging.getLogger("bot.test")


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(form: logs.Format) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(form, logging.INFO, stream)
    return stream


def fail(text: str) -> None:
    try:
        int(text)
    except ValueError as error:
        LOG.exception("m", exc_info=ValueError(text).with_traceback(error.__traceback__))


def test_a_line_says_what_it_concerns() -> None:
    stream = written("text")
    with logs.about(series="20260101.1-jane@example.org", run=7):
        LOG.info("planned on %s", "next")
    text = stream.getvalue()
    assert text.endswith(" INFO series=20260101.1-jane@example.org run=7 planned on next\n")
    assert text[:10].count("-") == 2
    assert "Z INFO" in text


def test_the_inner_one_is_laid_over_the_outer_one() -> None:
    stream = written("text")
    with logs.about(series="a", run=1):
        with logs.about(run=2, task="t"):
            LOG.info("inner")
        LOG.info("outer")
    LOG.info("none")
    said = [line.partition(" INFO ")[2] for line in stream.getvalue().splitlines()]
    assert said == ["series=a run=2 task=t inner", "series=a run=1 outer", "series=- run=- none"]


def test_it_is_taken_back_when_something_raises() -> None:
    stream = written("text")
    with pytest.raises(KeyError), logs.about(series="a"):
        raise KeyError
    LOG.info("after")
    assert "series=-" in stream.getvalue()


def test_threads_do_not_see_one_another() -> None:
    stream = written("text")
    with logs.about(series="mine"):
        other = threading.Thread(target=LOG.info, args=("other",))
        other.start()
        other.join()
    assert "series=- run=- other" in stream.getvalue()


@pytest.mark.parametrize(
    ("evil", "shown"),
    [
        ("a\n2026-01-01T00:00:00.000Z ERROR series=- run=- b", "a\\n2026-01-01T"),
        ("a\r\x1b[2Jb", "a\\r\\x1b[2Jb"),
        ("a\x00\x7f\x9bb\tc", "a\\x00\\x7f\\x9bb\\tc"),
        ("a\u2028b\u202ec\u2066d\x85e", "a\\u2028b\\u202ec\\u2066d\\x85e"),
        ("a\udcffb", "a\\udcffb"),
        ("größer, 日本", "größer, 日本"),
    ],
)
def test_mail_writes_no_line_of_its_own(evil: str, shown: str) -> None:
    stream = written("text")
    LOG.info("refused: %s", evil)
    assert stream.getvalue().count("\n") == 1
    assert shown in stream.getvalue()
    stream.getvalue().encode()


def test_a_message_id_forges_no_field() -> None:
    stream = written("text")
    with logs.about(series="x run=9 INFO\nfake@example.org"):
        LOG.info("m")
    assert "series=x_run=9_INFO\\nfake@example.org run=- m" in stream.getvalue()


def test_a_field_is_cut() -> None:
    stream = written("text")
    with logs.about(series="x" * 5000):
        LOG.info("m")
    assert len(stream.getvalue()) < 1100


def test_a_traceback_is_indented_and_forges_no_line() -> None:
    stream = written("text")
    fail("bad\n2026-01-01T00:00:00.000Z INFO series=- run=- forged\x1b[2J")
    first, *below = stream.getvalue().splitlines()
    assert first.endswith("series=- run=- m")
    assert all(line.startswith("  | ") for line in below)
    assert "\x1b" not in stream.getvalue()


def test_json_has_the_same() -> None:
    stream = written("json")
    with logs.about(series="s@x", run=3, task="t-1"):
        LOG.warning("a\n%s", "b \x1b \u202e \udcff")
    fail("bad")
    first, second = map(json.loads, stream.getvalue().splitlines())
    time = first.pop("time")
    assert time.endswith("Z")
    assert first == {
        "level": "WARNING", "logger": "bot.test", "thread": "MainThread", "series": "s@x",
        "run": "3", "task": "t-1", "message": "a\nb \x1b \u202e \udcff",
    }  # fmt: skip
    assert "ValueError: bad" in second["exception"]
    assert second["series"] == ""
    stream.getvalue().encode("ascii")


def test_configuring_twice_writes_once_and_keeps_the_chatty_quiet() -> None:
    written("json")
    stream = written("text")
    LOG.info("once")
    LOG.debug("never")
    logging.getLogger("uvicorn.error").info("never")
    assert stream.getvalue().count("\n") == 1
