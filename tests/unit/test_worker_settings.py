"""`stackhog settings`: every setting, where it came from, and what does not go together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bot import crosscheck
from bot.cli import cli
from bot.settings import Settings, load
from bot.verbs import settings as verb


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*Settings.model_fields, "slot", "slots"]:
        monkeypatch.delenv(f"STACKHOG_{name.upper()}", raising=False)
    monkeypatch.setenv("STACKHOG_CONFIG", str(tmp_path / "stackhog.toml"))


def run(tmp_path: Path, text: str, *words: str) -> Result:
    (tmp_path / "stackhog.toml").write_text(text)
    return CliRunner().invoke(cli, ["settings", *words])


def test_each_setting_says_where_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKHOG_TREE", "next")
    found = run(tmp_path, 'slots = 3\ntree = "old"\n', "--json")
    assert found.exit_code == 0
    record = json.loads(found.stdout)
    settings = {one["name"]: one for one in record["settings"]}
    assert set(settings) == set(Settings.model_fields)
    assert record["file"] == str(tmp_path / "stackhog.toml")
    assert (settings["slots"]["value"], settings["slots"]["source"]) == (
        "3", f"file {tmp_path / 'stackhog.toml'}",
    )  # fmt: skip
    assert (settings["tree"]["value"], settings["tree"]["source"]) == (
        "next", "environment STACKHOG_TREE",
    )  # fmt: skip
    assert settings["kernel_config"]["source"] == "default"
    assert settings["build_memory"]["unit"] == "bytes"
    assert settings["poll_seconds"]["unit"] == "seconds"
    assert settings["smtp_user"]["value"] == "none"
    assert all(one["description"] for one in settings.values())


def test_no_secret_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("geheim\n")
    monkeypatch.setenv("STACKHOG_SMTP_PASSWORD", "geheim")
    text = (
        'broker_url = "rediss://me:geheim@h/0"\nsmtp_user = "u"\n'
        f'imap_password_file = "{secret}"\n'
        'sources = ["imaps://u:geheim@mail.example.org/INBOX"]\n'
        'store_url = "postgresql://u:geheim@h/db"\n'
    )
    for words in ((), ("--explain",), ("--json",)):
        found = run(tmp_path, text, *words)
        assert found.exit_code == 0, found.output
        assert "geheim" not in found.output
        assert "***" in found.output
        assert f"{secret} (readable)" in found.output


def test_a_misspelt_variable_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKHOG_SLOT", "3")
    found = run(tmp_path, "", "--explain")
    assert found.exit_code == 0
    assert "warning: STACKHOG_SLOT is no setting: STACKHOG_SLOTS is meant?" in found.stderr
    assert "jobs a worker runs at a time" in found.stdout
    assert "warning" not in run(tmp_path, "").output


def test_all_problems_are_told(tmp_path: Path) -> None:
    found = run(tmp_path, 'broker_ca = "/none"\nsmtp_user = "u"\nqueues = ["biuld"]\n')
    assert found.exit_code == 2
    said = found.stderr.splitlines()
    assert len(said) == 4
    assert all(line.startswith("stackhog: settings are wrong (") for line in said)
    record = json.loads(run(tmp_path, 'smtp_user = "u"\n', "--json").stdout)
    assert record["problems"] == ["smtp_user: there is no password for it: name smtp_password_file"]


PROBLEMS = [
    ({"broker_ca": "{file}"}, "broker_ca: there is no broker_url"),
    ({"broker_password_file": "{file}"}, "broker_password_file: there is no broker_url"),
    ({"broker_url": "http://h"}, "broker_url: it begins with redis://"),
    ({"broker_url": "redis://h", "broker_ca": "{file}"}, "write it as rediss://"),
    ({"broker_url": "redis://:p@h", "broker_password_file": "{file}"}, "holds a password too"),
    ({"broker_url": "rediss://h", "broker_ca": "/none"}, "broker_ca: /none cannot be read"),
    ({"dkim_keys": "/none"}, "dkim_keys: /none cannot be read"),
    ({"s3_endpoint": "http://h"}, "s3_endpoint: there is no artifacts_url"),
    ({"artifacts_url": "http://h"}, "artifacts_url: it begins with s3://"),
    ({"artifacts_url": "s3://b", "s3_secret_key_file": "{file}"}, "go together"),
    ({"smtp_user": "u"}, "smtp_user: there is no password"),
    ({"smtp_password_file": "{file}"}, "there is no smtp_user"),
    ({"sending": "send"}, "sending: 'send' needs an smtp_host"),
    ({"sources": ["imap://u@h/INBOX"]}, "there is no password for IMAP"),
    ({"queues": ["kvm", "x"]}, "queues: there is no queue x"),
    ({"worker_name": "a b"}, "worker_name: it must be one word"),
    ({"lost_seconds": 9}, "lost_seconds: a job gives a sign every 5 s"),
    ({"store_password_file": "{file}"}, "there is no store_url"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "said"), PROBLEMS, ids=[said for _, said in PROBLEMS])
def test_what_does_not_go_together_is_named(
    tmp_path: Path, given: dict[str, object], said: str
) -> None:
    file = tmp_path / "file"
    file.touch()
    text = "".join(
        f"{name} = {json.dumps(value)}\n".replace("{file}", str(file))
        for name, value in given.items()
    )
    (tmp_path / "stackhog.toml").write_text(text)
    found = crosscheck.problems(load())
    assert len(found) == 1, found
    assert said in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        'broker_url = "rediss://h"\nbroker_ca = "{file}"\nbroker_password_file = "{file}"\n',
        'artifacts_url = "s3://b"\ns3_access_key_file = "{file}"\ns3_secret_key_file = "{file}"\n',
        'smtp_user = "u"\nsmtp_password_file = "{file}"\nsmtp_host = "h"\nsending = "send"\n',
        'queues = ["build", "kvm"]\nworker_name = "w"\nlost_seconds = 10\n',
    ],
)
def test_what_goes_together_is_no_problem(tmp_path: Path, text: str) -> None:
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "stackhog.toml").write_text(text.replace("{file}", str(file)))
    assert crosscheck.problems(load()) == ()


def test_a_file_that_is_no_toml_is_one_sentence(tmp_path: Path) -> None:
    found = run(tmp_path, "home = [")
    assert found.exception is not None
    assert "is no TOML" in str(found.exception)


def test_units_follow_from_names() -> None:
    assert verb.unit("series_minutes") == "minutes"
    assert verb.unit("since_days") == "days"
    assert verb.unit("embargo_hours") == "hours"
    assert verb.unit("slots") == ""
    assert set(Settings.model_fields) >= verb.BYTES
