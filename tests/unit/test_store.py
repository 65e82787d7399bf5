from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from bot.store import database
from bot.store.database import Store, StoreError, alembic_config, sqlite
from bot.store.tables import Base, CursorRow

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def row(name: str, value: str = "1") -> CursorRow:
    return CursorRow(source=name, value=value, changed=NOW)


def test_migrations_make_the_tables_that_the_code_has() -> None:
    with create_engine("sqlite://").begin() as connection:
        command.upgrade(alembic_config(connection), "head")
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert set(inspect(connection).get_table_names()) >= set(Base.metadata.tables)


def test_migrations_go_back() -> None:
    with create_engine("sqlite://").begin() as connection:
        command.upgrade(alembic_config(connection), "head")
        command.downgrade(alembic_config(connection), "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]


def test_what_was_stored_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    store = sqlite(tmp_path / "deep" / "store.db")
    with store.session() as session:
        session.add(row("a", "where"))
    store.close()
    with sqlite(tmp_path / "deep" / "store.db").session() as session:
        found = session.get(CursorRow, "a")
        assert found is not None
        assert found.value == "where"


def test_a_time_comes_back_with_its_zone(tmp_path: Path) -> None:
    store = sqlite(tmp_path / "store.db")
    with store.session() as session:
        there = row("a")
        there.changed = NOW.astimezone(timezone(timedelta(hours=5)))
        session.add(there)
    with store.session() as session:
        found = session.get(CursorRow, "a")
        assert found is not None
        assert found.changed == NOW
        assert found.changed.tzinfo is UTC


def test_a_session_that_breaks_leaves_no_trace(tmp_path: Path) -> None:
    store = sqlite(tmp_path / "store.db")

    def broken() -> None:
        with store.session() as session:
            session.add(row("a"))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    with store.session() as session:
        assert session.get(CursorRow, "a") is None


def test_two_writers_wait_for_one_another(tmp_path: Path) -> None:
    store = sqlite(tmp_path / "store.db")
    with store.session() as session:
        session.add(row("n", "0"))

    def count() -> None:
        for _ in range(20):
            with store.session() as session:
                found = session.get(CursorRow, "n")
                assert found is not None
                found.value = str(int(found.value) + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    with store.session() as session:
        found = session.get(CursorRow, "n")
        assert found is not None
        assert found.value == "80"


def test_a_store_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database at all, but long enough to be read" * 100)
    with pytest.raises(StoreError, match="cannot be brought up to date"):
        sqlite(tmp_path / "store.db")
    with pytest.raises(StoreError, match="no database"):
        Store("nonsense://x")


def test_references_are_kept(tmp_path: Path) -> None:
    with sqlite(tmp_path / "store.db").session() as session:
        assert session.connection().exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        mode = session.connection().exec_driver_sql("PRAGMA journal_mode").scalar()
    assert mode == "wal"
    assert database.MIGRATIONS.is_dir()
