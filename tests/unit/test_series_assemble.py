from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.mail.message import parse
from bot.mail.series import Series, as_json, assemble
from tests.letters import COVER, DIFF, PATCH, letter, sending

KEYS = [
    "id", "title", "version", "tags", "resend", "total", "cover", "patches", "complete", "missing",
    "problem", "submitter", "date", "base_commit", "change_id", "supersedes",
]  # fmt: skip


def found(mails: list[bytes]) -> tuple[Series, ...]:
    return assemble(parse(mail) for mail in mails)


def shape(series: Series) -> tuple[str, int, tuple[str, ...]]:
    return series.id, series.version, tuple(one.message.message_id for one in series.patches)


@dataclass(frozen=True)
class Case:
    """Mails, and the series in them as (id, version, ids of the patches)."""

    mails: list[bytes]
    series: list[tuple[str, int, tuple[str, ...]]]


A2 = ("a-1", "a-2")
B2 = ("b-1", "b-2")
CASES = {
    "a single patch": Case([letter("[PATCH] one", id="1")], [("1", 1, ("1",))]),
    "two single patches of one person": Case(
        [letter("[PATCH] one", id="1"), letter("[PATCH] two", id="2", parents=["1"])],
        [("1", 1, ("1",)), ("2", 1, ("2",))],
    ),
    "a cover and its patches": Case(sending("a", 2), [("a-0", 1, A2)]),
    "patches under the first": Case(sending("a", 2, cover=None), [("a-1", 1, A2)]),
    "a cover that went elsewhere": Case(sending("a", 2)[1:], [("a-1", 1, A2)]),
    "a cover and one patch": Case(sending("a", 1), [("a-0", 1, ("a-1",))]),
    "a cover over an uncounted patch": Case(
        [sending("a", 1)[0], letter("[PATCH] one", id="a-1", parents=["a-0"])],
        [("a-0", 1, ("a-1",))],
    ),
    "each patch under the one before": Case(
        [
            letter(f"[PATCH {n}/4] p", id=f"a-{n}", parents=[f"a-{m}" for m in range(n)])
            for n in (1, 2, 4)
        ],
        [("a-1", 1, ("a-1", "a-2", "a-4"))],
    ),
    "v2 in a thread of its own": Case(
        sending("a", 2) + sending("b", 2, label="PATCH v2", minutes=5),
        [("a-0", 1, A2), ("b-0", 2, B2)],
    ),
    "v2 under v1's cover": Case(
        sending("a", 2) + sending("b", 2, label="PATCH v2", parents=["a-0"], minutes=5),
        [("a-0", 1, A2), ("b-0", 2, B2)],
    ),
    "v2 without a cover under v1's cover": Case(
        sending("a", 2)
        + sending("b", 2, label="PATCH v2", cover=None, parents=["a-0"], minutes=5),
        [("a-0", 1, A2), ("b-1", 2, B2)],
    ),
    "v2 without a cover, v1's patches elsewhere": Case(
        sending("a", 2)[:1]
        + sending("b", 2, label="PATCH v2", cover=None, parents=["a-0"], minutes=60),
        [("a-0", 1, ()), ("b-1", 2, B2)],
    ),
    "v2 of other length, each under its patch of v1": Case(
        sending("a", 2)
        + [
            letter(f"[PATCH v2 {n}/3] p", id=f"b-{n}", parents=["a-0", f"a-{old}"], minutes=60)
            for n, old in ((1, 1), (2, 2), (3, 2))
        ],
        [("a-0", 1, A2), ("b-1", 2, ("b-1", "b-2", "b-3"))],
    ),
    "v2 without a label under v1": Case(
        sending("a", 2) + sending("b", 2, cover=None, parents=["a-0"], minutes=60),
        [("a-0", 1, A2), ("b-1", 1, B2)],
    ),
    "a version on the cover only": Case(
        [sending("a", 2, label="PATCH v4")[0], *sending("a", 2, minutes=60)[1:]],
        [("a-0", 4, A2)],
    ),
    "a v1 on one patch only": Case(
        [sending("a", 2)[0], sending("a", 2, label="PATCH v1")[1], sending("a", 2)[2]],
        [("a-0", 1, A2)],
    ),
    "a second series of that length under the first, which is not all here": Case(
        sending("a", 2)[:2] + sending("b", 2, cover="other", parents=["a-0"], minutes=2),
        [("a-0", 1, ("a-1",)), ("b-0", 1, B2)],
    ),
    "broken off, and sent again an hour later": Case(
        sending("a", 2, cover=None, parents=["x"])[:1]
        + sending("b", 2, cover=None, parents=["x"], minutes=60),
        [("a-1", 1, ("a-1",)), ("b-1", 1, B2)],
    ),
    "a version on the patches only": Case(
        [sending("a", 2)[0], *sending("a", 2, label="PATCH v4")[1:]], [("a-0", 4, A2)]
    ),
    "sent twice": Case(
        sending("a", 2) + sending("b", 2, label="PATCH RESEND", minutes=2),
        [("a-0", 1, A2), ("b-0", 1, B2)],
    ),
    "sent twice within minutes, both below the same mail": Case(
        sending("a", 2, cover=None, parents=["x"])
        + sending("b", 2, cover=None, parents=["x"], minutes=2),
        [("a-1", 1, A2), ("b-1", 1, B2)],
    ),
    "no thread at all": Case(
        [letter(f"[PATCH {n}/2] p", id=f"a-{n}", minutes=n) for n in (0, 1, 2)]
        + [letter(f"[PATCH {n}/2] p", id=f"b-{n}", minutes=60 + n) for n in (1, 2)],
        [("a-0", 1, A2), ("b-1", 1, B2)],
    ),
    "no thread, two people": Case(
        [letter("[PATCH 1/2] p", id="a-1"), letter("[PATCH 2/2] p", id="b-2", sender="B <b@x>")],
        [("a-1", 1, ("a-1",)), ("b-2", 1, ("b-2",))],
    ),
    "a cross post": Case(
        [*sending("a", 2), sending("a", 2)[1].replace(b"From: Jane Doe", b"From: Jane via list")],
        [("a-0", 1, A2)],
    ),
    "talk and a patch from others in the thread": Case(
        [
            *sending("a", 2),
            letter("Re: [PATCH 1/2] patch 1", PATCH, id="r", parents=["a-0", "a-1"]),
            letter("[PATCH 2/2] patch 2", "I like it.\n", id="s", parents=["a-2"]),
            letter("[PATCH] fix", id="t", parents=["a-0"], sender="B <b@x>", minutes=9),
        ],
        [("a-0", 1, A2), ("t", 1, ("t",))],
    ),
    "a letter without patches": Case([letter("[PATCH 0/0] hm", COVER, id="a-0")], []),
    "more patches than announced": Case(
        [letter(f"[PATCH {n}/1] p", id=f"a-{n}", parents=["a-0"]) for n in (1, 2)],
        [("a-1", 1, A2)],
    ),
    "mails that refer to each other": Case(
        [letter(f"[PATCH {n}/2] p", id=f"a-{n}", parents=[f"a-{3 - n}"]) for n in (1, 2)],
        [("a-1", 1, A2)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_how_it_was_sent(name: str) -> None:
    case = CASES[name]
    assert [shape(one) for one in found(case.mails)] == case.series


@pytest.mark.parametrize("name", CASES)
@given(seed=st.randoms(use_true_random=False))
def test_the_order_of_arrival_is_of_no_account(name: str, seed: random.Random) -> None:
    messages = [parse(mail) for mail in CASES[name].mails]
    shuffled = [*messages, *seed.sample(messages, 1)]
    seed.shuffle(shuffled)
    assert assemble(shuffled) == assemble(messages)


@given(
    st.permutations([m for n, c in CASES.items() if "person" in n or "v2" in n for m in c.mails])
)
def test_many_series_at_once_in_any_order(mails: list[bytes]) -> None:
    assert found(mails) == found(sorted(mails))


def test_patches_that_are_missing_are_named() -> None:
    (series,) = found(
        [mail for mail in sending("a", 5) if b"2/5" not in mail and b"4/5" not in mail]
    )
    assert series.missing == (2, 4)
    assert not series.complete


def test_a_cut_patch_and_one_without_a_diff_are_a_problem() -> None:
    stat = " mm/one.c | 2 +-\n 1 file changed, 1 insertion(+)\n"
    cut = letter("[PATCH 1/2] p", PATCH.split("+int c")[0], id="a-1", parents=["a-0"])
    bare = letter("[PATCH 2/2] p", f"Why.\n---\n{stat}", id="a-2", parents=["a-0"])
    (series,) = found([cut, bare])
    assert series.problem == (
        "patch 1: the mail ends inside a hunk (lines left: 2) in the diff of mm/one.c; "
        "patch 2: there is no diff in the mail"
    )
    assert series.missing == ()
    assert not series.complete


def test_the_whole_copy_of_a_cross_post_is_taken() -> None:
    whole = letter("[PATCH] p", id="1")
    cut = letter("[PATCH] p", PATCH.split("+int c")[0], id="1")
    for mails in ([whole, cut], [cut, whole]):
        (series,) = found(mails)
        assert series.problem is None


def test_base_and_change_are_read_wherever_they_stand() -> None:
    base, change = "base-commit: " + "a1" * 20, "change-id: 20260105-thing-0123"
    cover = letter("[PATCH 0/1] c", f"About.\n\n---\n{base}\n{change}\n", id="a-0")
    patch = letter("[PATCH 1/1] p", id="a-1", parents=["a-0"])
    alone = letter("[PATCH] p", f"Why.\n---\n{DIFF}\n{base}\n-- \n2.39\n", id="b")
    quoted = letter("[PATCH] p", f"> {base}\nbase-commit: v6.1\n---\n{DIFF}", id="c", minutes=1)
    first, second, third = found([cover, patch, alone, quoted])
    assert (first.base_commit, first.change_id) == ("a1" * 20, "20260105-thing-0123")
    assert (second.base_commit, second.change_id) == ("a1" * 20, None)
    assert third.base_commit is None


def test_a_version_names_the_one_before() -> None:
    mails = [
        *sending("a", 2),
        *sending("c", 2, label="PATCH v3", minutes=90),
        *sending("b", 2, label="PATCH v2", minutes=60),
        letter("[PATCH v2 1/1] the cover", id="o", sender="B <b@x>", minutes=70),
    ]
    assert {one.id: one.supersedes for one in found(mails)} == {
        "a-0": None, "b-0": "a-0", "c-0": "b-0", "o": None,
    }  # fmt: skip


def test_a_change_id_outlives_the_title() -> None:
    first = letter("[PATCH] old name", f"Why.\n---\nchange-id: x-1\n{DIFF}", id="1")
    second = letter("[PATCH v2] new", f"Why.\n---\nchange-id: x-1\n{DIFF}", id="2", minutes=9)
    assert [one.supersedes for one in found([first, second])] == [None, "1"]


def test_tags_of_the_cover_and_those_of_all_patches() -> None:
    cover = sending("a", 2, label="RFC PATCH")[0]
    (series,) = found([cover, *sending("a", 2, label="PATCH mm-unstable RESEND")[1:]])
    assert series.tags == ("RFC", "mm-unstable")
    assert series.resend


def test_patches_from_format_patch_have_no_id_and_any_date() -> None:
    mails = [
        letter("[PATCH 1/2] p", sender="A <a@x>"),
        letter("[PATCH 2/2] p", sender="B <b@x>", minutes=60 * 24 * 30),
    ]
    (series,) = found(mails)
    assert series.complete


def test_json_has_the_keys_of_the_contract() -> None:
    (series,) = found(sending("a", 2, label="PATCH v2"))
    shown = as_json(series)
    assert list(shown) == KEYS
    assert shown["cover"] == "a-0"
    assert shown["submitter"] == "Jane Doe <jane@example.org>"
    assert shown["date"] == "2026-01-05T12:00:00+00:00"
    assert shown["patches"] == [
        {
            "index": n, "message_id": f"a-{n}", "subject": f"[PATCH v2 {n}/2] patch {n}",
            "author": "Jane Doe <jane@example.org>", "date": f"2026-01-05T12:00:0{n - 1}+00:00",
        }
        for n in (1, 2)
    ]  # fmt: skip
