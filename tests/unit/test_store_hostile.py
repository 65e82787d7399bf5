"""Mail that a database would refuse: nothing of it may raise, and all of it is found again."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.mail import message
from bot.mail.following import Fetched
from bot.service import intake
from bot.service.intake import Patience
from bot.store import cursors, jobs, mails, mutes, outbox, parts, wishes
from bot.store import series as kept
from bot.store.database import Store
from bot.store.kinds import ID_BYTES, MOST
from bot.store.mails import Mail
from bot.store.mutes import Muted
from bot.store.outbox import Letter
from bot.store.outbox import State as Sent
from bot.store.series import Found, State
from bot.store.wishes import Asked
from tests.letters import letter, sending
from tests.stores import opened

NOW = datetime(2026, 1, 6, 9, 0, tzinfo=UTC)
NUL, LONE, WIDE = "a\0b", "a\ud800b\udfff", "\N{LINEAR B SYLLABLE B008 A}"
UNPACKED = "".join(chr(0x10000 + (n * 7919) % 0xF0000) for n in range(998))  # no way to pack it
TEXTS = [NUL, LONE, UNPACKED, "x" * 5000, "\x01\x7f\u202e\ufffe", ""]
IDS = ["nul", "surrogates", "unpacked", "long", "odd", "empty"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return opened(tmp_path / "store.db")


def mail(message_id: str, text: str, written: datetime = NOW) -> Mail:
    return Mail(
        message_id=message_id, source=text, written=written, sender=text, name=text, subject=text,
        kind="patch", reason=text, references=(text, message_id), raw=b"\0\xff", settled=False,
    )  # fmt: skip


def found(lead: str, text: str, number: int = 1) -> Found:
    return Found(
        lead=lead, title=text, plain=text, version=number, total=number, missing=(number,),
        problem=text, submitter=text, date=NOW, change_id=text, supersedes=text, partial=False,
        members=((lead, number),),
    )  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=IDS)
def test_any_text_is_stored_and_found_again(store: Store, text: str) -> None:
    with store.session() as session:
        assert mails.add(session, mail("a", text), NOW)
        assert not mails.add(session, mail("a", text), NOW)
        assert mails.neighbours(session, mails.unsettled(session)) == [b"\0\xff"]
        assert kept.put(session, [found("a", text)], NOW, [NOW]) == ("a",)
        kept.put(session, [found("a", text)], NOW, [NOW])
        assert len(kept.due(session, NOW, list(State))) == 1
        assert kept.former(session, found("b", text, 2)) == "a"
        assert kept.having(session, "a") == ("a",)
        assert "a" in kept.lineage(session, "a")
        kept.mark(session, "a", State.READY, text)
        cursors.put(session, text, text, NOW)
        assert (cursors.get(session, text) == "") is (text == "")


@pytest.mark.parametrize("text", TEXTS, ids=IDS)
def test_any_message_id_is_stored_once(store: Store, text: str) -> None:
    with store.session() as session:
        assert mails.add(session, mail(text, "x"), NOW)
        assert not mails.add(session, mail(text, "x"), NOW)
        assert mails.has(session, text)
        kept.put(session, [found(text, "x")], NOW, [NOW])
        assert kept.get(session, text) is not None


@pytest.mark.parametrize("text", TEXTS, ids=IDS)
def test_a_series_of_any_message_id_is_the_same_the_second_time(store: Store, text: str) -> None:
    with store.session() as session:
        mails.add(session, mail(text, text), NOW)
        assert len(kept.put(session, [found(text, text)], NOW, [NOW])) == 1
        assert kept.put(session, [found(text, text)], NOW, [NOW]) == ()


@pytest.mark.parametrize("text", TEXTS, ids=IDS)
def test_whatever_is_asked_and_answered_is_stored(store: Store, text: str) -> None:
    asked = Asked(text, 1, text, text, {text: [text]}, text, allowed=True, reason=text,
                  signature=text, form=text)  # fmt: skip
    posted = Letter(
        message_id=text, thread=text, sender=text, recipients=(text,), subject=text,
        state=Sent.HELD, reason=text, due=NOW, created=NOW, changed=NOW, series=text,
    )  # fmt: skip
    with store.session() as session:
        number = wishes.audit(session, asked, text, NOW)
        assert number is not None
        assert wishes.audit(session, asked, text, NOW) is None
        assert wishes.signed_before(session, text) is not None
        wanted = wishes.want(session, text, {text: text}, number, NOW)
        assert wishes.waiting(session)[0].args == {text: text}
        wishes.put_off(session, wanted, text, NOW)
        assert mutes.add(session, text, Muted(text, text, text, text), NOW)
        kept_letter, new = outbox.put(session, posted, b"\0")
        assert (new, outbox.put(session, posted, b"\0")[1]) == (True, False)
        there = outbox.by_message_id(session, text)
        assert there is not None
        assert there.id == kept_letter.id
        assert outbox.replied(session, text) is False
        parts.saw(session, text, "worker", {text: text}, NOW)
        parts.saw(session, text, "worker", {text: text}, NOW)
        parts.count(session, "jobs", text)
        parts.count(session, "jobs", text)
        assert list(parts.counted(session).values()) == [2]
        jobs.want(session, jobs.New("k", "build", "{}", 1.0), wanted, 1, NOW)
        jobs.send(session, "k", "k-1", "", NOW, NOW)
        jobs.began(session, "k-1", text, NOW, NOW)
        assert jobs.step(session, "k-1", text, NOW)
        assert jobs.give_up(session, "k-1", text, NOW)


@pytest.mark.parametrize("number", [MOST, MOST + 1, 2**63, 10**20, -(10**20)])
def test_any_number_is_stored(store: Store, number: int) -> None:
    with store.session() as session:
        mails.add(session, mail("a", "x"), NOW)
        kept.put(session, [found("a", "x", number)], NOW, [NOW])
        row = kept.get(session, "a")
        assert row is not None
        assert abs(row.version) == min(abs(number), MOST)
        assert row.missing == (number,)
        assert kept.former(session, found("b", "x", number)) is None


@pytest.mark.parametrize("year", [1, 1970, 9999])
def test_mail_of_the_first_and_the_last_day_has_neighbours(store: Store, year: int) -> None:
    when = datetime(year, 12 if year > 1 else 1, 31 if year > 1 else 1, tzinfo=UTC)
    with store.session() as session:
        mails.add(session, mail("a", "x", when), NOW)
        assert len(mails.neighbours(session, mails.unsettled(session))) == 1


def test_a_hostile_mail_does_not_stop_the_others(store: Store) -> None:
    late = re.compile(rb"(?m)^Date: .*$")
    hostile = [
        letter("[PATCH v99999999999999999999] v", id="1", sender="A <a@x>"),
        letter("[PATCH v99999999999] w", id="2", sender="B <b@x>"),
        late.sub(
            b"Date: 31 Dec 9999 23:59:59 +0000", letter("[PATCH] x", id="3", sender="C <c@x>")
        ),
        letter("[PATCH] =?utf-8?q?=00=ED=A0=80?=", id="4\0", sender="D\0 <d\0@x>"),
        letter("[PATCH] y", id=UNPACKED, sender="E <e@x>"),
        letter(f"[PATCH] {'y' * 5000}", id="x" * 998, sender="F <f@x>"),
        letter("[PATCH] z", id="7", sender=f"{WIDE * 100} <{'z' * 900}@x>"),
    ]
    for raw in hostile:
        intake.take(store, "list", Fetched(raw, ""), NOW)
    for raw in sending("a", 2):
        intake.take(store, "list", Fetched(raw, ""), NOW)
    assert "a-0" in intake.settle(store, NOW, Patience())
    assert intake.settle(store, NOW, Patience()) == ()
    with store.session() as session:
        assert all(kept.having(session, one) for one in ("1", "2", "3", "4", "x" * 998, "7"))


def test_a_message_id_that_no_index_takes_is_none() -> None:
    raw = letter("[PATCH] x", id="1").replace(b"<1>", f"<{WIDE * 250}>".encode())
    assert len((WIDE * 250).encode()) > ID_BYTES
    taken = message.parse(raw)
    assert (taken.identified, taken.message_id.endswith("@no-id.invalid")) == (False, True)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(text=st.text(max_size=1200), number=st.integers(), when=st.datetimes(timezones=st.just(UTC)))
def test_nothing_that_can_be_written_is_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, number: int, when: datetime
) -> None:
    store = opened(tmp_path_factory.getbasetemp() / "hostile" / "store.db")
    with store.session() as session:
        mails.add(session, mail(text, text, when), NOW)
        assert mails.has(session, text)
        mails.neighbours(session, mails.unsettled(session))
        kept.put(session, [found(text, text, number)], NOW, [when])
        assert kept.get(session, text) is not None
        kept.due(session, NOW + timedelta(days=1), list(State))
