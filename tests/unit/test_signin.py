"""Who may act on the page, and what is done: written down, and only from a form of ours."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import oidc_provider_mock
import pytest
from starlette.testclient import TestClient

from bot.errors import OursError
from bot.mail.outbox import Outbox, Place
from bot.mail.outrules import Mode, Rules
from bot.settings import BadSettingError, Settings
from bot.store import catalog, dossier, outbox
from bot.store.database import Store
from bot.web import signin
from bot.web.app import make_app
from tests import crowd
from tests.stores import opened

WHO, TOKEN, WORD = "owner@example.org", "correct horse", "battery"
LEAD = crowd.lead(36)
NOW = crowd.NOW


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = opened(tmp_path / "store.db")
    crowd.fill(found, 60)
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "b@example.org", "a@example.org", "Re: x"
    mail["Message-ID"], mail["Date"] = "<r@example.org>", "Mon, 02 Mar 2026 12:00:00 +0000"
    mail.set_content("Found.")
    Outbox(found, Rules(mode=Mode.MODERATE)).put(mail, Place(thread=LEAD, series=LEAD), NOW)
    return found


def settings(tmp_path: Path, **more: object) -> Settings:
    tokens = tmp_path / "tokens"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens.write_text(f"# who may act\n{WHO} {digest}\n")
    return Settings.model_validate({"web_rate": 1000, "web_tokens_file": tokens, **more})


@pytest.fixture
def client(store: Store, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(make_app(store, settings(tmp_path), lambda: NOW)) as found:
        yield found


def enter(client: TestClient) -> str:
    """Sign in; return the word that forms carry."""
    assert client.post("/signin", data={"token": TOKEN}).status_code == 200
    found = re.search(r'name="word" value="([^"]+)"', client.get("/").text)
    assert found
    return found[1]


def requests(store: Store, lead: str = LEAD) -> list[str]:
    with store.reading() as session:
        return [one.state for one in dossier.read(session, lead, [lead]).requests]


def test_everyone_reads_and_nobody_acts(client: TestClient, store: Store) -> None:
    before = requests(store)
    text = client.get(f"/series/{LEAD}").text
    assert 'action="/act' not in text
    assert 'href="/signin"' in text
    for path in ("/act/test", "/act/cancel", "/act/mute"):
        assert client.post(path, data={"series": LEAD, "word": ""}).status_code == 401
    for path in ("/mail/approve", "/mail/drop"):
        told = client.post(path, data={"series": LEAD, "letter": 1, "word": ""})
        assert told.status_code == 401
    assert requests(store) == before


def test_a_wrong_token_is_nobodys(client: TestClient) -> None:
    for token in ("", "correct hors", hashlib.sha256(TOKEN.encode()).hexdigest(), WHO):
        answer = client.post("/signin", data={"token": token})
        assert answer.status_code in {401, 422}
        assert "Sign out" not in client.get("/").text
    codes = [client.post("/signin", data={"token": "x"}).status_code for _ in range(12)]
    assert codes[-1] == 429  # nobody tries them all
    assert client.get("/").status_code == 200


def test_a_form_of_another_site_does_nothing(client: TestClient, store: Store) -> None:
    enter(client)
    before = requests(store)
    for word in ("", "guess"):
        assert client.post("/act/test", data={"series": LEAD, "word": word}).status_code == 403
        assert client.post("/signout", data={"word": word}).status_code == 403
    assert requests(store) == before


def test_a_cookie_that_others_made_is_none(
    client: TestClient, store: Store, tmp_path: Path
) -> None:
    enter(client)
    mine = client.cookies["stackhog"]
    with TestClient(make_app(store, settings(tmp_path), lambda: NOW)) as other:
        other.cookies.set("stackhog", mine)  # signed with the word of another process
        assert "Sign out" not in other.get("/").text
        other.cookies.set("stackhog", mine[:-3])
        assert "Sign out" not in other.get("/").text
    shared = settings(tmp_path, web_secret="s" * 32)
    with TestClient(make_app(store, shared, lambda: NOW)) as one:
        enter(one)
        with TestClient(make_app(store, shared, lambda: NOW)) as two:
            two.cookies.set("stackhog", one.cookies["stackhog"])
            assert "Sign out" in two.get("/").text


def test_what_is_asked_for_is_done_and_written_down(client: TestClient, store: Store) -> None:
    word = enter(client)
    page = client.post("/act/test", data={"series": LEAD, "word": word})
    assert page.status_code == 200
    assert page.headers["cache-control"] == "private, no-store"
    assert requests(store) == ["waiting", "done"]
    client.post("/act/cancel", data={"series": LEAD, "word": word})
    assert requests(store) == ["cancelled", "done"]
    name = re.search(r'name="finding" value="([0-9a-f]+)"', page.text)
    assert name
    form = {"series": LEAD, "word": word, "finding": name[1], "reason": "known, and\nfine"}
    muted = client.post("/act/mute", data=form).text
    assert "muted: known, and fine" in muted
    assert f"Unmute {name[1]}" in muted
    assert f"Mute {name[1]}" in client.post("/act/unmute", data=form).text
    with store.reading() as session:
        found = dossier.read(session, LEAD, [LEAD])
    assert [(one.verb, one.sender, one.outcome) for one in found.commands] == [
        ("test", WHO, "a run is wanted"), ("cancel", WHO, "1 runs were cancelled"),
        ("mute", WHO, f"finding {name[1]} is muted"),
        ("unmute", WHO, f"finding {name[1]} is no longer muted"),
    ]  # fmt: skip


def test_what_cannot_be_done_is_told(client: TestClient) -> None:
    word = enter(client)
    for path, form in (
        ("/act/mute", {"series": LEAD, "finding": "abcdef0"}),
        ("/act/test", {"series": "nobody@x"}), ("/mail/drop", {"series": LEAD, "letter": "99"}),
    ):  # fmt: skip
        answer = client.post(path, data={**form, "word": word})
        assert answer.status_code == 400, path
        assert "<h1>This cannot be answered" in answer.text
    assert client.post("/act/rm", data={"series": LEAD, "word": word}).status_code == 404


def test_a_mail_that_waits_is_approved_or_dropped(client: TestClient, store: Store) -> None:
    word = enter(client)
    form = {"series": LEAD, "word": word, "letter": 1}
    assert "Approve mail 1" in client.get(f"/series/{LEAD}").text
    assert "Drop mail 1" in client.post("/mail/approve", data=form).text
    with store.reading() as session:
        letter = outbox.get(session, 1)
    assert letter is not None
    assert (letter.state, letter.reason) == (outbox.State.WAITING, f"approved by {WHO}")
    assert "Drop mail 1" not in client.post("/mail/drop", data=form).text
    assert client.post("/mail/drop", data=form).status_code == 400


def test_a_visit_ends(client: TestClient) -> None:
    word = enter(client)
    assert client.post("/signout", data={"word": word}).status_code == 200
    assert "Sign out" not in client.get("/").text


@pytest.mark.parametrize("line", ["owner@example.org", f"{WHO} short", f"{WHO} {'a' * 64} more"])
def test_a_file_of_tokens_that_cannot_be_read_is_told(tmp_path: Path, line: str) -> None:
    wrong = settings(tmp_path)
    assert wrong.web_tokens_file
    wrong.web_tokens_file.write_text(line)
    with pytest.raises(OursError, match="line 1 of"):
        signin.door(wrong)


def test_a_secret_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadSettingError, match="web_oidc_secret"):
        signin.door(settings(tmp_path, web_oidc_issuer="http://127.0.0.1:1"))


# OpenID Connect, at a real provider on this machine


@pytest.fixture
def issuer() -> Iterator[str]:
    claims = {
        "good": {"email": WHO, "email_verified": True},
        "stranger": {"email": "s@elsewhere.net", "email_verified": True},
        "unverified": {"email": WHO, "email_verified": False},
    }
    users = [oidc_provider_mock.User(sub=key, claims=one) for key, one in claims.items()]
    with oidc_provider_mock.run_server_in_thread(user_claims=users) as server:
        yield f"http://localhost:{server.server_port}"


def come_back(client: TestClient, sub: str) -> httpx.Response:
    """Go to the provider as somebody, and come back."""
    away = client.get("/signin/provider", follow_redirects=False)
    assert "code_challenge=" in away.headers["location"]
    there = httpx.post(away.headers["location"], data={"sub": sub}, follow_redirects=False)
    back = urlsplit(there.headers["location"])
    found: httpx.Response = client.get(f"{back.path}?{back.query}")
    return found


@pytest.mark.parametrize(("sub", "status"), [("good", 200), ("stranger", 403), ("unverified", 403)])
def test_a_provider_vouches_for_those_who_may(
    store: Store, tmp_path: Path, issuer: str, sub: str, status: int
) -> None:
    how = settings(
        tmp_path, web_oidc_issuer=issuer, web_oidc_secret=WORD, web_people=("*@example.org",)
    )
    with TestClient(make_app(store, how, lambda: NOW), base_url="http://localhost") as client:
        assert come_back(client, sub).status_code == status
        assert ("Sign out" in client.get("/").text) is (status == 200)
        assert client.get("/signin/done?code=x&state=forged").status_code == 403


def test_a_provider_that_is_away_is_told(store: Store, tmp_path: Path) -> None:
    how = settings(tmp_path, web_oidc_issuer="http://127.0.0.1:9", web_oidc_secret=WORD)
    with TestClient(make_app(store, how, lambda: NOW)) as client:
        answer = client.get("/signin/provider")
    assert (answer.status_code, "cannot be reached" in answer.text) == (502, True)


def test_a_series_with_findings_stays_as_it_is(client: TestClient, store: Store) -> None:
    word = enter(client)
    client.post("/act/mute", data={"series": LEAD, "word": word, "finding": "x", "reason": ""})
    with store.reading() as session:
        card = catalog.card(session, LEAD)
    assert card is not None
    assert card.standing is catalog.Standing.FINDINGS
