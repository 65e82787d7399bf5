"""What is saved is what is restored, all or nothing, and nothing is sent twice for it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.mail.outbox import Outbox
from bot.mail.outbox import Place as Thread
from bot.mail.outrules import Mode, Rules
from bot.store import address, backup, dump, engine, mails, outbox, schema, wishes
from bot.store.backup import Place
from bot.store.database import Store, StoreError
from bot.store.dump import BackupError
from bot.store.mails import Mail
from bot.store.outbox import Letter, State
from tests import released
from tests.released import ROWS, Rows
from tests.stores import STORES, opened

NOW = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
MADE = NOW - timedelta(days=1)
HEAD = schema.revisions()[0]
FULL = sum(map(len, ROWS[HEAD].values()))


def filled(url: str, revision: str = HEAD) -> Place:
    there = engine.connect(address.parse(url))
    with schema.altering(there) as connection:
        released.fill(connection, revision)
    there.dispose()
    return Place(url)


def content(place: Place, like: Rows = ROWS[HEAD]) -> Rows:
    there = engine.connect(address.parse(place.url))
    with engine.begun(engine.reader(there)) as connection:
        found = released.rows(connection, like)
    there.dispose()
    return found


def empty(tmp_path: Path, name: str = "new") -> Place:
    return Place(STORES.empty(tmp_path / name / "store.db"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    place = filled(STORES.empty(tmp_path / "old.db"))
    assert backup.save(place, tmp_path / "backup.gz", "0.1", MADE) == sum(
        map(len, ROWS[HEAD].values())
    )
    return tmp_path / "backup.gz"


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_every_row_comes_back(tmp_path: Path, saved: Path) -> None:
    place = empty(tmp_path)
    found = backup.load(place, saved, NOW, trust=True)
    assert (found.rows, found.held) == (FULL, 0)
    assert found.made.startswith("2026-01-31T12:00")
    assert content(place) == ROWS[HEAD]


def test_numbers_go_on_after_the_last(tmp_path: Path, saved: Path) -> None:
    place = empty(tmp_path)
    backup.load(place, saved, NOW, trust=True)
    store = Store(place.url)
    with store.session() as session:
        assert wishes.want(session, "another", {}, None, NOW) == 5
        assert put(session, "new").id == 11
    store.close()


def put(session: outbox.Session, name: str) -> Letter:
    letter = Letter(name, "t", "bot@x", ("a@x",), "s", State.WAITING, "", NOW, NOW, NOW)
    return outbox.put(session, letter, b"mail")[0]


@pytest.mark.parametrize("revision", sorted(ROWS))
def test_an_older_backup_is_brought_up_to_date(tmp_path: Path, revision: str) -> None:
    old = filled(STORES.empty(tmp_path / "old.db"), revision)
    backup.save(old, tmp_path / "backup.gz", "0.1", MADE)
    assert content(old, ROWS[revision]) == ROWS[revision]
    place = empty(tmp_path)
    backup.load(place, tmp_path / "backup.gz", NOW, trust=True)
    assert content(place, ROWS[revision]) == ROWS[revision]
    Store(place.url).close()


def test_it_may_be_restored_into_a_store_that_was_opened_and_never_used(
    tmp_path: Path, saved: Path
) -> None:
    opened(tmp_path / "new.db").close()
    backup.load(Place(STORES.url(tmp_path / "new.db")), saved, NOW, trust=True)
    assert content(Place(STORES.url(tmp_path / "new.db"))) == ROWS[HEAD]


def test_a_store_that_is_in_use_is_refused(tmp_path: Path, saved: Path) -> None:
    store = opened(tmp_path / "new.db")
    with store.session() as session:
        put(session, "mine")
    place = Place(STORES.url(tmp_path / "new.db"))
    with pytest.raises(BackupError, match=r"is not empty \(outbox\)"):
        backup.load(place, saved, NOW)
    with store.session() as session:
        assert [one.message_id for one in outbox.listed(session, tuple(State))] == ["mine"]


def test_tables_of_others_are_left_alone(tmp_path: Path, saved: Path) -> None:
    place = empty(tmp_path)
    there = engine.connect(address.parse(place.url))
    with engine.begun(there) as connection:
        connection.exec_driver_sql("CREATE TABLE payroll (id INTEGER)")
    there.dispose()
    with pytest.raises(BackupError, match="none of ours"):
        backup.load(place, saved, NOW)


def test_what_is_not_there_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="there is no store"):
        backup.save(empty(tmp_path), tmp_path / "b", "0.1", MADE)
    assert not (tmp_path / "b").exists()


def test_a_backup_is_for_nobody_else_and_replaced_only_when_it_is_whole(
    tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert saved.stat().st_mode & 0o777 == 0o600
    before = saved.read_bytes()
    monkeypatch.setattr(dump.Writer, "end", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        backup.save(Place(STORES.url(tmp_path / "old.db")), saved, "0.1", MADE)
    assert saved.read_bytes() == before
    assert [one for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def test_the_same_store_gives_the_same_bytes(tmp_path: Path, saved: Path) -> None:
    again = tmp_path / "again.gz"
    backup.save(Place(STORES.url(tmp_path / "old.db")), again, "0.1", MADE)
    assert again.read_bytes() == saved.read_bytes()


Damage = Callable[[list[Any]], list[Any]]


def changed(at: int, **values: object) -> Damage:
    return lambda found: [
        {**line, **values} if number == at % len(found) else line
        for number, line in enumerate(found)
    ]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda found: found[:-1], "ends too early"),
        (lambda found: found[:5], "ends too early"),
        (lambda found: [*found, {}], "something follows"),
        (changed(-1, sha256="0" * 64), "checksum"),
        (changed(-1, rows=1), "checksum"),
        (changed(1, columns=["id"]), "not that of its schema"),
        (changed(1, columns=None), "no columns"),
        (changed(1, table="payroll"), "payroll is not that of its schema"),
        (lambda found: [[] if isinstance(one, list) else one for one in found], "a value is none"),
        (lambda found: [one for one in found if not isinstance(one, list)], "rows are missing"),
        (lambda found: [found[0], *found[4:]], "is damaged"),
        (lambda found: [found[0], found[-1]], "checksum"),
        (lambda found: [found[0], [1]], "a row is where none may be"),
        (changed(0, name="tar"), "is no backup of a store"),
        (changed(0, format=2), "made by a newer stackhog"),
        (changed(0, revision="9999"), "made by a newer stackhog: its schema is 9999"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_whole_changes_nothing(
    tmp_path: Path, saved: Path, damage: Damage, said: str
) -> None:
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in damage(lines(saved)))
    saved.write_bytes(gzip.compress(text.encode()))
    refused(tmp_path, saved, said)


def refused(tmp_path: Path, path: Path, said: str) -> None:
    place = empty(tmp_path)
    with pytest.raises(BackupError, match=said) as raised:
        backup.load(place, path, NOW)
    assert "\n" not in str(raised.value)
    there = engine.connect(address.parse(place.url))
    with engine.begun(engine.reader(there)) as connection:
        assert released.reflected(connection).tables == {}
    there.dispose()


def test_bytes_that_are_damaged_change_nothing(tmp_path: Path, saved: Path) -> None:
    whole = saved.read_bytes()
    for at in range(20, len(whole), len(whole) // 12):
        saved.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        refused(tmp_path, saved, "damaged|no backup|newer")
        saved.write_bytes(whole[:at])
        refused(tmp_path, saved, "damaged")
    saved.write_bytes(b"From: somebody\n")
    refused(tmp_path, saved, "damaged")


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)  # fmt: skip
VALUES = st.tuples(TEXT, st.binary(max_size=300), st.datetimes(timezones=st.just(UTC)), JSON)


@settings(deadline=None, max_examples=5, suppress_health_check=list(HealthCheck))
@given(st.lists(VALUES, min_size=10, max_size=200))
def test_any_value_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[tuple[str, bytes, datetime, object]],
) -> None:
    home = tmp_path_factory.mktemp("values")
    store = opened(home / "one.db")
    with store.session() as session:
        for text, raw, when, anything in values:
            mails.add(session, Mail(text, text, when, text, text, text, "patch", text, (text,), raw,
                                    settled=True), NOW)  # fmt: skip
            wishes.want(session, text, {"x": anything}, None, when)
    store.close()
    old, new = Place(STORES.url(home / "one.db")), empty(home)
    backup.save(old, home / "b", "0.1", MADE)
    backup.load(new, home / "b", NOW, trust=True)
    assert content(new) == content(old)


# after a restore


def test_what_may_have_been_sent_waits_for_a_person(tmp_path: Path, saved: Path) -> None:
    place = empty(tmp_path)
    assert backup.load(place, saved, NOW).held == 3
    store = Store(place.url)
    with store.session() as session:
        found = {one.id: one for one in outbox.listed(session, tuple(State))}
        steps = [step.stage for step in outbox.trace(session, 7)]
        assert outbox.counted(session, "jane@x", MADE - timedelta(days=99), 0) == (
            found[9].created,
        )
    store.close()
    assert {key: one.state for key, one in found.items()} == {
        6: State.HELD, 7: State.HELD, 8: State.UNCERTAIN, 9: State.SENT, 10: State.HELD,
    }  # fmt: skip
    assert found[6].reason.startswith("restored from a backup of 2026-01-31T12:00")
    assert found[6].approved is None
    assert steps == ["held"]


def answer(number: int, to: str) -> EmailMessage:
    found = EmailMessage(policy=SMTP)
    found["From"], found["To"], found["Subject"] = "bot@x.example", "ann@x.example", "Re: x"
    found["Message-ID"], found["In-Reply-To"] = f"<stackhog-{number}@x.example>", f"<{to}>"
    found.set_content("text\n")
    return found


def test_what_is_answered_again_waits_and_what_came_back_is_sent(
    tmp_path: Path, saved: Path
) -> None:
    place = empty(tmp_path)
    backup.load(place, saved, NOW)
    store = Store(place.url)
    box = Outbox(store, Rules(mode=Mode.SEND))
    hour = timedelta(hours=1)
    with store.session() as session:
        for name, when in (
            ("old", NOW - hour), ("fresh", NOW + hour), ("stackhog-3@x.example", NOW - hour),
        ):  # fmt: skip
            mails.add(session, Mail(name, "list", when, "", "", "", "other", "", (), None,
                                    settled=True), NOW + hour)  # fmt: skip
    states = {}
    for number, parent in ((1, "old"), (2, "fresh"), (3, "old"), (4, "unknown")):
        letter = box.put(answer(number, parent), Thread(f"t{number}"), NOW + hour)
        states[number] = letter.state
    assert states == {1: State.HELD, 2: State.WAITING, 3: State.SENT, 4: State.HELD}
    store.close()


def test_what_is_trusted_goes_on_as_it_was(tmp_path: Path, saved: Path) -> None:
    place = empty(tmp_path)
    backup.load(place, saved, NOW, trust=True)
    store = Store(place.url)
    box = Outbox(store, Rules(mode=Mode.SEND))
    assert box.get(6).state is State.WAITING
    assert box.put(answer(1, "old"), Thread("t"), NOW).state is State.WAITING
    store.close()


def test_a_store_that_is_away_is_one_sentence(
    tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0.1)
    (tmp_path / "none.db").write_bytes(b"no database at all, but long enough to be read" * 100)
    for url in (f"sqlite:///{tmp_path}/none.db", "postgresql://me@nowhere.invalid/x"):
        with pytest.raises(StoreError):
            backup.save(Place(url), tmp_path / "x", "0.1", MADE)
        with pytest.raises(StoreError):
            backup.load(Place(url), saved, NOW)
