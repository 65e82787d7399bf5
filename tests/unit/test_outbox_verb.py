from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bot import settings
from bot.mail.outbox import OutboxError, Place
from bot.settings import BadSettingError, Settings
from bot.verbs.outbox import command, opened, password, server
from tests.unit.test_outbox import ANN, mail

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
SECRET = "hunter two"  # noqa: S105 - no server has it


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STACKHOG_HOME", str(tmp_path))
    monkeypatch.setenv("STACKHOG_CONFIG", str(tmp_path / "none.toml"))
    return tmp_path


def put(number: int = 1, to: str = ANN) -> None:
    opened().put(mail(number, to), Place(f"t{number}"), NOW)


def known(**given: object) -> Settings:
    return Settings(**given)  # type: ignore[arg-type]


def run(*words: str) -> Result:
    return CliRunner().invoke(command, words, catch_exceptions=False)


def test_a_list_has_state_due_to_subject_and_reason() -> None:
    put(to=f"{ANN}, bob@example.org")
    done = run("list")
    assert done.stdout.splitlines() == [
        "    1  held       2026-01-05 12:00  ann@example.org +1  Re: [PATCH] 1",
        "       dry-run: nothing is sent",
    ]
    assert done.stderr == "outbox: dry-run: nothing is sent\n"


def test_what_is_over_is_listed_when_asked_for() -> None:
    put(1)
    put(2)
    run("drop", "2")
    numbers = [
        [one["id"] for one in json.loads(run("list", "--json", *words).stdout)]
        for words in ((), ("--all",), ("--state", "dropped"), ("--state", "sent"))
    ]
    assert numbers == [[1], [1, 2], [2], []]


def test_json_has_all_that_a_script_may_need() -> None:
    put()
    (found,) = json.loads(run("list", "--json").stdout)
    assert found["to"] == [ANN]
    assert found["message_id"] == "stackhog-1@example.com"
    assert set(found) == {
        "id", "state", "due", "to", "subject", "reason", "message_id", "thread", "series", "kind",
        "attempts", "created", "changed",
    }  # fmt: skip
    shown = json.loads(run("show", "1", "--json").stdout)
    assert shown["mail"].endswith("\n\nGrüße\n")
    assert [step["stage"] for step in shown["trace"]] == ["held"]


def test_show_prints_the_mail_as_it_is_sent_and_its_trace() -> None:
    put()
    run("approve", "1")
    said = run("show", "1").stdout
    assert "Message-ID: <stackhog-1@example.com>\n" in said
    assert "\nGrüße\n" in said
    assert "held       dry-run: nothing is sent\n" in said
    assert "waiting    approved by " in said


def test_in_dry_run_send_says_so_and_sends_nothing() -> None:
    put()
    run("approve", "1")
    done = run("send")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "dry-run: nothing is sent" in done.stderr


def test_an_unknown_mail_is_named() -> None:
    put()
    for verb in ("show", "approve", "drop"):
        with pytest.raises(OutboxError, match="there is no mail 9"):
            run(verb, "9")


@pytest.mark.parametrize("words", [("list", "--state", "gone"), ("drop",), ("show", "x")])
def test_wrong_usage_is_status_2(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_stop_and_go_turn_the_switch() -> None:
    assert "sending is stopped: by " in run("stop").stderr
    assert "sending is stopped" in run("list").stderr
    assert "sending is stopped" not in run("go").stderr + run("list").stderr


def test_no_bad_setting_of_a_server_and_no_bad_policy_keeps_anybody_from_stopping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> None:
        raise ValueError

    monkeypatch.setenv("STACKHOG_SENDING", "send")
    monkeypatch.setattr("policies.lists.load", broken)
    with pytest.raises(ValueError):  # noqa: PT011 - the one from above
        run("send")
    assert run("stop").exit_code == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sending", "Send"),
        ("smtp_tls", "ssl"),
        ("smtp_port", "0"),
        ("smtp_port", "65536"),
        ("list_cap", "0"),
        ("person_cap", "-1"),
        ("thread_limit", "many"),
        ("embargo_hours", "-1"),
        ("embargo_hours", "nan"),
    ],
)
def test_a_typo_stops_the_start_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"STACKHOG_{name.upper()}", value)
    with pytest.raises(BadSettingError, match=name):
        settings.load()


def test_whoever_sends_needs_a_server() -> None:
    assert server(known(sending="dry-run")) is None
    with pytest.raises(BadSettingError, match="smtp_host"):
        server(known(sending="moderate"))


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("implicit", 465), ("none", 25)])
def test_the_port_follows_from_the_protection(tls: str, port: int) -> None:
    there = known(sending="send", smtp_host="localhost", smtp_tls=tls)
    found = server(there)
    assert found is not None
    assert (found.port, found.user, found.password) == (port, None, "")
    other = server(there.model_copy(update={"smtp_port": 2525}))
    assert other is not None
    assert other.port == 2525


def test_a_password_comes_from_its_file_or_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "secret").write_text(f"{SECRET}\n")
    by_file = known(smtp_user="me", smtp_password_file=home / "secret")
    assert password(by_file) == SECRET
    monkeypatch.setenv("STACKHOG_SMTP_PASSWORD", "another")
    assert password(known(smtp_user="me")) == "another"
    assert password(known(smtp_user="me", smtp_password_file=home / "secret")) == SECRET
    assert password(known()) == ""


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_password_that_cannot_be_had_is_named(home: Path, content: bytes | None) -> None:
    if content is not None:
        (home / "secret").write_bytes(content)
    with pytest.raises(BadSettingError, match="smtp_password_file"):
        password(known(smtp_user="me", smtp_password_file=home / "secret"))


def test_a_password_is_in_no_text_made_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKHOG_SMTP_PASSWORD", SECRET)
    assert SECRET not in repr(settings.load()) + settings.load().model_dump_json()
    monkeypatch.setenv("STACKHOG_SENDING", "Send")
    with pytest.raises(BadSettingError) as raised:
        settings.load()
    assert SECRET not in str(raised.value)


def test_a_store_may_be_elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKHOG_STORE_URL", f"sqlite:///{home}/other.db")
    put()
    assert (home / "other.db").exists()
    assert not (home / "data").exists()
