from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from bot.store import address, engine, mails, parts, wishes
from bot.store.database import Store, StoreError, sqlite
from bot.store.schema import MIGRATIONS
from bot.store.tables import CursorRow, MuteRow
from tests.stores import opened

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
MAIL = mails.Mail(
    message_id="", source="list", written=NOW, sender="a@b", name="", subject="s", kind="patch",
    reason="", references=(), raw=None, settled=True,
)  # fmt: skip


def row(name: str, value: str = "1") -> CursorRow:
    return CursorRow(source=name, value=value, changed=NOW)


def test_what_was_stored_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    store = opened(tmp_path / "deep" / "store.db")
    with store.session() as session:
        session.add(row("a", "where"))
    store.close()
    with opened(tmp_path / "deep" / "store.db").session() as session:
        found = session.get(CursorRow, "a")
        assert found is not None
        assert found.value == "where"


def test_a_time_comes_back_with_its_zone(tmp_path: Path) -> None:
    store = opened(tmp_path / "store.db")
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
    store = opened(tmp_path / "store.db")

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
    store = opened(tmp_path / "store.db")
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
    assert MIGRATIONS.is_dir()


def test_a_reader_sees_one_state_and_waits_for_no_writer(tmp_path: Path) -> None:
    store = opened(tmp_path / "store.db")
    with store.session() as session:
        session.add(row("a", "before"))
    with store.session() as writer, store.reading() as reader:
        assert reader.get_one(CursorRow, "a").value == "before"
        writer.get_one(CursorRow, "a").value = "after"
        writer.flush()
        writer.commit()
        reader.expire_all()
        assert reader.get_one(CursorRow, "a").value == "before"
    with store.reading() as reader:
        assert reader.get_one(CursorRow, "a").value == "after"


def test_what_is_looked_up_may_be_acted_upon(tmp_path: Path) -> None:
    """Eight threads put what is not there: none is refused, and it is there once."""
    store, added = opened(tmp_path / "store.db"), []
    wait = threading.Barrier(8)

    def put() -> None:
        wait.wait()
        for number in range(10):
            with store.session() as session:
                mail = replace(MAIL, message_id=str(number))
                if mails.add(session, mail, NOW):
                    added.append(mail.message_id)
                wishes.want(session, str(number), {}, None, NOW)
                parts.count(session, "mails")
                parts.saw(session, str(number), "bot", {}, NOW)

    threads = [threading.Thread(target=put) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(added) == [str(number) for number in range(10)]
    with store.session() as session:
        assert len(wishes.waiting(session)) == 10
        assert parts.counted(session) == {("mails", ""): 80}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:sesame@nowhere.invalid/x", "postgres://me:sesame@nowhere.invalid/x",
        "postgresql://me@nowhere.invalid/x?password=sesame", "sesame", "mysql://me:sesame@h/x",
        "postgresql+pg8000://me:sesame@h/x", "postgresql://me:sesame@h:port/x",
    ],
)  # fmt: skip
def test_no_password_is_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0.1)
    with pytest.raises(StoreError) as raised:
        Store(url)
    said: BaseException | None = raised.value
    assert "\n" not in str(said)
    while said is not None:
        assert "sesame" not in str(said)
        said = said.__cause__


def test_a_password_has_its_place() -> None:
    found = address.parse("postgresql://me@db.example.org/x", "open sesame")
    assert found.url.password == "open sesame"  # noqa: S105 - a test's
    assert str(found) == "postgresql+psycopg://me:***@db.example.org/x"
    assert "sesame" not in repr(found)
    with pytest.raises(StoreError, match="no passwords"):
        address.parse("sqlite:///x", "sesame")


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    store = sqlite(tmp_path / "store.db")
    with store.session() as session:
        session.add(row("a"))
        pages = session.connection().exec_driver_sql("PRAGMA page_count").scalar()
    with store.session() as session:
        session.connection().exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError, match="disk is full") as raised, store.session() as session:
        session.add(row("b", "x" * 100_000))
    assert "\n" not in str(raised.value)
    with store.session() as session:
        assert session.get(CursorRow, "a") is not None
        assert session.get(CursorRow, "b") is None


def test_a_mistake_of_ours_is_no_outage(tmp_path: Path) -> None:
    store = opened(tmp_path / "store.db")
    with pytest.raises(IntegrityError), store.session() as session:
        session.execute(insert(MuteRow), [mute(1), mute(1)])
    with store.session() as session:
        assert session.get(MuteRow, 1) is None


def mute(number: int) -> dict[str, object]:
    texts = dict.fromkeys(("series", "fingerprint", "reason", "by", "message_id"), "")
    return {"id": number, "at": NOW, **texts}
