"""A real PostgreSQL: the same tests as on SQLite, and what only a server can do to us."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.store import engine, mails, outbox, parts, wishes
from bot.store.database import Store, StoreError
from bot.store.outbox import Letter, State
from bot.store.tables import CursorRow
from tests import stores
from tests.integration.conftest import ROOT, STACKHOG, one_line
from tests.stores import Cluster

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
SPAWN = multiprocessing.get_context("spawn")
MODULES = sorted(
    str(path.relative_to(ROOT))
    for room in ("unit", "integration")
    for path in (ROOT / "tests" / room).glob("test_*.py")
    if re.search(r"(?m)^from tests\.stores import .*\b(opened|STORES)\b", path.read_text())
)
ON_FILES = {"test_store.py", "test_deploy.py"}  # of SQLite alone; reads no rows


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[ET.Element, str]:
    """Run all tests that have a store on PostgreSQL; return what became of each, and the output."""
    report = tmp_path_factory.mktemp("report") / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--store",
               "postgresql", f"--junitxml={report}", *MODULES]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, check=False, text=True, capture_output=True)
    return ET.parse(report).getroot(), done.stdout  # noqa: S314 - pytest wrote it


@pytest.mark.parametrize("module", MODULES)
def test_what_holds_on_sqlite_holds_on_postgresql(
    module: str, outcomes: tuple[ET.Element, str]
) -> None:
    name = module.removesuffix(".py").replace("/", ".")
    cases = [one for one in outcomes[0].iter("testcase") if one.get("classname") == name]
    assert cases, outcomes[1]
    bad = [one.get("name") for one in cases if one.find("failure") is not None]
    bad += [one.get("name") for one in cases if one.find("error") is not None]
    assert bad == [], outcomes[1]
    assert not any(one.find("skipped") is not None for one in cases)


def test_no_test_opens_a_file_where_any_database_would_do() -> None:
    assert {"tests/unit/test_store.py", "tests/unit/test_outbox.py"} < set(MODULES)
    direct = {
        path.name for path in (ROOT / "tests" / "unit").glob("test_*.py")
        if re.search(r"(?m)^from bot\.store\.database import .*\bsqlite\b", path.read_text())
    }  # fmt: skip
    assert direct <= ON_FILES


# what only a server does


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with stores.server() as found:
        found.ask("CREATE ROLE app LOGIN SUPERUSER PASSWORD 'open sesame/?#'")
        yield found


@pytest.fixture
def store(cluster: Cluster) -> Iterator[Store]:
    found = Store(cluster.fresh())
    yield found
    found.close()


def put(store: Store, name: str) -> None:
    with store.session() as session:
        session.add(CursorRow(source=name, value="", changed=NOW))


def names(store: Store) -> list[str]:
    with store.reading() as session:
        return sorted(one.source for one in session.query(CursorRow))


def test_a_server_that_was_restarted_is_not_noticed(store: Store, cluster: Cluster) -> None:
    put(store, "a")
    cluster.stop()
    cluster.start()
    assert names(store) == ["a"]
    cluster.stop()
    cluster.start()
    put(store, "b")
    assert names(store) == ["a", "b"]


def test_a_server_that_restarts_is_waited_for(store: Store, cluster: Cluster) -> None:
    put(store, "a")
    cluster.stop(signal.SIGQUIT)
    waits = threading.Thread(target=put, args=(store, "b"))
    waits.start()
    time.sleep(0.5)
    cluster.start()
    waits.join()
    assert names(store) == ["a", "b"]


def interrupted(store: Store, by: Callable[[], object]) -> str:
    """Return what is said when something happens in the middle of a transaction."""

    def begin() -> None:
        with store.session() as session:
            session.add(CursorRow(source="a", value="", changed=NOW))
            session.flush()
            by()
            session.get(CursorRow, "b")

    with pytest.raises(StoreError, match="cannot be used now") as raised:
        begin()
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_a_transaction_that_loses_its_server_leaves_no_trace(
    store: Store, cluster: Cluster, how: signal.Signals
) -> None:
    interrupted(store, lambda: cluster.stop(how))
    cluster.start()
    assert names(store) == []
    put(store, "b")
    assert names(store) == ["b"]


def test_a_server_that_goes_right_before_the_commit_is_one_sentence(
    store: Store, cluster: Cluster
) -> None:
    def begin() -> None:
        with store.session() as session:
            session.add(CursorRow(source="a", value="", changed=NOW))
            session.flush()
            cluster.stop()

    with pytest.raises(StoreError, match="cannot be used now"):
        begin()
    cluster.start()
    assert names(store) == []


def test_a_session_that_an_operator_ends_is_one_sentence(store: Store, cluster: Cluster) -> None:
    ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
    said = interrupted(store, lambda: cluster.ask(f"{ends} 'stackhog'"))
    assert "terminating connection due to administrator command" in said
    put(store, "b")
    assert names(store) == ["b"]


def test_no_server_at_all_is_one_sentence(
    store: Store, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0.3)
    cluster.stop()
    try:
        began = time.monotonic()
        with pytest.raises(StoreError, match="cannot be used now"):
            put(store, "a")
        with pytest.raises(StoreError, match="cannot be brought up to date"):
            Store(cluster.url())
        assert time.monotonic() - began < 5
    finally:
        cluster.start()
    put(store, "b")
    assert names(store) == ["b"]


def test_who_stalls_keeps_the_others_waiting_only_so_long(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engine.SERVER, "lock_timeout", 200)
    monkeypatch.setitem(engine.SERVER, "idle_in_transaction_session_timeout", 1000)
    store = Store(cluster.fresh())

    def others() -> None:
        with pytest.raises(StoreError, match="lock timeout"):
            put(store, "b")
        time.sleep(1.2)
        put(store, "c")

    assert "idle-in-transaction timeout" in interrupted(store, others)
    assert names(store) == ["c"]
    store.close()


def work(url: str, number: int) -> None:
    """Do what the parts of a bot do, as one of several processes."""
    store = Store(url)
    for turn in range(25):
        mail = mails.Mail(
            message_id=f"m{turn}", source="list", written=NOW, sender="a@b", name="", subject="s",
            kind="patch", reason="", references=(), raw=b"x", settled=True,
        )  # fmt: skip
        with store.session() as session:
            mails.add(session, mail, NOW)
            wishes.want(session, f"s{turn}", {}, None, NOW)
            letter = Letter(f"l{turn}", "t", "b@x", ("a@x",), "s", State.WAITING, "", NOW, NOW, NOW)
            outbox.put(session, letter, b"mail")
            parts.count(session, "turns")
            parts.saw(session, "bot", "bot", {"number": number}, NOW)
        with store.session() as session:
            found = outbox.by_message_id(session, f"l{turn}")
            assert found is not None
            outbox.reserve(session, found, f"{number}", NOW)
    store.close()


def test_several_processes_put_everything_once(cluster: Cluster) -> None:
    url = cluster.fresh()
    some = [SPAWN.Process(target=work, args=(url, number)) for number in range(4)]
    for one in some:
        one.start()
    for one in some:
        one.join()
    assert [one.exitcode for one in some] == [0, 0, 0, 0]
    store = Store(url)
    with store.session() as session:
        assert parts.counted(session) == {("turns", ""): 100}
        assert len(wishes.waiting(session)) == 25
        letters = outbox.listed(session, tuple(State))
        assert [(one.state, one.attempts) for one in letters] == [(State.RESERVED, 1)] * 25
    store.close()


def test_a_process_that_is_killed_in_a_transaction_holds_nobody_up(cluster: Cluster) -> None:
    url = cluster.fresh()
    held = SPAWN.Event()
    one = SPAWN.Process(target=hold, args=(url, held))
    one.start()
    assert held.wait(30)
    assert one.pid is not None
    os.kill(one.pid, signal.SIGKILL)
    store = Store(url)
    began = time.monotonic()
    put(store, "b")
    assert time.monotonic() - began < 5
    assert names(store) == ["b"]
    store.close()


def hold(url: str, held: threading.Event) -> None:
    with Store(url).session() as session:
        session.add(CursorRow(source="a", value="", changed=NOW))
        session.flush()
        held.set()
        time.sleep(600)


def test_a_database_that_cannot_keep_all_text_is_refused(cluster: Cluster) -> None:
    url = cluster.empty("ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    with pytest.raises(StoreError, match=r"keeps text as SQL_ASCII: make the database with"):
        Store(url)


# the password


@pytest.fixture
def home(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's home whose store asks for a password."""
    url = cluster.empty()
    name = url.partition("@/")[2].partition("?")[0]
    monkeypatch.setenv("STACKHOG_HOME", str(tmp_path))
    monkeypatch.setenv("STACKHOG_STORE_URL", cluster.url(name, "app"))
    return tmp_path


def stackhog(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*STACKHOG, *words], cwd=ROOT, check=False, text=True, capture_output=True
    )


def test_the_password_comes_out_of_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "password").write_text("open sesame/?#\n")
    monkeypatch.setenv("STACKHOG_STORE_PASSWORD_FILE", str(home / "password"))
    done = stackhog("outbox", "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert not (home / "data" / "store.db").exists()


def test_a_wrong_password_is_told_and_not_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "password").write_text("close sesame")
    monkeypatch.setenv("STACKHOG_STORE_PASSWORD_FILE", str(home / "password"))
    done = stackhog("-v", "outbox", "list")
    assert done.returncode == 3
    assert "password authentication failed" in one_line(done.stderr)
    assert "sesame" not in done.stderr + done.stdout
