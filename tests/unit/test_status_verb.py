from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bot.store import outbox, parts
from bot.store.database import Store
from bot.verbs import screen
from bot.verbs.status import command
from bot.web import health, standing
from bot.web.living import living
from tests import history
from tests.history import NOW, at
from tests.stores import STORES, opened


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    path = tmp_path / "data" / "store.db"
    monkeypatch.setenv("STACKHOG_HOME", str(tmp_path))
    monkeypatch.setenv("STACKHOG_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("STACKHOG_STORE_URL", STORES.url(path))
    monkeypatch.setenv("COLUMNS", "100")
    return opened(path)


def run(*words: str) -> Result:
    return CliRunner().invoke(command, words, catch_exceptions=False)


def alive(store: Store, **facts: object) -> None:
    with store.session() as session:
        history.lives(session, datetime.now(UTC), **facts)
        history.works(session, seen=datetime.now(UTC))


def needs(store: Store) -> list[str]:
    return [f"{one.what}: {one.action}" for one in standing.look(store, NOW).needs]


def test_with_nobody_running_it_says_so(store: Store) -> None:
    done = run()
    assert done.exit_code == 3
    assert "no bot was seen yet: start `stackhog serve` or `stackhog watch`" in done.stdout
    with store.session() as session:
        history.lives(session, datetime(2026, 1, 5, 9, 0, tzinfo=UTC))
    done = run()
    assert "no bot was seen since 2026-01-05 09:00 UTC" in done.stdout
    assert "hogfast:7" in done.stdout
    assert "Nothing needs you" not in done.stdout


def test_when_all_is_well_the_status_is_0(store: Store) -> None:
    alive(store)
    done = run()
    assert done.exit_code == 0
    assert done.stdout.endswith("Nothing needs you.\n")
    assert "w1" in done.stdout
    assert "3.0 of 20.0" in done.stdout


def test_one_screen_has_all_of_it(store: Store) -> None:
    alive(store)
    with store.session() as session:
        history.series(session, "lead", "ext4: [bold]less[/bold] \x1b[31mstack")
        number = history.run(session, "lead", at(-90), "running", started=at(-80))
        history.job(
            session, "k" * 64, "build", "running", at(-80), number, started=at(-70), worker="w1",
            step="patch 2 of 3",
        )  # fmt: skip
        history.series(session, "other", "mm: other")
        failed = history.run(session, "other", at(-90), "failed", "no gcc here", ended=at(-5))
        history.job(
            session, "f" * 64, "build", "broken", at(-80), failed, outcome="broken", failures=6,
            reason="no gcc here", ended=at(-5),
        )  # fmt: skip
        history.post(session, "m", "sent", at(-50))
        history.source(session, "mbox:/in", at(-20))
    done = run()
    lines = done.stdout.splitlines()
    assert any("ext4: [bold]less[/bold] [31mstack: patch 2 of 3" in line for line in lines)
    assert "\x1b" not in done.stdout
    assert any("mm: other: no gcc here" in line for line in lines)
    assert any(line.split()[:2] == ["f" * 12, "build"] for line in lines)
    assert any("mbox:/in" in line for line in lines)
    assert done.exit_code == 3
    assert max(map(len, lines)) <= 100
    assert len(lines) < 45


def test_json_has_all_that_a_script_may_need(store: Store) -> None:
    alive(store)
    with store.session() as session:
        history.job(session, "k", "build", "ready", at(-80))
        parts.count(session, "lost", "build")
    done = run("--json")
    found = json.loads(done.stdout)
    assert found["ok"] is (done.exit_code == 0)
    assert found["figures"]["jobs"] == [["build", "ready", 1]]
    assert found["figures"]["counters"] == [["lost", "build", 1]]
    assert found["figures"]["lines"][0]["oldest"] == at(-80).isoformat()
    assert found["living"]["workers"][0]["queues"] == ["build", "stack", "stress"]
    assert set(found) == {"ok", "at", "living", "figures", "overview", "needs"}


def test_what_needs_an_operator_is_told_with_what_to_do(store: Store) -> None:
    with store.session() as session:
        history.lives(session, broker=False, unread=["mbox:/gone"])
        history.works(session, queues=["build"], disk_free=1 << 30)
        history.job(session, "k", "stress", "ready", at(-8000))
        history.run(session, "lead", at(-90), "failed", "x", ended=at(-5))
        for state in ("uncertain", "failed", "failed", "held", "dropped"):
            history.post(session, f"{state}{datetime.now(UTC)}", state, at(-50))
        outbox.turn(session, NOW, "by jane")
    found = needs(store)
    assert [one.partition(":")[0] for one in found[:1]] == ["the bot does not reach its broker"]
    for words in (
        "the source mbox:/gone could not be read", "no worker serves the queue stack",
        "no worker serves the queue stress", "a stress job has waited for 2 hours",
        "hogfast has 1.0 GiB of disk left", "1 run was given up by our fault",
        "`stackhog retry --all`", "sending is stopped: by jane", "1 mail is uncertain",
        "2 mails are failed",
    ):  # fmt: skip
        assert any(words in one for one in found), words
    assert len(found) == 10


def test_what_is_below_each_limit_needs_nobody(store: Store) -> None:
    with store.session() as session:
        history.lives(session, at(-59))
        history.works(session, disk_free=4 << 30)
        history.job(session, "k", "build", "ready", at(-7200))
        history.post(session, "h", "held", at(-90_000))
        history.run(session, "lead", at(-90), "refused", "x", ended=at(-5))
    assert needs(store) == []


def test_stress_jobs_are_served_where_kvm_is(store: Store) -> None:
    with store.session() as session:
        history.lives(session)
        history.works(session, queues=["build", "stack", "kvm"])
        history.job(session, "k", "stress", "ready", at(-5))
    assert needs(store) == []


def test_readiness_has_a_reason_for_each_thing(store: Store) -> None:
    def reasons(**facts: object) -> tuple[str, ...]:
        with store.session() as session:
            history.lives(session, at(-59), **facts)
        return health.look(store, NOW)

    assert health.look(store, NOW) == (
        "no bot was ever seen", "no worker serves the queue build",
        "no worker serves the queue stack",
    )  # fmt: skip
    with store.session() as session:
        history.works(session, queues=["build", "stack"])
    assert reasons() == ()
    assert reasons(broker=False) == ("the bot does not reach its broker",)
    with store.session() as session:
        history.works(session, queues=["build", "stack"], draining=True)
    assert len(reasons()) == 2
    assert health.look(store, at(2)) == (
        "no bot was seen for 61 seconds", "no worker serves the queue build",
        "no worker serves the queue stack",
    )  # fmt: skip


def test_a_store_of_another_version_is_not_ready(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.store.schema.revisions", lambda: ("9999",))
    assert health.look(store, NOW) == ("the store is not of this version",)


def test_nobody_lives_in_an_empty_store() -> None:
    found = living((), NOW)
    assert (found.last, found.bots, found.workers) == (None, (), ())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"),
     (172_799, "47 h"), (172_800, "2 d"), (-5, "0 s")],
)  # fmt: skip
def test_how_long_ago_is_said_in_one_unit(seconds: int, said: str) -> None:
    assert screen.ago(NOW - timedelta(seconds=seconds), NOW) == said
    assert screen.ago(None, NOW) == "-"
