from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.mail.message import parse
from bot.mail.series import Series, as_json, assemble, sort_out
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


STAT = " mm/one.c | 2 +-\n 1 file changed, 1 insertion(+), 1 deletion(-)\n"
ELSE = "Jane Doe <jane@home.example.net>"
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
        + [letter(f"[PATCH {n}/2] q", id=f"b-{n}", minutes=60 + n) for n in (1, 2)],
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
    "a resend within minutes, without a label": Case(
        sending("a", 2, content="x") + sending("b", 2, content="x", minutes=3),
        [("b-0", 1, B2)],
    ),
    "a resend weeks later, with a label": Case(
        sending("a", 2, content="x")
        + sending("b", 2, label="PATCH RESEND", content="x", minutes=60 * 24 * 20),
        [("b-0", 1, B2)],
    ),
    "once broken off, and at once again in whole": Case(
        sending("a", 3, content="x")[:2] + sending("b", 3, content="x", minutes=2),
        [("b-0", 1, ("b-1", "b-2", "b-3"))],
    ),
    "once with a cut patch, and once again": Case(
        [
            *sending("a", 2, content="x")[:2],
            letter("[PATCH 2/2] patch 2", PATCH.split("+int c")[0], id="a-2", parents=["a-0"]),
            *sending("b", 2, content="x", minutes=9),
        ],
        [("b-0", 1, B2)],
    ),
    "once in whole, and then a part of it again": Case(
        sending("a", 2, content="x") + sending("b", 2, content="x", minutes=90)[:2],
        [("a-0", 1, A2)],
    ),
    "a cover that no number announces": Case(
        [letter("mm: rework it all", COVER, id="c"), *sending("a", 2, cover=None, parents=["c"])],
        [("c", 1, A2)],
    ),
    "a cover that says [PATCH v2] alone": Case(
        [
            letter("[PATCH v2] mm: rework it all", COVER, id="c"),
            *sending("a", 2, label="PATCH v2", cover=None, parents=["c"]),
        ],
        [("c", 2, A2)],
    ),
    "a cover with a diffstat, and its version at the end": Case(
        [
            letter("mm: rework it all, v2", f"About.\n\n{STAT}", id="c"),
            *sending("a", 2, cover=None, parents=["c"]),
        ],
        [("c", 2, A2)],
    ),
    "a cover that says [PATCH v2] alone, with a diffstat": Case(
        [
            letter("[PATCH v2] mm: rework it all", f"About.\n\n{STAT}", id="c"),
            *sending("a", 2, label="PATCH v2", cover=None, parents=["c"]),
        ],
        [("c", 2, A2)],
    ),
    "the one patch has the number of a cover": Case(
        [letter("[PATCH 0/1] p", id="a")], [("a", 1, ("a",))]
    ),
    "a report that is answered with patches is no cover": Case(
        [
            letter("mm: this breaks", "It does.\n", id="c", sender="B <b@x>"),
            *sending("a", 2, cover=None, parents=["c"], minutes=5),
        ],
        [("a-1", 1, A2)],
    ),
    "a discussion that is answered with patches days later is no cover": Case(
        [
            letter("mm: what if", "What if.\n", id="c"),
            *sending("a", 2, cover=None, parents=["c"], minutes=60 * 24),
        ],
        [("a-1", 1, A2)],
    ),
    "a pull request is no cover": Case(
        [
            letter("[GIT PULL] mm fixes", "Please pull.\n", id="c"),
            *sending("a", 2, cover=None, parents=["c"]),
        ],
        [("a-1", 1, A2)],
    ),
    "one patch rerolled in reply": Case(
        [
            *sending("a", 3, label="PATCH v2"),
            letter("[PATCH v3 2/3] patch 2", id="r", parents=["a-0", "a-2"], minutes=300),
        ],
        [("a-0", 2, ("a-1", "a-2", "a-3")), ("r", 3, ("a-1", "r", "a-3"))],
    ),
    "one patch rerolled below a review of it": Case(
        [
            *sending("a", 3, label="PATCH v2"),
            letter("Re: [PATCH v2 2/3] patch 2", "No.\n", id="n", parents=["a-0", "a-2"]),
            letter("[PATCH v3 2/3] patch 2", id="r", parents=["a-0", "a-2", "n"], minutes=300),
        ],
        [("a-0", 2, ("a-1", "a-2", "a-3")), ("r", 3, ("a-1", "r", "a-3"))],
    ),
    "one patch rerolled without a new version": Case(
        [
            *sending("a", 3),
            letter("[PATCH 2/3] patch 2", id="r", parents=["a-0", "a-2"], minutes=300),
        ],
        [("a-0", 1, ("a-1", "a-2", "a-3")), ("r", 1, ("a-1", "r", "a-3"))],
    ),
    "two patches rerolled at different times": Case(
        [
            *sending("a", 3),
            letter("[PATCH v2 3/3] patch 3", id="r", parents=["a-0", "a-3"], minutes=300),
            letter("[PATCH v2 1/3] patch 1", id="s", parents=["a-0", "a-1"], minutes=600),
        ],
        [("a-0", 1, ("a-1", "a-2", "a-3")), ("r", 2, ("s", "a-2", "r"))],
    ),
    "a patch rerolled twice, the second time below the first": Case(
        [
            *sending("a", 2),
            letter("[PATCH v2 2/2] patch 2", id="r", parents=["a-0", "a-2"], minutes=300),
            letter("[PATCH v3 2/2] patch 2", id="s", parents=["a-0", "a-2", "r"], minutes=600),
        ],
        [("a-0", 1, A2), ("r", 2, ("a-1", "r")), ("s", 3, ("a-1", "s"))],
    ),
    "a reroll by another address of the same person": Case(
        [
            *sending("a", 2),
            letter("[PATCH v2 2/2] p", id="r", parents=["a-0", "a-2"], minutes=300, sender=ELSE),
        ],
        [("a-0", 1, A2), ("r", 2, ("a-1", "r"))],
    ),
    "a patch that was missing comes hours later": Case(
        [
            *sending("a", 3)[:3],
            letter("[PATCH 3/3] patch 3", id="r", parents=["a-0"], minutes=300),
        ],
        [("a-0", 1, ("a-1", "a-2", "r"))],
    ),
    "part of v2 under v1, of another length": Case(
        [
            *sending("a", 2),
            letter("[PATCH v2 3/3] patch 3", id="r", parents=["a-0"], minutes=300),
        ],
        [("a-0", 1, A2), ("r", 2, ("r",))],
    ),
    "a human's patch without Re: by another author in the thread": Case(
        [
            *sending("a", 3, label="PATCH v4"),
            letter("[PATCH v4 2/3] patch 2", id="h", parents=["a-0", "a-2"], sender="B <b@x>",
                   minutes=500),
        ],
        [("a-0", 4, ("a-1", "a-2", "a-3"))],
    ),
    "a diff inside a reply": Case(
        [
            *sending("a", 2),
            letter("Re: [PATCH 2/2] patch 2", id="h", parents=["a-0", "a-2"], sender="B <b@x>"),
        ],
        [("a-0", 1, A2)],
    ),
    "the cover from another address": Case(
        [*sending("a", 2, sender=ELSE)[:1], *sending("a", 2)[1:]], [("a-0", 1, A2)]
    ),
    "each patch from its author's address": Case(
        [
            *sending("a", 3)[:2],
            letter("[PATCH 2/3] two", id="a-2", parents=["a-0"], sender="B <b@x>", minutes=1),
            letter("[PATCH 3/3] three", id="a-3", parents=["a-0"], sender="C <c@x>", minutes=1),
        ],
        [("a-0", 1, ("a-1", "a-2", "a-3"))],
    ),
    "one patch lost its References": Case(
        [*sending("a", 3)[:3], letter("[PATCH 3/3] patch 3", id="a-3", minutes=1)],
        [("a-0", 1, ("a-1", "a-2", "a-3"))],
    ),
    "the cover beside its patches": Case(
        [*sending("a", 2)[:1], *sending("b", 2, cover=None, minutes=1)], [("a-0", 1, B2)]
    ),
    "a cover an hour away from patches that it does not lead": Case(
        [*sending("a", 2)[:1], *sending("b", 2, cover=None, minutes=60)],
        [("a-0", 1, ()), ("b-1", 1, B2)],
    ),
    "only the last patch went to this list": Case(
        sending("a", 3)[3:], [("a-3", 1, ("a-3",))]
    ),
    "the index after the bracket's word": Case(
        [letter(f"[PATCH {n}/2 v2] p", id=f"a-{n}", parents=["a-0"]) for n in (1, 2)]
        + [letter("[PATCH 0/2 v1] c", COVER, id="a-0")],
        [("a-0", 2, A2)],
    ),
    "glued words and a colon": Case(
        [
            letter("[PATCHv3 0/2]: c", COVER, id="a-0"),
            letter("[PATCHv3 1/2]: p", id="a-1", parents=["a-0"]),
            letter("[PATCHv3 2/2] : q", id="a-2", parents=["a-0"]),
        ],
        [("a-0", 3, A2)],
    ),
    "counted with of": Case(
        [
            letter("[PATCH 0 of 2] c", COVER, id="a-0"),
            letter("[PATCH1/2] p", id="a-1", parents=["a-0"]),
            letter("[PATCH 2 of 2] q", id="a-2", parents=["a-0"]),
        ],
        [("a-0", 1, A2)],
    ),
    "RFC on the cover only": Case(
        [sending("a", 2, label="RFC PATCH")[0], *sending("a", 2)[1:]], [("a-0", 1, A2)]
    ),
    "a second cover with another title in the same thread": Case(
        sending("a", 2)
        + sending("b", 2, label="PATCH v2", cover="other words", parents=["a-0"], minutes=90),
        [("a-0", 1, A2), ("b-0", 2, B2)],
    ),
    "a patch more than announced, sent later": Case(
        [
            *sending("a", 2),
            letter("[PATCH 3/2] one more", id="a-3", parents=["a-0"], minutes=400),
        ],
        [("a-0", 1, ("a-1", "a-2", "a-3"))],
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
    alone = letter("[PATCH] q", f"Why.\n---\n{DIFF}\n{base}\n-- \n2.39\n", id="b")
    quoted = letter("[PATCH] r", f"> {base}\nbase-commit: v6.1\n---\n{DIFF}", id="c", minutes=1)
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


def supersedes(mails: list[bytes]) -> dict[str, str | None]:
    return {one.id: one.supersedes for one in found(mails)}


def test_a_new_title_in_the_thread_is_the_next_version() -> None:
    later = sending("b", 2, label="PATCH v2", cover="new words", parents=["a-0"], minutes=90)
    assert supersedes(sending("a", 2) + later)["b-0"] == "a-0"


def test_a_followup_of_the_same_version_in_the_thread_is_other_work() -> None:
    later = sending("b", 3, cover="more work", parents=["a-0"], minutes=90)
    assert supersedes(sending("a", 2) + later)["b-0"] is None


def test_a_new_title_elsewhere_is_known_by_its_patches() -> None:
    first = sending("a", 3, content="x")
    later = sending("b", 4, label="PATCH v2", cover="new words", content="x", minutes=90)
    other = sending("c", 4, label="PATCH v2", cover="other", content="y", minutes=90)
    assert supersedes(first + later + other) == {"a-0": None, "b-0": "a-0", "c-0": None}


def test_a_person_is_known_by_the_name_when_the_address_changes() -> None:
    later = sending("b", 2, label="PATCH v2", minutes=90, sender=ELSE)
    assert supersedes(sending("a", 2) + later)["b-0"] == "a-0"


def test_somebody_else_goes_on_in_the_thread_under_the_same_title() -> None:
    later = sending("b", 2, label="PATCH v2", parents=["a-0"], minutes=90, sender="B <b@x>")
    apart = sending("c", 2, label="PATCH v2", minutes=90, sender="C <c@x>")
    found = supersedes(sending("a", 2) + later + apart)
    assert found == {"a-0": None, "b-0": "a-0", "c-0": None}


def test_a_cover_without_a_number_has_its_title_without_the_version() -> None:
    cover = letter("mm: rework it all (v2)", COVER, id="c")
    (series,) = found([cover, *sending("a", 2, cover=None, parents=["c"])])
    assert (series.title, series.version) == ("mm: rework it all", 2)


def test_a_patch_follows_its_rfc_of_any_version() -> None:
    rfc = sending("a", 2, label="RFC PATCH v3")
    assert supersedes(rfc + sending("b", 2, minutes=9000))["b-0"] == "a-0"


def test_a_resend_is_linked_like_the_first() -> None:
    v1, v2 = sending("a", 2, content="x"), sending("b", 2, label="PATCH v2", minutes=90)
    assert supersedes([*v1, *sending("c", 2, content="x", minutes=5), *v2]) == {
        "c-0": None, "b-0": "c-0",
    }  # fmt: skip


def test_a_partial_reroll_takes_the_place_of_what_it_was_laid_over() -> None:
    reroll = letter("[PATCH v2 2/2] patch 2", id="r", parents=["a-0", "a-2"], minutes=300)
    whole = sending("b", 2, label="PATCH v3", parents=["a-0"], minutes=900)
    assert supersedes([*sending("a", 2), reroll, *whole]) == {
        "a-0": None, "r": "a-0", "b-0": "r",
    }  # fmt: skip


def test_a_reroll_has_the_cover_of_the_series_and_answers_its_own_mail() -> None:
    reroll = letter("[PATCH v2 2/2] patch 2", id="r", parents=["a-0", "a-2"], minutes=300)
    _, series = found([*sending("a", 2), reroll])
    assert series.cover is not None
    assert series.cover.message_id == "a-0"
    assert (series.title, series.lead.message_id, series.complete) == ("the cover", "r", True)
    assert series.is_partial


def test_every_mail_in_no_series_has_its_reason() -> None:
    mails = [
        *sending("a", 2),
        letter("[PATCH 2/2] patch 2", id="h", parents=["a-2"], sender="B <b@x>", minutes=500),
        letter("[PATCH 2/2] patch 2", "I like it.\n", id="s", parents=["a-2"]),
        letter("[PATCH 0/0] hm", COVER, id="z"),
        letter("What of it?", "Hm.\n", id="l"),
    ]
    assert sort_out(parse(mail) for mail in mails).left == (
        ("h", "an answer to <a-2> without Re:"),
        ("l", "no part of a series"),
        ("s", "[PATCH] in its subject, but no diff and no diffstat"),
        ("z", "a cover letter that announces no patches"),
    )
