"""Tables come from nothing, and from every schema that was released, with what is in them."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Text, create_engine, inspect, text

from bot.store import address, engine, jobs, mails, mutes, outbox, schema, wishes
from bot.store import series as kept
from bot.store.database import Store, StoreError
from bot.store.tables import Base
from tests import released
from tests.released import RELEASED, ROWS
from tests.stores import STORES

HEAD = schema.revisions()[0]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return STORES.empty(tmp_path / "store.db")


@pytest.fixture
def engine_(url: str) -> Iterator[Engine]:
    found = engine.connect(address.parse(url))
    yield found
    found.dispose()


def filled(engine_: Engine, revision: str) -> None:
    with schema.altering(engine_) as connection:
        released.fill(connection, revision)


def test_migrations_make_the_tables_that_the_code_has(engine_: Engine) -> None:
    with schema.altering(engine_) as connection:
        schema.upgrade(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert set(inspect(connection).get_table_names()) >= set(Base.metadata.tables)


def test_migrations_go_back(engine_: Engine) -> None:
    with schema.altering(engine_) as connection:
        schema.upgrade(connection)
        schema.downgrade(connection, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]


def test_every_revision_has_rows_in_every_table(engine_: Engine) -> None:
    assert set(ROWS) == set(schema.revisions())
    script = ScriptDirectory.from_config(schema.alembic_config())
    assert schema.revisions() == tuple(one.revision for one in script.walk_revisions())
    for revision in sorted(ROWS):
        with schema.altering(engine_) as connection:
            schema.upgrade(connection, revision)
            tables = released.reflected(connection).tables
            columns = {name: {one.name for one in table.c} for name, table in tables.items()}
        assert columns == {name: set(rows[0]) for name, rows in ROWS[revision].items()}


@pytest.mark.parametrize("revision", RELEASED)
def test_what_was_released_stays_as_it_is(tmp_path: Path, revision: str) -> None:
    there = (released.HERE / f"{revision}.sql").read_text()
    assert released.dump(tmp_path / "made.db", revision) == there


@pytest.mark.parametrize("revision", RELEASED)
def test_a_file_that_was_released_is_brought_up_to_date(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "old.db"
    raw = sqlite3.connect(path)
    raw.executescript((released.HERE / f"{revision}.sql").read_text())
    raw.close()
    read_all(Store(f"sqlite:///{path}"))


@pytest.mark.parametrize("revision", sorted(ROWS))
def test_rows_stay_on_the_way_up_and_down(url: str, engine_: Engine, revision: str) -> None:
    filled(engine_, revision)
    read_all(Store(url))
    with schema.altering(engine_) as connection:
        assert schema.revision(connection) == HEAD
        assert released.rows(connection, ROWS[revision]) == ROWS[revision]
        schema.downgrade(connection, revision)
        assert released.rows(connection, ROWS[revision]) == ROWS[revision]
    read_all(Store(url))


def read_all(store: Store) -> None:
    """Read what ROWS has by the code's own ways."""
    with store.session() as session:
        assert mails.has(session, "a-0@x")
        assert len(mails.neighbours(session, [3])) == 1
        series = kept.get(session, "a-0@x")
        assert series is not None
        assert (series.title, series.state) == ("Grüße", kept.State.INSIDE)
        assert kept.having(session, "a-0@x") == ("a-0@x",)
        (wanted,) = wishes.waiting(session)
        assert (wanted.asked_by, wanted.args) == ("m@x", {"jobs": ["build"]})
        assert wishes.latest(session, "a-0@x") == "{}"
        assert mutes.of(session, ["a-0@x"])[0].reason == "known"
        letters = outbox.listed(session, tuple(outbox.State))
        assert [one.id for one in letters] == [6, 7, 8, 9, 10]
        assert outbox.raw(session, 6).endswith("Grüße\r\n".encode())
        assert outbox.trace(session, 9)[0].said == "250 taken"
        number = wishes.want(session, "another", {}, None, letters[0].due)
        jobs.want(session, jobs.New("new", "build", "{}", 1.0), number, 1, letters[0].due)
        session.rollback()
    store.close()


def test_many_that_start_at_once_make_one_store(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    some = [context.Process(target=Store, args=(url,)) for _ in range(4)]
    for one in some:
        one.start()
    for one in some:
        one.join()
    assert [one.exitcode for one in some] == [0, 0, 0, 0]


@pytest.mark.parametrize("revision", [None, *RELEASED])
def test_threads_that_start_at_once_wait_for_the_first(
    url: str, engine_: Engine, revision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if revision:
        filled(engine_, revision)
    made, wait, upgrade = [], threading.Barrier(6), schema.upgrade
    found: list[Store] = []

    def count(connection: Connection) -> None:
        made.append(connection)
        upgrade(connection)

    monkeypatch.setattr(schema, "upgrade", count)

    def start() -> None:
        wait.wait()
        found.append(Store(url))

    threads = [threading.Thread(target=start) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (len(found), len(made)) == (6, 1)
    for store in found:
        store.close()


def test_a_newer_store_is_refused_and_stays_as_it_is(url: str, engine_: Engine) -> None:
    filled(engine_, HEAD)
    with schema.altering(engine_) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("CREATE TABLE later (id INTEGER)"))
        before = released.rows(connection, ROWS[HEAD])
    with pytest.raises(StoreError, match=r"made by a newer stackhog: its schema is 9999") as raised:
        Store(url)
    assert "\n" not in str(raised.value)
    with schema.altering(engine_) as connection:
        assert schema.revision(connection) == "9999"
        assert released.rows(connection, ROWS[HEAD]) == before


def test_an_upgrade_that_breaks_leaves_the_store_as_it_was(
    url: str, engine_: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(engine_, "0001")
    upgrade = schema.upgrade

    def breaks(connection: Connection) -> None:
        upgrade(connection)
        connection.exec_driver_sql("SELECT * FROM nowhere")

    monkeypatch.setattr(schema, "upgrade", breaks)
    with pytest.raises(StoreError, match="cannot be brought up to date"):
        Store(url)
    monkeypatch.undo()
    with schema.altering(engine_) as connection:
        assert schema.revision(connection) == "0001"
        assert released.rows(connection, ROWS["0001"]) == ROWS["0001"]
    read_all(Store(url))


def test_a_table_that_others_refer_to_may_be_made_anew(engine_: Engine) -> None:
    filled(engine_, HEAD)
    with schema.altering(engine_) as connection:
        changes = Operations(MigrationContext.configure(connection))
        sqlite = engine_.dialect.name == "sqlite"
        always: Literal["always", "never"] = "always" if sqlite else "never"
        with changes.batch_alter_table("mails", recreate=always) as mails_:
            mails_.alter_column("subject", nullable=True, existing_type=Text())
        with changes.batch_alter_table("series", recreate=always) as series:
            series.alter_column("title", nullable=True, existing_type=Text())
        assert released.rows(connection, ROWS[HEAD]) == ROWS[HEAD]


def test_a_row_that_refers_to_none_stops_a_migration_of_sqlite(tmp_path: Path) -> None:
    there = engine.connect(address.parse(f"sqlite:///{tmp_path / 'store.db'}"))
    filled(there, HEAD)

    def lose() -> None:
        with schema.altering(there) as connection:
            connection.execute(text("DELETE FROM mails"))

    with pytest.raises(StoreError, match="would refer to none of mails"):
        lose()
    with engine.begun(there) as connection:
        assert released.rows(connection, ROWS[HEAD]) == ROWS[HEAD]
    there.dispose()


def test_a_store_in_memory_of_sqlite_has_the_tables_as_well() -> None:
    with create_engine("sqlite://").begin() as connection:
        schema.upgrade(connection)
        assert schema.revision(connection) == HEAD
