from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.mail.imap import Imap
from bot.mail.maildir import Maildir
from bot.mail.mbox import Mbox
from bot.settings import BadSettingError, Settings, load
from bot.verbs import watching
from tests.letters import letter, mbox


def settings(**changes: object) -> Settings:
    made = Settings()  # type: ignore[call-arg] # pydantic-settings fills the fields
    return made.model_copy(update=changes)


def test_a_source_is_named_by_a_url(tmp_path: Path) -> None:
    assert isinstance(watching.source(f"maildir:{tmp_path}", settings()), Maildir)
    assert isinstance(watching.source(f"mbox:{tmp_path}/box", settings()), Mbox)
    known = settings(imap_password=SecretStr("very secret"), imap_security="starttls")
    found = watching.source("imap://jane%40x@mail.example.org:1143/lists/mm", known)
    assert isinstance(found, Imap)
    assert "mail.example.org" in found.name
    assert "lists/mm" in found.name
    assert "secret" not in found.name


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gopher://x", "gopher: is none that is known"),
        ("imap://mail.example.org/INBOX", "names no server and user"),
        ("imap://jane@:143/INBOX", "names no server and user"),
        ("imap://jane@host:many/INBOX", "names no server and user"),
        ("imap://jane@host/INBOX", "imap_password_file: there is no password"),
    ],
)
def test_a_bad_url_is_one_sentence(url: str, said: str) -> None:
    with pytest.raises(BadSettingError, match=said):
        watching.source(url, settings())


def test_a_password_comes_out_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the file\n")
    known = settings(imap_password_file=tmp_path / "secret")
    assert isinstance(watching.source("imap://jane@host/INBOX", known), Imap)
    gone = settings(imap_password_file=tmp_path / "none")
    with pytest.raises(BadSettingError, match=r"imap_password_file: .*none cannot be read"):
        watching.source("imap://jane@host/INBOX", gone)


def test_what_a_command_asks_for_is_what_is_run() -> None:
    everything = watching.asked({})
    assert (everything.stack, everything.stress, everything.profiles) == (True, True, ())
    some = watching.asked({"jobs": ["build", "stack"], "base": "v6.1", "config": "debug"})
    assert (some.stack, some.stress, some.base, some.config) == (True, False, "v6.1", "debug")
    assert watching.asked({"profile": "memcg"}).profiles == ("memcg",)
    assert watching.asked({"profiles": ["memcg", "quick"]}).profiles == ("memcg", "quick")


def test_a_pipe_is_read_once() -> None:
    mails = [letter("[PATCH] p", id="1"), letter("[PATCH] q", id="2")]
    piped = watching.Piped(io.BytesIO(mbox(mails)))
    assert [one.raw for one in piped.follow("")] == [one.rstrip(b"\n") + b"\n" for one in mails]
    piped.wait(60)


def test_the_pause_ends_with_the_stop() -> None:
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    watching.pause([], 60, stop)
    assert time.monotonic() - began < 30


def test_a_list_that_is_none_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKHOG_OPERATORS", "jane@example.org")
    with pytest.raises(BadSettingError, match=r"\"operators\".*write a list as"):
        load()
    monkeypatch.setenv("STACKHOG_OPERATORS", '["jane@example.org"]')
    assert load().operators == ("jane@example.org",)
