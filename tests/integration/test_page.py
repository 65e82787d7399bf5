"""The pages in a real browser, over a real review and a crowd of made-up series."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from bot.mail.outbox import Outbox, Place
from bot.mail.outrules import Rules
from bot.settings import Settings, load
from bot.store import jobs, outbox, wishes
from bot.store.database import Store
from bot.store.jobs import New
from bot.verbs.exploring import Explorers
from bot.verbs.wiring import shelf, worker_config
from bot.web.app import make_app
from bot.web.server import Server
from tests import crowd, reviewed
from tests.integration.conftest import ROOT, STACKHOG
from tests.letters import letter

CHROMIUM = "/usr/bin/chromium"
SHOTS = ROOT / ".shots"
NOW = crowd.NOW + timedelta(minutes=5)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
DEMO = ROOT / "demo" / "writeback-more.mbox"
SERIES, STACK, STRESS = "series", "stack", "stress"
OPEN = 5  # details of a page that are opened before it is looked at
LATE = 56 * 24 * 60  # minutes from the noon of letters to now
SIZES = {"wide": (1280, 900), "narrow": (360, 740)}
WORDS = "correct horse"
EVIL = '<script>window.evil=1</script><img src=x onerror="window.evil=2">'


@pytest.fixture(scope="module")
def review(tree: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the report and the reply of a real review of the demo series."""
    import subprocess  # noqa: PLC0415 - here alone

    home = tmp_path_factory.mktemp("review")
    report, reply = home / "report.json", home / "reply.eml"
    command = [*STACKHOG, "review", str(DEMO), "--tree", "debian-6.1"]
    done = subprocess.run(
        [*command, "--json", str(report), "--output", str(reply)], cwd=ROOT, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert tree
    return report, reply


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    found = Store(f"sqlite:///{tmp_path_factory.mktemp('page')}/store.db")
    crowd.fill(found, 900)
    yield found
    found.close()


@pytest.fixture(scope="module")
def lead(store: Store, review: tuple[Path, Path]) -> str:
    return reviewed.demo(store, DEMO, *review, crowd.NOW)


@pytest.fixture(scope="module")
def url(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"owner@example.org {hashlib.sha256(WORDS.encode()).hexdigest()}\n")
    settings = Settings(web_rate=100_000, web_tokens_file=tokens)  # type: ignore[call-arg] # pydantic-settings fills the fields
    guide = Explorers(worker_config())
    app = make_app(store, settings, lambda: NOW, shelf(load()), guide)
    with Server(app, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.port}"
    guide.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        found = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield found
        found.close()


Opened = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Return what opens pages; what they say on the console fails the test."""
    contexts: list[BrowserContext] = []
    said: list[str] = []

    def heard(text: str) -> None:
        if "404 (Not Found)" not in text:  # one of the pages is meant to be none
            said.append(text)

    def page(**options: Any) -> Page:  # noqa: ANN401 - what Playwright takes
        contexts.append(browser.new_context(**{"viewport": view("wide"), **options}))
        found = contexts[-1].new_page()
        found.on("console", lambda one: heard(one.text) if one.type == "error" else None)
        found.on("pageerror", lambda one: said.append(str(one)))
        found.on("dialog", lambda one: said.append(one.message))
        return found

    yield page
    for one in contexts:
        one.close()
    assert said == []


def view(size: str) -> dict[str, int]:
    width, height = SIZES[size]
    return {"width": width, "height": height}


def paths(lead: str) -> dict[str, str]:
    there = quote(lead, safe="@")
    return {
        "overview": "/", "mine": "/?maintainer=owner-ext4@example.org",
        "series": f"/series/{there}",
        "stack": f"/stack/{there}", "stress": f"/stress/{there}", "status": "/status",
        "trend": "/trend?profile=direct-reclaim-writepage&name=ext4", "about": "/about",
        "missing": "/series/nobody@x", "signin": "/signin",
        "chains": "/chains?start=shrink_folio_list&end=ext4_writepage",
        "around": "/chains?around=pageout",
    }  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_accessible_and_fits(
    url: str, lead: str, opened: Opened, scheme: str, size: str
) -> None:
    SHOTS.mkdir(exist_ok=True)
    page = opened(color_scheme=scheme, viewport=view(size))
    wrong: list[tuple[str, str, str]] = []
    for name, path in paths(lead).items():
        answer = page.goto(url + path)
        assert answer is not None
        assert answer.status == (404 if name == "missing" else 200)
        for one in page.locator("details").all()[:OPEN]:
            one.evaluate("one => one.open = true")
        page.screenshot(path=SHOTS / f"{name}-{scheme}-{size}.png", full_page=size == "narrow")
        found = Axe().run(page, options={"runOnly": {"type": "tag", "values": RULES}})
        wrong += [
            (name, one["id"], one["nodes"][0]["html"][:200]) for one in found.response["violations"]
        ]
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= SIZES[size][0], name
    assert wrong == []


def test_without_javascript_all_of_it_can_be_read(url: str, lead: str, opened: Opened) -> None:
    page = opened(java_script_enabled=False)
    page.goto(url)
    page.get_by_label("State").select_option("findings")
    page.get_by_label("Filesystem").fill("ext4")
    page.get_by_role("button", name="Filter").click()
    assert "state=findings" in page.url
    assert page.locator(".card").count() == page.locator(".card.findings").count() > 0
    page.get_by_role("link", name="Clear").click()
    page.get_by_role("link", name="Older series").click()
    assert page.locator(".card").count() == 50
    page.goto(f"{url}/series/{quote(lead, safe='@')}")
    assert page.locator(".finding").count() == 6
    page.get_by_role("link", name="Stack", exact=True).click()
    page.locator("summary", has_text="Frames,").first.click()
    expect(page.locator("tr.changed").first).to_be_visible()


def test_the_keyboard_alone_is_enough(url: str, opened: Opened) -> None:
    page = opened()
    page.goto(url)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Text")).to_be_focused()
    page.keyboard.type("writeback")
    page.keyboard.press("Enter")
    page.wait_for_url("**text=writeback*")
    assert all("writeback" in one.inner_text() for one in page.locator(".card .title").all())
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "title":
            break
    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url("**/series/**")


def test_a_run_is_followed_to_its_reply_without_a_reload(
    store: Store, url: str, review: tuple[Path, Path], opened: Opened
) -> None:
    body = letter("[PATCH] vmscan: live", id="live@x", minutes=LATE + 1).replace(
        b"mm/one.c", b"mm/vmscan.c"
    )
    now = NOW + timedelta(minutes=1)
    one = reviewed.took(store, [body.replace(b"int b;", b"pageout(b);")], now)
    page, listed = opened(), opened()
    listed.goto(url)
    page.goto(f"{url}/series/{one}")
    page.evaluate("window.same = true")
    progress = page.locator("#progress")
    expect(progress).to_contain_text("queued")
    with store.session() as session:
        (wanted,) = [wish for wish in wishes.waiting(session) if wish.series == one]
        wishes.planned(session, wanted.id, "{}", 9, now)
        jobs.want(session, New("live", "build", "{}", 60.0), wanted.id, 9, now)
        jobs.send(session, "live", "task", "", now, now)
        jobs.began(session, "task", "host-1", now, now)
        jobs.step(session, "task", "compiling 3 of 9 objects", now)
    expect(progress).to_contain_text("compiling 3 of 9 objects")
    expect(listed.locator("#rows .card.running").first).to_contain_text("compiling 3 of 9")
    with store.session() as session:
        jobs.step(session, "task", "compiling 8 of 9 objects", now)
    expect(progress).to_contain_text("compiling 8 of 9 objects")
    with store.session() as session:
        jobs.finish(session, "task", "passed", "", "{}", now)
    report = json.loads(review[0].read_text())
    reviewed.told(store, one, report, None, now)
    expect(progress).to_contain_text("findings")
    expect(page.locator("#checks")).to_be_visible()  # the rest of the page came after it
    from email.message import EmailMessage  # noqa: PLC0415 - here alone

    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "b@example.org", "a@example.org", "Re: live"
    mail["Message-ID"], mail["Date"] = "<r@example.org>", "Mon, 02 Mar 2026 12:00:00 +0000"
    mail.set_content("Found.")
    sent = Outbox(store, Rules()).put(mail, Place(thread=one, series=one), now)
    with store.session() as session:
        outbox.move(session, sent.id, [sent.state], outbox.State.SENT, "250 ok", now)
    expect(progress).to_contain_text("replied")
    assert page.evaluate("window.same") is True


def test_a_maintainer_acts_and_sees_what_comes_of_it(url: str, lead: str, opened: Opened) -> None:
    page = opened(java_script_enabled=False)
    page.goto(url)
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("Token").fill(WORDS)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".visit")).to_contain_text("owner@example.org")
    page.goto(f"{url}/series/{quote(lead, safe='@')}")
    page.get_by_label("Why").first.fill("known, and fine")
    page.get_by_role("button", name="Mute ").first.click()
    expect(page.locator(".finding.muted").first).to_contain_text("known, and fine")
    page.get_by_role("button", name="Unmute ").first.click()
    expect(page.locator(".finding.muted")).to_have_count(0)
    page.get_by_role("button", name="Drop mail").click()
    expect(page.locator("#progress")).to_contain_text("dropped by owner@example.org")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator(".acts")).to_have_count(0)


def test_the_page_of_who_signed_in_is_accessible(url: str, lead: str, opened: Opened) -> None:
    page = opened(viewport=view("narrow"))
    page.goto(f"{url}/signin")
    page.get_by_label("Token").fill(WORDS)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/")
    page.goto(f"{url}/series/{quote(lead, safe='@')}")
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": RULES}})
    assert [
        (one["id"], one["nodes"][0]["html"][:200]) for one in found.response["violations"]
    ] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["narrow"][0]


@pytest.mark.usefixtures("lead")
def test_the_calls_of_a_real_kernel_are_explored(url: str, opened: Opened) -> None:
    page = opened(java_script_enabled=False)
    page.goto(url)
    page.get_by_role("link", name="Chains").click()
    page.get_by_label("Search functions").fill("pageo")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="pageout", exact=True).click()
    expect(page.get_by_role("heading", name="Called by, 1")).to_be_visible()
    page.get_by_role("link", name="shrink_folio_list").click()
    page.get_by_role("textbox", name="From").fill("shrink_folio_list")
    page.get_by_role("textbox", name="To").fill("ext4_writepage")
    page.get_by_role("button", name="Deepest chain").click()
    expect(page.locator("#chain")).to_have_text("From shrink_folio_list to ext4_writepage")
    frames = page.locator("tbody th code").all_inner_texts()
    assert frames[:2] == ["shrink_folio_list", "pageout"]
    page.get_by_role("textbox", name="To").fill("no_such_function")
    page.get_by_role("button", name="Deepest chain").click()
    expect(page.get_by_role("alert")).to_contain_text("has no function no_such_function()")


def test_what_the_kernels_left_is_downloaded(url: str, lead: str, opened: Opened) -> None:
    page = opened()
    page.goto(f"{url}/series/{quote(lead, safe='@')}")
    page.locator("summary", has_text="Files,").click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="config.txt").click()
    text = waiting.value.path().read_text()
    assert "CONFIG_EXT4_FS=y" in text


def test_hostile_mail_does_nothing(store: Store, url: str, opened: Opened) -> None:
    raw = letter(f"[PATCH] {EVIL}", id="evil@x", sender="<b>E</b> <e@x.org>", minutes=LATE + 2)
    one = reviewed.took(store, [raw.replace(b"int b;", EVIL.encode())], NOW)
    page = opened()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in ("/", f"/series/{one}", f"/stack/{one}"):
        page.goto(url + path)
        page.wait_for_timeout(300)
        assert page.evaluate("window.evil") is None
        assert "<script>window.evil=1" in page.locator("main").inner_text()
    assert all(address.startswith(url) for address in asked)


def test_two_hundred_read_live(url: str, store: Store) -> None:
    import asyncio  # noqa: PLC0415 - here alone

    import httpx  # noqa: PLC0415 - the same

    readers = 200
    body = letter("[PATCH] crowd of readers", id="readers@x", minutes=LATE + 3)

    async def read(client: httpx.AsyncClient, ready: asyncio.Semaphore) -> str:
        async with client.stream("GET", f"{url}/live/rows", timeout=60) as stream:
            seen = ""
            async for text in stream.aiter_text():
                seen += text
                ready.release()
                if "crowd of readers" in seen:
                    return seen
        return ""

    async def run() -> list[str]:
        limits = httpx.Limits(max_connections=readers + 10)
        ready = asyncio.Semaphore(0)
        async with httpx.AsyncClient(limits=limits) as client:
            tasks = [asyncio.create_task(read(client, ready)) for _ in range(readers)]
            for _ in range(readers):
                await asyncio.wait_for(ready.acquire(), 60)
            await asyncio.to_thread(reviewed.took, store, [body], NOW + timedelta(days=1))
            return await asyncio.wait_for(asyncio.gather(*tasks), 60)

    with ThreadPoolExecutor(1) as other:  # Playwright has a loop in this thread
        assert all(other.submit(lambda: asyncio.run(run())).result())
