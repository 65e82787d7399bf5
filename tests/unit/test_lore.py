from __future__ import annotations

import base64
import gzip
import io
import json
import logging
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pytest

from bot.errors import OursError
from bot.mail import lore, sources, web
from bot.mail.lore import Lore, NotOnLoreError
from bot.mail.message import parse
from tests.letters import letter, mbox, sending
from tests.unit.stubserver import Asked, Reply, packed, serving

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


class List:
    """An archive: which mail was received when, and what is searched for."""

    def __init__(self) -> None:
        self.mails: list[tuple[datetime, bytes]] = []
        self.asked: list[str] = []

    def receive(self, *names: str, ago: timedelta = timedelta()) -> None:
        self.mails += [(datetime.now(UTC) - ago, letter(f"[PATCH] {n}", id=n)) for n in names]

    def answer(self, asked: Asked) -> Reply:
        if asked.method == "GET":
            return Reply(200 if asked.path == "/mm/_/text/help/" else 404)
        query = unquote(asked.path.partition("&q=")[2])
        self.asked.append(query)
        found = re.fullmatch(r"rt:(\d+)\.\.(\d*)", query)
        assert found, query
        last = int(found[2] or 1 << 40)
        mails = [raw for when, raw in self.mails if int(found[1]) <= when.timestamp() <= last]
        return packed(mails[::-1]) if mails else Reply(404)


def new(source: Lore, cursor: str = "") -> tuple[list[str], str]:
    """Return the ids of what came, and the cursor behind it."""
    ids = []
    for fetched in source.follow(cursor):
        ids.append(parse(fetched.raw).message_id)
        cursor = fetched.cursor
    return ids, cursor


def aged(cursor: str, by: timedelta) -> str:
    """Return a cursor as if it had been kept for so long."""
    kept = json.loads(cursor)
    for name in ("at", "far"):
        kept[name] -= int(by.total_seconds())
    return json.dumps(kept)


def test_what_came_is_handed_out_once_and_what_comes_later() -> None:
    archive = List()
    archive.receive("a", "b", ago=HOUR)
    with serving(archive.answer) as host:
        source = Lore(f"{host}/mm")
        ids, cursor = new(source)
        assert sorted(ids) == ["a", "b"]
        assert new(source, cursor) == ([], cursor)
        archive.receive("c")
        assert new(source, cursor)[0] == new(Lore(f"{host}/mm"), cursor)[0] == ["c"]


def test_mails_come_by_date_and_the_last_one_carries_the_cursor() -> None:
    archive = List()
    for minutes, name in ((5, "last"), (3, "first"), (4, "middle")):
        archive.mails.append((NOW, letter("[PATCH] p", id=name, minutes=minutes)))
    with serving(archive.answer) as host:
        fetched = list(Lore(f"{host}/mm").follow(""))
    assert [parse(one.raw).message_id for one in fetched] == ["first", "middle", "last"]
    assert [bool(one.cursor) for one in fetched] == [False, False, True]


def test_after_a_stop_halfway_nothing_is_left_out() -> None:
    archive = List()
    archive.receive("a", "b", "c")
    with serving(archive.answer) as host:
        half = next(Lore(f"{host}/mm").follow(""))
        assert sorted(new(Lore(f"{host}/mm"), half.cursor)[0]) == ["a", "b", "c"]


def test_a_long_time_is_asked_for_in_steps() -> None:
    archive = List()
    archive.receive("old", ago=timedelta(days=9))
    archive.receive("new")
    with serving(archive.answer) as host:
        source = Lore(f"{host}/mm", NOW - timedelta(days=10))
        ids, cursor = new(source)
        assert ids == ["old", "new"]
        assert len(archive.asked) == 4
        archive.asked.clear()
        assert new(source, cursor) == ([], cursor)
        assert len(archive.asked) == 1


def test_a_silent_list_is_not_read_from_the_beginning_with_each_look() -> None:
    archive = List()
    with serving(archive.answer) as host:
        source = Lore(f"{host}/mm", NOW - timedelta(days=10))
        assert new(source) == ([], "")
        archive.asked.clear()
        archive.receive("a")
        assert new(source)[0] == ["a"]
        assert len(archive.asked) == 1


def test_what_the_archive_took_in_late_is_found() -> None:
    archive = List()
    archive.receive("a")
    with serving(archive.answer) as host:
        cursor = new(Lore(f"{host}/mm"))[1]
        archive.receive("a bit late", ago=HOUR / 6)
        ids, cursor = new(Lore(f"{host}/mm"), cursor)
        assert ids == ["a bit late"]
        archive.receive("very late", ago=30 * HOUR)
        assert new(Lore(f"{host}/mm"), cursor)[0] == []
        ids, later = new(Lore(f"{host}/mm"), aged(cursor, 7 * HOUR))
        assert ids == ["very late"]
        assert json.loads(later)["far"] > json.loads(cursor)["far"] - 60


def test_a_mail_whose_time_is_in_the_future_comes_at_once() -> None:
    archive = List()
    archive.receive("future", ago=-900 * HOUR)
    with serving(archive.answer) as host:
        ids, cursor = new(Lore(f"{host}/mm"))
        assert ids == ["future"]
        assert new(Lore(f"{host}/mm"), cursor)[0] == []


def test_a_cursor_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lore, "SEEN", 3)
    archive = List()
    archive.receive(*"abcdefgh")
    with serving(archive.answer) as host:
        cursor = new(Lore(f"{host}/mm"))[1]
        assert len(json.loads(cursor)["seen"]) == 3
        assert len(new(Lore(f"{host}/mm"), cursor)[0]) == 5  # again; the store knows them


@pytest.mark.parametrize("cursor", ["{", "[]", "null", "{}", '{"at": "yesterday"}', '{"0": "abc"}'])
def test_a_cursor_of_something_else_is_the_beginning(cursor: str) -> None:
    archive = List()
    archive.receive("a")
    with serving(archive.answer) as host:
        assert new(Lore(f"{host}/mm"), cursor)[0] == ["a"]


def test_an_answer_that_is_too_large_is_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = List()
    for hours in range(60):
        archive.receive(f"m{hours}", ago=hours * HOUR)
    monkeypatch.setattr(lore, "LIMIT", 20 * len(mbox([archive.mails[0][1]])))
    with serving(archive.answer) as host:
        ids = new(Lore(f"{host}/mm"))[0]
    assert sorted(ids) == sorted(f"m{hours}" for hours in range(60))
    assert len(archive.asked) > 3


def test_what_cannot_be_asked_for_in_smaller_parts_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lore, "LIMIT", 10)
    archive = List()
    archive.receive("a")
    with serving(archive.answer) as host, pytest.raises(OursError, match="answers with more than"):
        new(Lore(f"{host}/mm"))


def test_a_large_mail_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    archive = List()
    archive.receive("a", "rather long")
    monkeypatch.setattr(sources, "MAIL_LIMIT", len(archive.mails[0][1]) + 2)
    with serving(archive.answer) as host, caplog.at_level(logging.WARNING):
        assert new(Lore(f"{host}/mm"))[0] == ["a"]
    assert "left out" in caplog.text


WHOLE = packed(sending("a", 9))
BAD = {
    "a page": (Reply(200, b"<html>Are you a robot?", {"Content-Type": "text/html"}), "text/html"),
    "packed junk": (Reply(200, gzip.compress(b"junk\n" * 9)), "no mailbox"),
    "cut": (Reply(200, WHOLE.body[:-20]), "does not answer"),
    "damaged": (Reply(200, WHOLE.body[:60] + b"??" + WHOLE.body[62:]), "does not answer"),
    "shorter than it says": (
        Reply(200, WHOLE.body[:90], {"Content-Length": "9999"}),
        "does not answer",
    ),
    "a bomb": (Reply(200, gzip.compress(bytes(9 << 20))), "more than 1 MiB"),
    "too often": (Reply(429), "says 429"),
    "broken": (Reply(502, b"<html>"), "says 502"),
    "elsewhere for ever": (Reply(302, headers={"Location": "/mm/again"}), "redirect"),
    "to nowhere": (Reply(302, headers={"Location": "gopher://x/"}), "does not answer"),
    "nothing": (Reply(200, b""), "answers with nothing"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_answer_that_is_none_is_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lore, "LIMIT", 1 << 20)
    monkeypatch.setattr(lore, "THREAD", 1 << 20)
    monkeypatch.setattr(lore, "LEAST", 99999 * 3600)
    reply, said = BAD[name]
    with serving(lambda _: reply) as host:
        with pytest.raises(OursError, match=said) as caught:
            new(Lore(f"{host}/mm"))
        assert "\n" not in str(caught.value)
        with pytest.raises(OursError, match=said) as caught:
            lore.thread(f"{host}/mm", "a@b")
        assert "\n" not in str(caught.value)


def test_a_server_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LASTS", -1.0)
    with serving(lambda _: WHOLE) as host, pytest.raises(OursError, match="it took more than"):
        new(Lore(f"{host}/mm"))


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    with serving(lambda _: WHOLE) as host:
        pass
    with pytest.raises(OursError, match="does not answer"):
        new(Lore(f"{host}/mm"))
    with pytest.raises(OursError, match="does not answer"):
        lore.thread(f"{host}/mm", "a@b")


def test_no_archive_is_told_from_no_mail() -> None:
    with serving(List().answer) as host:
        assert new(Lore(f"{host}/mm")) == ([], "")
        with pytest.raises(
            OursError, match=r"is no archive that can be searched .*check `sources`"
        ):
            new(Lore(f"{host}/none"))


def test_an_archive_that_moved_is_followed_there() -> None:
    archive = List()
    archive.receive("a")

    def old(asked: Asked) -> Reply:
        return Reply(301, headers={"Location": f"{host}{asked.path}"})

    with serving(archive.answer) as host, serving(old) as former:
        assert new(Lore(f"{former}/mm"))[0] == ["a"]


def test_another_host_is_asked_where_the_first_is_down() -> None:
    archive = List()
    archive.receive("a")
    with serving(archive.answer) as host, serving(lambda _: Reply(503)) as broken:
        assert new(Lore(f"{broken}/mm", fallbacks=[host]))[0] == ["a"]
        assert new(Lore(f"{host}/mm", fallbacks=[broken]))[0] == ["a"]
        with pytest.raises(OursError, match="fallback"):
            new(Lore(f"{host}/mm", fallbacks=["not a host"]))


def threads(asked: Asked) -> Reply:
    """Serve a thread on the list lkml, to which its host leads from everywhere."""
    match asked.path:
        case "/lkml/a-1/t.mbox.gz" | "/lkml/x%2Fy%20z/t.mbox.gz":
            return packed(sending("a", 2))
        case "/a-1/":
            return Reply(302, headers={"Location": "/lkml/a-1/"})
        case "/lkml/a-1/":
            return Reply(200, b"<html>")
    return Reply(404)


def test_a_thread_is_found_on_another_list_of_the_host() -> None:
    with serving(threads) as host:
        for where in (f"{host}/lkml", f"{host}/mm", host):
            found = lore.thread(where, "<a-1>")
            assert [parse(one).message_id for one in sources.split(io.BytesIO(found))] == [
                "a-0", "a-1", "a-2",
            ]  # fmt: skip
        with serving(lambda _: Reply(502)) as broken:
            assert lore.thread(f"{broken}/lkml", "a-1", [host]) == found


@pytest.mark.parametrize(
    "message_id",
    ["", "nobody@example.org", "a b", "../..", "x\r\nHost: y", "\udcff\0", "%2e?q=#", "é" * 9999],
)
def test_a_thread_that_is_not_there_is_their_error(message_id: str) -> None:
    with serving(threads) as host, pytest.raises(NotOnLoreError, match="has no mail <") as caught:
        lore.thread(f"{host}/lkml", message_id)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_an_id_with_slash_and_space_is_asked_for_whole() -> None:
    with serving(threads) as host:
        assert lore.thread(f"{host}/lkml", "x/y z")


def test_user_and_password_reach_the_server_and_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    archive = List()
    archive.receive("a")
    wanted = "Basic " + base64.b64encode(b"jane:very secret").decode()

    def guarded(asked: Asked) -> Reply:
        return archive.answer(asked) if asked.headers.get("Authorization") == wanted else Reply(401)

    with serving(guarded) as host:
        source = Lore(host.replace("//", "//jane:very%20secret@") + "/mm")
        assert "secret" not in source.name
        with caplog.at_level(logging.DEBUG):
            assert new(source)[0] == ["a"]
        with pytest.raises(OursError, match="says 401"):
            new(Lore(f"{host}/mm"))
    with pytest.raises(OursError, match="does not answer") as caught:
        new(source)
    assert "secret" not in str(caught.value) + caplog.text


def test_waiting_ends_with_the_stop() -> None:
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    Lore("http://127.0.0.1:1/mm", stop=stop).wait(60)
    assert time.monotonic() - began < 30
