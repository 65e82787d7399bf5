"""Backups of stores that are in use, large, or killed; from one database to the other."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, func, select
from sqlalchemy.orm import Session

from bot.store import address, backup, engine, mails, schema
from bot.store.backup import AT_ONCE, Place
from bot.store.database import Store
from bot.store.dump import BackupError
from bot.store.mails import Mail
from bot.store.tables import CursorRow, MailRow
from tests import released, stores
from tests.integration.conftest import ROOT, STACKHOG, one_line
from tests.released import ROWS
from tests.stores import Cluster

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
HEAD = schema.revisions()[0]
FULL = sum(map(len, ROWS[HEAD].values()))
SPAWN = multiprocessing.get_context("spawn")
BOTH = ("sqlite", "postgresql")
LARGE = 400  # mails of MAIL bytes
MAIL = 250_000
MEMORY = 160  # megabytes that copying takes, of which Python and the libraries have 90


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with stores.server() as found:
        yield found


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> str:
    return empty(request.param, cluster, tmp_path / "store.db")


def empty(kind: str, cluster: Cluster, path: Path) -> str:
    return cluster.empty() if kind == "postgresql" else f"sqlite:///{path}"


def stackhog(url: str, home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*STACKHOG, *map(str, words)], cwd=ROOT, check=False, text=True, capture_output=True,
        env={**os.environ, "STACKHOG_HOME": str(home), "STACKHOG_STORE_URL": url},
    )  # fmt: skip


def content(url: str) -> released.Rows:
    there = engine.connect(address.parse(url))
    with engine.begun(engine.reader(there)) as connection:
        found = released.rows(connection, ROWS[HEAD])
    there.dispose()
    return found


@pytest.mark.parametrize("to", BOTH)
def test_a_store_moves_to_either_database(
    url: str, cluster: Cluster, tmp_path: Path, to: str
) -> None:
    there = engine.connect(address.parse(url))
    with schema.altering(there) as connection:
        released.fill(connection, HEAD)
    there.dispose()
    file, new = tmp_path / "backup.gz", empty(to, cluster, tmp_path / "new.db")
    saved = stackhog(url, tmp_path, "backup", file)
    assert (saved.returncode, saved.stderr) == (0, f"{FULL} rows saved\n")
    done = stackhog(new, tmp_path, "restore", file, "--trust")
    assert done.returncode == 0
    assert done.stderr.startswith(f"{FULL} rows restored, as of 20")
    assert content(new) == content(url) == ROWS[HEAD]
    again = stackhog(new, tmp_path, "restore", file)
    assert again.returncode == 2
    assert "is not empty (" in one_line(again.stderr)
    listed = stackhog(new, tmp_path, "outbox", "list", "--state", "waiting")
    assert "Re: Grüße" in listed.stdout


def test_without_trust_the_operator_is_told_what_to_look_at(
    url: str, cluster: Cluster, tmp_path: Path
) -> None:
    there = engine.connect(address.parse(url))
    with schema.altering(there) as connection:
        released.fill(connection, HEAD)
    there.dispose()
    file, new = tmp_path / "backup.gz", cluster.empty()
    assert stackhog(url, tmp_path, "backup", file).returncode == 0
    done = stackhog(new, tmp_path, "restore", file)
    assert "3 mails may have been sent since: see `stackhog outbox list`" in done.stderr
    listed = stackhog(new, tmp_path, "outbox", "list").stdout
    assert listed.count("restored from a backup of") == 3


def test_what_is_wrong_is_one_sentence(url: str, tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("From: somebody\n")
    done = stackhog(url, tmp_path, "restore", tmp_path / "mail")
    assert (done.returncode, bool(one_line(done.stderr))) == (2, True)
    done = stackhog(url, tmp_path, "backup", tmp_path / "no" / "where")
    assert (done.returncode, bool(one_line(done.stderr))) == (2, True)  # there is no store yet
    Store(url).close()
    done = stackhog(url, tmp_path, "backup", tmp_path / "no" / "where")
    assert (done.returncode, bool(one_line(done.stderr))) == (3, True)


def test_a_backup_is_one_moment_while_others_write(
    url: str, cluster: Cluster, tmp_path: Path
) -> None:
    """A writer adds a mail and a cursor in each transaction: a backup has as many of both."""
    store, stop = Store(url), threading.Event()
    written: list[float] = []

    def write() -> None:
        while not stop.is_set():
            with store.session() as session:
                put(session, str(len(written)), b"x" * 2000)
                session.add(CursorRow(source=str(len(written)), value="", changed=NOW))
            written.append(time.monotonic())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        counts = []
        for number in range(5):
            time.sleep(0.1)
            began = time.monotonic()
            backup.save(Place(url), tmp_path / "b.gz", "0.1", NOW)
            assert any(began < one for one in written[-1:])  # nobody waited for us
            new = empty(("postgresql", "sqlite")[number % 2], cluster, tmp_path / f"{number}.db")
            backup.load(Place(new), tmp_path / "b.gz", NOW)
            counts.append(counted(new))
    finally:
        stop.set()
        writer.join()
        store.close()
    assert all(there == cursors for there, cursors in counts)
    assert 0 < counts[0][0] < counts[-1][0] <= len(written)


def put(session: Session, name: str, raw: bytes) -> None:
    mail = Mail(name, "list", NOW, "a@b", "", "s", "patch", "", (), raw, settled=True)
    mails.add(session, mail, NOW)


def counted(url: str) -> tuple[int, int]:
    store = Store(url)
    with store.reading() as session:
        found = [session.scalar(select(func.count()).select_from(one)) for one in (MailRow, CursorRow)]  # noqa: E501 # fmt: skip
    store.close()
    return found[0] or 0, found[1] or 0


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the backup of a large store, made by a process that keeps to its memory."""
    home = tmp_path_factory.mktemp("large")
    store, chance = Store(f"sqlite:///{home}/store.db"), random.Random(1)  # noqa: S311 - no secret
    for at in range(0, LARGE, 50):
        with store.session() as session:
            for number in range(at, at + 50):
                put(session, str(number), chance.randbytes(MAIL))
    store.close()
    assert (home / "store.db").stat().st_size > LARGE * MAIL
    assert measured(f"backup.save(Place('sqlite:///{home}/store.db'), Path('{home}/b'), '', now)") < MEMORY  # noqa: E501 # fmt: skip
    return home / "b"


def measured(statement: str) -> int:
    """Return the megabytes that a process takes at most to do something."""
    lines = (
        "from datetime import UTC, datetime", "from pathlib import Path",
        "from bot.store import backup", "from bot.store.backup import Place",
        "now = datetime.now(UTC)", statement,
        "status = Path('/proc/self/status').read_text()",  # ru_maxrss has the parent's in it
        "print(int(status.partition('VmHWM:')[2].split()[0]) // 1024)",
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, check=True, text=True,
        capture_output=True,
    )  # fmt: skip
    return int(done.stdout)


def test_a_large_store_is_copied_in_little_memory(large: Path, url: str, tmp_path: Path) -> None:
    assert measured(f"backup.load(Place('{url}'), Path('{large}'), now)") < MEMORY
    assert counted(url) == (LARGE, 0)
    assert measured(f"backup.save(Place('{url}'), Path('{tmp_path}/b'), '', now)") < MEMORY
    assert (tmp_path / "b").stat().st_size < 1.1 * LARGE * MAIL


def restore(url: str, file: Path) -> None:
    backup.load(Place(url), file, NOW)


def restore_and_die(url: str, file: Path, statement: str, at: int) -> None:
    """Restore a backup; the process is killed before that statement is made for the nth time."""
    number = itertools.count(1)

    def look(*words: object) -> None:
        if str(words[2]).strip().startswith(statement) and next(number) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", look)
    restore(url, file)


@pytest.mark.parametrize(
    ("statement", "at"),
    [("CREATE TABLE", 3), ("INSERT INTO mails", 1), ("INSERT INTO mails", LARGE // AT_ONCE)],
)
def test_a_restore_that_is_killed_leaves_nothing(
    large: Path, url: str, statement: str, at: int
) -> None:
    one = SPAWN.Process(target=restore_and_die, args=(url, large, statement, at))
    one.start()
    one.join()
    assert one.exitcode == -signal.SIGKILL
    restore(url, large)
    assert counted(url) == (LARGE, 0)


def test_of_two_restores_at_once_one_is_refused(large: Path, url: str) -> None:
    said: list[str] = []

    def attempt() -> None:
        try:
            restore(url, large)
        except BackupError as error:
            said.append(str(error))

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(said) == 1
    assert "is not empty" in said[0]
    assert counted(url) == (LARGE, 0)
