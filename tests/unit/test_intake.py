from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.mail.following import Fetched
from bot.service import intake
from bot.service.intake import Patience
from bot.store import cursors, mails, wishes
from bot.store import series as kept
from bot.store.database import Store
from bot.store.series import Kept, State
from tests.letters import letter, sending
from tests.stores import opened

NOW = datetime(2026, 1, 6, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVER = NOW + timedelta(days=1000)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return opened(tmp_path / "store.db")


def feed(store: Store, *raws: bytes, now: datetime = NOW) -> tuple[str, ...]:
    """Take mails in, then put them together."""
    for number, raw in enumerate(raws):
        intake.take(store, "list", Fetched(raw, str(number)), now)
    return intake.settle(store, now, Patience())


def rows(store: Store) -> dict[str, Kept]:
    """Return all series by lead, of which all were due some day."""
    with store.session() as session:
        return {one.lead: one for one in kept.due(session, EVER, list(State))}


def states(store: Store) -> dict[str, tuple[State, str]]:
    return {lead: (one.state, one.reason) for lead, one in rows(store).items()}


def test_mail_and_cursor_are_stored_together(store: Store) -> None:
    first = intake.take(store, "list", Fetched(letter("[PATCH] p", id="1"), "7"), NOW)
    again = intake.take(store, "list", Fetched(letter("[PATCH] p", id="1"), "8"), NOW)
    assert (first.new, again.new) == (True, False)
    with store.session() as session:
        assert cursors.get(session, "list") == "8"
        assert cursors.get(session, "other") == ""
        assert mails.has(session, "1")
        assert not mails.has(session, "2")


def test_only_what_may_be_part_of_a_series_keeps_its_bytes(store: Store) -> None:
    feed(store, letter("[PATCH] p", id="1"), letter("Re: [PATCH] p", "Yes.\n", id="2"))
    with store.session() as session:
        assert mails.raw(session, ["1", "2"]) == [letter("[PATCH] p", id="1")]
        assert mails.has(session, "2")


def test_a_whole_series_is_there_at_once(store: Store) -> None:
    assert feed(store, *sending("a", 2)) == ("a-0",)
    intake.give_up(store, NOW)
    assert states(store) == {"a-0": (State.READY, "")}
    series = intake.load(store, "a-0")
    assert series is not None
    assert series.complete
    assert [patch.index for patch in series.patches] == [1, 2]
    assert intake.load(store, "nobody") is None


def test_a_series_waits_is_marked_and_looked_at_again(store: Store) -> None:
    box = sending("a", 3)
    feed(store, *box[:2])
    intake.give_up(store, NOW + HOUR - timedelta(seconds=1))
    assert states(store) == {"a-0": (State.WAITING, "")}
    intake.give_up(store, NOW + HOUR)
    assert states(store) == {"a-0": (State.INCOMPLETE, "patch 2/3, 3/3 did not come")}
    assert feed(store, box[2], now=NOW + 2 * HOUR) == ("a-0",)
    assert states(store)["a-0"] == (State.WAITING, "")
    feed(store, box[3], now=NOW + 3 * HOUR)
    intake.give_up(store, NOW + 3 * HOUR)
    assert states(store) == {"a-0": (State.READY, "")}


def test_what_does_not_come_is_looked_for_in_an_archive(store: Store) -> None:
    box = sending("a", 3)
    feed(store, *box[:2])
    assert intake.unfinished(store, NOW) == ()
    assert intake.unfinished(store, NOW + HOUR) == ("a-0",)
    assert intake.complete(store, ["a-0"], lambda _: box, NOW + HOUR) == 2
    intake.settle(store, NOW + HOUR, Patience())
    assert intake.unfinished(store, EVER) == ()
    assert rows(store)["a-0"].missing == ()


def test_a_cut_patch_is_a_reason(store: Store) -> None:
    cut = letter("[PATCH] p", "Why.\n---\n mm/one.c | 2 +-\n 1 file changed\n", id="1")
    feed(store, cut)
    intake.give_up(store, NOW + HOUR)
    assert states(store)["1"] == (
        State.INCOMPLETE, "patch 1: there is no diff in the mail",
    )  # fmt: skip


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(chance=st.randoms(use_true_random=False))
def test_the_order_and_the_pace_of_arrival_are_of_no_account(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random
) -> None:
    store = opened(tmp_path_factory.mktemp("s") / "store.db")
    box = [
        *sending("a", 3),
        *sending("b", 3, label="PATCH v2", parents=["a-0"], minutes=90),
        letter("[PATCH v3 2/3] patch 2", id="r", parents=["b-0", "b-2"], minutes=300),
        *sending("c", 2, sender="B <b@x>"),
        letter("Re: [PATCH 1/3] patch 1", "No.\n", id="n", parents=["a-0", "a-1"]),
    ]
    shuffled = [*box, *chance.sample(box, 3)]
    chance.shuffle(shuffled)
    for raw in shuffled:
        feed(store, raw)
    found = rows(store)
    assert {lead: (one.version, one.missing, one.supersedes) for lead, one in found.items()} == {
        "a-0": (1, (), None), "b-0": (2, (), "a-0"), "r": (3, (), "b-0"), "c-0": (1, (), None),
    }  # fmt: skip
    reroll = intake.load(store, "r")
    assert reroll is not None
    assert [one.message.message_id for one in reroll.patches] == ["b-1", "r", "b-3"]
    assert (reroll.lead.message_id, reroll.is_partial) == ("r", True)


def test_a_cover_that_comes_late_keeps_what_refers_to_the_series(store: Store) -> None:
    box = sending("a", 2)
    feed(store, *box[1:])
    with store.session() as session:
        wishes.want(session, "a-1", {"jobs": ["build"]}, None, NOW)
    assert feed(store, box[0]) == ("a-0",)
    assert set(rows(store)) == {"a-0"}
    with store.session() as session:
        (wanted,) = wishes.waiting(session)
    assert wanted.series == "a-0"


def test_a_resend_goes_on_with_what_the_first_was(store: Store) -> None:
    feed(store, *sending("a", 2, content="x"))
    with store.session() as session:
        wishes.want(session, "a-0", {}, None, NOW)
    feed(store, *sending("b", 2, content="x", minutes=5))
    assert set(rows(store)) == {"b-0"}
    with store.session() as session:
        assert [one.series for one in wishes.waiting(session)] == ["b-0"]
        assert kept.having(session, "a-1") == ("b-0",)
    series = intake.load(store, "b-0")
    assert series is not None
    assert set(series.mail_ids) == {"a-0", "a-1", "a-2", "b-0", "b-1", "b-2"}


def test_a_version_months_later_is_linked_by_its_title(store: Store) -> None:
    feed(store, *sending("a", 2))
    later = 60 * 24 * 100
    feed(store, *sending("b", 2, label="PATCH v2", minutes=later))
    assert rows(store)["b-0"].supersedes == "a-0"
    with store.session() as session:
        assert set(kept.lineage(session, "a-0")) == {"a-0", "b-0"}
        assert set(kept.lineage(session, "b-0")) == {"a-0", "b-0"}


def test_nothing_changes_when_nothing_came(store: Store) -> None:
    feed(store, *sending("a", 2))
    intake.give_up(store, NOW)
    assert feed(store, *sending("a", 2), now=NOW + HOUR) == ()
    assert states(store) == {"a-0": (State.READY, "")}


def test_a_crash_between_the_two_steps_loses_nothing(tmp_path: Path) -> None:
    first = opened(tmp_path / "store.db")
    for raw in sending("a", 2):
        intake.take(first, "list", Fetched(raw, "1"), NOW)
    first.close()
    second = opened(tmp_path / "store.db")
    assert intake.settle(second, NOW, Patience()) == ("a-0",)
    assert intake.settle(second, NOW, Patience()) == ()


def test_a_mail_is_in_a_series_and_in_what_was_laid_over_it(store: Store) -> None:
    reroll = letter("[PATCH v2 2/2] patch 2", id="r", parents=["a-0", "a-2"], minutes=300)
    feed(store, *sending("a", 2), reroll)
    with store.session() as session:
        assert kept.having(session, "a-1") == ("a-0", "r")
        assert kept.having(session, "a-2") == ("a-0",)
        assert kept.having(session, "r") == ("r",)
