"""The pages and what programs read, over a store of a thousand series and hostile mail."""

from __future__ import annotations

import asyncio
import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from bot.errors import OursError
from bot.service import reports
from bot.settings import Settings
from bot.store import dossier, jobs, wishes
from bot.store.database import Store
from bot.store.wishes import Ended, Wish
from bot.web import live
from bot.web.app import make_app
from bot.web.live import Hub
from tests import crowd, reviewed
from tests.letters import letter
from tests.stores import opened

STATIC = Path(__file__).parents[2] / "bot" / "web" / "static"
MANY = 700
NOW = crowd.NOW + timedelta(minutes=5)
SETTINGS = Settings(web_rate=100_000)  # type: ignore[call-arg] # pydantic-settings fills the fields
EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">"\'&{{7*7}}\x1b[31m\u202e'
REVIEWED, OUTSIDE = crowd.lead(36), crowd.lead(37)
PAGES = (
    "/", "/?state=findings", "/?list=linux-mm@lists.example.org&path=fs", "/trend", "/status",
    "/about", f"/series/{REVIEWED}", f"/stack/{REVIEWED}", f"/stress/{REVIEWED}",
    f"/series/{OUTSIDE}", f"/stack/{OUTSIDE}", f"/stress/{OUTSIDE}",
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = opened(tmp_path / "store.db")
    crowd.fill(found, MANY)
    return found


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    with TestClient(make_app(store, SETTINGS, lambda: NOW), raise_server_exceptions=True) as found:
        yield found


def test_every_page_answers_and_lets_no_script_in(client: TestClient) -> None:
    for path in PAGES:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert not re.search(r"<script(?![^>]* src=\"/static/)|\son\w+=|\sstyle=|javascript:", answer.text), path  # noqa: E501 # fmt: skip
        assert not re.search(r'(src|href)="(https?:)?//(?!lore\.kernel\.org)', answer.text), path
        assert answer.text == client.get(path).text, path


def test_hostile_mail_is_text_everywhere(store: Store, client: TestClient) -> None:
    raw = letter(f"[PATCH] {EVIL}", id="evil@x", sender='"<b>E</b>" <e@x.org>')
    raw = raw.replace(b"mm/one.c", b"mm/<i>x.c").replace(b"int b;", b"</code><script>x")
    lead = reviewed.took(store, [raw], NOW)
    with store.session() as session:
        text = wishes.want(session, lead, {}, None, NOW)
        wishes.end(session, text, Wish.FAILED, f"broke {EVIL}", NOW)
    for path in ("/", "/feed", f"/series/{lead}", f"/stack/{lead}", f"/stress/{lead}", "/status"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "alert(1)</script>" not in answer.text, path
        assert not re.search(r"<(img|b|i)[ >]", answer.text.replace('<img src="/static/icon.svg"', "")), path  # noqa: E501 # fmt: skip
        assert "\x1b" not in answer.text, path
        assert "\u202e" not in answer.text, path
    assert "{{7*7}}" in client.get(f"/series/{lead}").text
    ET.fromstring(client.get("/feed").content)  # noqa: S314 - our own feed


def test_ids_may_hold_anything(store: Store, client: TestClient) -> None:
    for name in ("a/b?c#d%e@x", "<>\"'@x", "ü@x"):
        with store.session() as session:
            wishes.keep(session, Ended("k", name, "passed", "{}"), NOW)
        assert client.get(f"/series/{quote(name, safe='@')}").status_code == 404
        for path in ("series", "stack", "stress", "badge", "api/series"):
            answer = client.get(f"/{path}/{quote(name, safe='@')}")
            assert answer.status_code in {200, 404}
            assert "<>" not in answer.text


def test_blanks_of_code_stay(store: Store, client: TestClient) -> None:
    raw = letter("[PATCH] tabs", id="tabs@x").replace(b"int b;", b"\tint  b;\x07")
    lead = reviewed.took(store, [raw], NOW)
    assert "-\tint  b;\N{REPLACEMENT CHARACTER}</code>" in client.get(f"/series/{lead}").text


def test_a_filter_is_a_form_and_a_link(client: TestClient) -> None:
    found = client.get("/", params={"state": "findings", "filesystem": "ext4"}).text
    assert found.count('class="card findings"') > 0
    assert 'class="card passed"' not in found
    assert '<option value="findings" selected>' in found
    assert "/feed?filesystem=ext4&amp;state=findings" in found
    assert "No series is like this" in client.get("/?text=nosuchthing").text
    mine = client.get("/?maintainer=owner-ext4@example.org").text
    assert "in files of owner-ext4@example.org" in mine


def test_the_list_goes_on_to_its_end(client: TestClient) -> None:
    leads, path = [], "/"
    while path:
        text = client.get(path).text
        leads += re.findall(r'class="title" href="/series/([^"]+)"', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        path = following[1].replace("&amp;", "&") if following else ""
    assert leads == [quote(crowd.lead(at), safe="@") for at in reversed(range(MANY))]


@pytest.mark.parametrize("query", ["after=zzz", "after=WyIyMDI2IiwgMV0", "state=foo"])
def test_a_wrong_query_is_told(client: TestClient, query: str) -> None:
    answer = client.get(f"/?{query}")
    assert (answer.status_code, 'role="alert"' in answer.text) == (400, True)
    wrong = client.get(f"/api/series?{query}")
    assert (wrong.status_code, list(wrong.json())) == (422 if "state" in query else 400, ["detail"])
    assert client.get(f"/feed?{query}").status_code == (400 if "state" in query else 200)


def test_what_is_not_there_is_told(client: TestClient) -> None:
    for path in ("/series/no@x", "/stack/no@x", "/stress/no@x", "/nosuch"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "<h1>No such" in answer.text
    assert client.get("/api/series/no@x").json() == {"detail": "there is no such series"}
    assert "unknown" in client.get("/badge/no@x.svg").text


def test_programs_read_the_same_series(client: TestClient) -> None:
    one = client.get(f"/api/series/{REVIEWED}").json()
    assert (one["state"], one["findings"]) == ("findings", 1)
    assert one["found"][0]["function"] == "pageout"
    assert one["chains"] == [
        {"profile": "direct-reclaim-writepage", "name": "ext4", "before": 488, "after": 880,
         "budget": 16384}
    ]  # fmt: skip
    leads, after = [], ""
    while after is not None:
        page = client.get("/api/series", params={"state": "passed", "after": after}).json()
        leads += [card["id"] for card in page["series"]]
        after = page["next"]
    assert leads == sorted(leads, reverse=True)
    assert len(leads) == len(set(leads)) > 50
    assert "findings" in client.get(f"/badge/{REVIEWED}.svg").text
    measured = client.get("/api/trend?profile=direct-reclaim-writepage&name=ext4").json()
    assert measured[0]["release"] == "6.1.192"
    names = set(client.get("/api/openapi.json").json()["paths"])
    assert names == {"/api/series", "/api/series/{lead}", "/api/trend"}


def test_a_feed_has_the_series_of_its_filter(client: TestClient) -> None:
    root = ET.fromstring(client.get("/feed?state=findings").content)  # noqa: S314 - our own feed
    names = {"a": "http://www.w3.org/2005/Atom"}
    titles = [one.text or "" for one in root.findall("a:entry/a:title", names)]
    assert titles
    assert all(one.startswith("[findings] ") for one in titles)
    assert all(one.find("a:updated", names) is not None for one in root.findall("a:entry", names))


def test_the_picture_of_a_chain_adds_up(client: TestClient) -> None:
    text = client.get(f"/stack/{REVIEWED}").text
    grown = re.search(r'class="bar grown"[^>]*height="([\d.]+)"><title>after: pageout, 480 bytes, 712 deep', text)  # noqa: E501 # fmt: skip
    assert grown
    assert float(grown[1]) == pytest.approx(480 / 16384 * 900, abs=0.01)
    assert text.count("<title>before:") == text.count("<title>after:") == 5
    assert "budget 16,384 bytes" in text
    assert "+392" in text


def test_an_address_that_asks_too_often_is_told_to_wait(store: Store) -> None:
    few = SETTINGS.model_copy(update={"web_rate": 3})
    with TestClient(make_app(store, few, lambda: NOW)) as client:
        codes = [client.get("/about").status_code for _ in range(5)]
        assert codes == [200, 200, 200, 429, 429]
        assert client.get("/healthz").status_code == 200
        assert client.get("/static/page.css").status_code == 200


def test_a_store_that_is_away_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from bot.store.address import StoreError  # noqa: PLC0415 - here alone

    def away() -> None:
        raise StoreError("the store /secret/place cannot be used")

    monkeypatch.setattr(store, "reading", away)
    with TestClient(make_app(store, SETTINGS, lambda: NOW)) as client:
        for path in ("/", f"/series/{REVIEWED}", "/api/series"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert "secret" not in answer.text


def test_what_others_wrote_is_as_they_wrote_it() -> None:
    lines = (STATIC / "THIRD-PARTY.md").read_text().splitlines()
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in lines
        if line.startswith("| ")
    ]
    found = {name: digest for name, _, _, digest in rows if len(digest) == 64}
    assert set(found) == {p.name for p in STATIC.iterdir() if p.suffix in {".js", ".woff2"}}
    for name, digest in found.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest


def test_the_log_of_a_job_has_a_line_for_each_step(store: Store, client: TestClient) -> None:
    with store.session() as session:
        number = wishes.want(session, OUTSIDE, {}, None, NOW)
        wishes.planned(session, number, "{}", 9, NOW)
        jobs.want(session, jobs.New("k", "build", "{}", 60.0), number, 9, NOW)
        jobs.send(session, "k", "t", "", NOW, NOW)
        jobs.began(session, "t", "host-1", NOW, NOW)
        for seconds, what in ((1, "applies"), (2, "compiles 1 of 9"), (5, "compiles 9 of 9"),
                              (6, EVIL)):  # fmt: skip
            jobs.step(session, "t", what, NOW + timedelta(seconds=seconds))
        assert not jobs.step(session, "no such task", "x", NOW)
    text = client.get(f"/series/{OUTSIDE}").text
    log = re.search(r'<pre class="console"[^>]*>(.*?)</pre>', text, re.DOTALL)
    assert log
    lines = log[1].strip().splitlines()
    assert lines[:2] == ["1 s: applies", "2 s: compiles 1 of 9"]
    assert lines[2].startswith("6 s: &lt;script&gt;")
    with store.session() as session:
        for at in range(4000):
            jobs.step(session, "t", f"step {'ab'[at % 2]}", NOW)
        (job,) = dossier.read(session, OUTSIDE, [OUTSIDE]).jobs
    assert len(job.log) <= jobs.LOG


class Shelf:
    def __init__(self, home: Path, keys: tuple[str, ...]) -> None:
        self._home, self._keys = home, keys

    def fetched(self, key: str) -> Path:
        if key not in self._keys:
            raise OursError("it is gone")
        path = self._home / key
        path.write_text("CONFIG_MMU=y")
        return path


def test_what_a_run_left_can_be_had_and_nothing_else(store: Store, tmp_path: Path) -> None:
    report = crowd.report(0)
    build = report.build.model_copy(update={"config_file": "a" * 64, "image": "b" * 64})
    text = reports.write(report.model_copy(update={"build": build}))
    with store.session() as session:
        wishes.keep(session, Ended("z" * 64, OUTSIDE, "passed", text), NOW)
    shelf = Shelf(tmp_path, ("a" * 64, "c" * 64))
    with TestClient(make_app(store, SETTINGS, lambda: NOW, shelf)) as client:
        page = client.get(f"/series/{OUTSIDE}").text
        assert f'href="/file/config.txt?series={quote(OUTSIDE, safe="")}"' in page
        there = client.get("/file/config.txt", params={"series": OUTSIDE})
        assert (there.status_code, there.text) == (200, "CONFIG_MMU=y")
        assert there.headers["content-disposition"] == 'attachment; filename="config.txt"'
        assert client.get(f"/file/bzImage?series={OUTSIDE}").status_code == 410
        for name in ("vmlinux", "c" * 64, "%2e%2e%2fstore.db"):
            assert client.get(f"/file/{name}", params={"series": OUTSIDE}).status_code == 404
        assert client.get("/file/config.txt?series=nobody@x").status_code == 404
    with TestClient(make_app(store, SETTINGS, lambda: NOW)) as client:
        assert "/file/" not in client.get(f"/series/{OUTSIDE}").text


# what moves


def test_a_part_is_made_once_for_all_who_read_it() -> None:
    made: list[str] = []
    texts = iter(["one", "one", "two"])

    def make() -> str:
        made.append(next(texts, "two"))
        return made[-1]

    async def reader(hub: Hub, wanted: int) -> list[str]:
        found = []
        async for text in hub.read("now", make):
            found.append(text)
            if len(found) == wanted:
                return found
        return found

    async def run() -> list[list[str]]:
        hub = Hub(every=0.05)
        readers = [asyncio.create_task(reader(hub, 2)) for _ in range(200)]
        found = await asyncio.wait_for(asyncio.gather(*readers), 20)
        await asyncio.sleep(0.1)
        assert hub.readers == 0
        count = len(made)
        await asyncio.sleep(0.2)
        assert len(made) == count  # nobody reads: nothing is made
        return found

    assert asyncio.run(run()) == [["one", "two"]] * 200
    assert len(made) < 10


def test_a_slow_reader_gets_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "READERS", 1)
    numbers = iter(range(1000))

    async def run() -> str:
        hub = Hub(every=0.001)
        stream = hub.read("n", lambda: str(next(numbers)))
        assert await anext(stream) == "0"
        with pytest.raises(live.FullError):
            await anext(hub.read("n", lambda: ""))
        await asyncio.sleep(0.2)
        found = await anext(stream)
        with suppress(AttributeError):
            await stream.aclose()  # type: ignore[attr-defined] # a generator has it
        return found

    assert int(asyncio.run(run())) > 3
