"""Series as they are looked for: each filter against all series, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.mail.versions import plain
from bot.store import catalog, depths, labels, wishes
from bot.store.catalog import Asked, Card, Standing
from bot.store.database import Store
from bot.store.labels import Kind
from tests import crowd
from tests.stores import opened

MANY = 920
LIST = (Kind.LIST, "linux-mm@lists.example.org")
PATH = (Kind.PATH, "fs/ext4")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = opened(tmp_path / "store.db")
    crowd.fill(found, MANY)
    return found


def walk(store: Store, asked: Asked) -> Iterator[Card]:
    """Yield all that is found, page after page."""
    while True:
        with store.reading() as session:
            page = catalog.page(session, asked)
        yield from page.cards
        if page.after is None:
            return
        asked = replace(asked, after=page.after)


@pytest.fixture
def everything(store: Store) -> tuple[Card, ...]:
    return tuple(walk(store, Asked()))


def test_all_series_are_there_the_latest_first(everything: tuple[Card, ...]) -> None:
    assert [one.lead for one in everything] == [crowd.lead(at) for at in reversed(range(MANY))]
    assert {one.standing for one in everything} == set(Standing)


@pytest.mark.parametrize("about", [(), (LIST,), (PATH, LIST)], ids=["all", "list", "both"])
def test_a_filter_finds_what_stands_so_and_nothing_else(
    store: Store, everything: tuple[Card, ...], about: tuple[tuple[Kind, str], ...]
) -> None:
    with store.reading() as session:
        there = {one.lead: set(labels.of(session, one.lead)) for one in everything}
    for standing in Standing:
        wanted = [
            one.lead for one in everything
            if one.standing is standing and set(about) <= there[one.lead]
        ]  # fmt: skip
        found = walk(store, Asked(labels=about, standing=standing))
        assert [one.lead for one in found] == wanted, standing


def test_text_is_found_in_titles_and_submitters_as_it_is_written(
    store: Store, everything: tuple[Card, ...]
) -> None:
    for text in ("WRITE-back", "Dev7@", "%", "_", "no such words"):
        wanted = [
            one.lead for one in everything
            if text.lower() in one.submitter or (plain(text) and plain(text) in plain(one.title))
        ]  # fmt: skip
        found = walk(store, Asked(text=text, plain=plain(text)))
        assert [one.lead for one in found] == wanted, text


def test_a_time_bounds_the_list(store: Store, everything: tuple[Card, ...]) -> None:
    since = everything[99].date
    assert len(list(walk(store, Asked(since=since)))) == 100
    assert len(list(walk(store, Asked(since=since, labels=(LIST,))))) < 100


def test_a_card_has_what_its_last_run_came_to(store: Store) -> None:
    with store.session() as session:
        there = catalog.card(session, crowd.lead(36))
        assert there is not None
        assert (there.standing, there.found) == (Standing.FINDINGS, 1)
        asked = wishes.Asked("c@x", 1, "m@x", "test", {}, there.lead, allowed=True, reason="")
        wishes.want(session, there.lead, {}, wishes.audit(session, asked, "", crowd.NOW), crowd.NOW)
        again = catalog.card(session, there.lead)
        assert again is not None
        assert again.standing is Standing.QUEUED
        assert catalog.counts(session)[Standing.QUEUED] == 2
        wishes.cancel(session, there.lead, "enough", crowd.NOW)
        over = catalog.card(session, there.lead)
        assert over is not None
        assert (over.standing, over.reason) == (Standing.SKIPPED, "enough")
        session.rollback()
    with store.reading() as session:
        assert catalog.card(session, "nobody") is None


def test_labels_are_put_anew_and_bounded(store: Store) -> None:
    lead = crowd.lead(0)
    with store.session() as session:
        labels.put(session, lead, [(Kind.PATH, f"a/{n:04d}") for n in range(labels.MOST + 9)])
        found = labels.of(session, lead)
        assert len(found) == labels.MOST
        assert found[0] == (Kind.PATH, "a/0000")
        labels.put(session, "nobody", [LIST])
        session.rollback()


def test_what_labels_there_are_is_known(store: Store) -> None:
    with store.reading() as session:
        assert LIST[1] in labels.known(session, Kind.LIST, 100)
        latest = labels.latest(session, Kind.LIST, 100)
        assert [at for _, at in latest] == sorted((at for _, at in latest), reverse=True)
        assert {name for name, _ in latest} == set(labels.known(session, Kind.LIST, 100))
        first = next(walk(store, Asked(labels=(LIST,))))
        assert dict(latest)[LIST[1]] == first.date
        assert len(labels.known(session, Kind.PATH, 3)) == 3


def test_a_trend_is_in_the_order_of_time(store: Store) -> None:
    with store.reading() as session:
        assert depths.names(session) == (("direct-reclaim-writepage", "ext4"),)
        points = depths.trend(session, "direct-reclaim-writepage", "ext4")
    assert [one.at for one in points] == sorted(one.at for one in points)
    assert points[-1].series == max(one.series for one in points)
    assert points[-1].before == 7344 - int(points[-1].series[:7]) % 100
