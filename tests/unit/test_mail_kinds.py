from __future__ import annotations

from pathlib import Path

import pytest

from bot.mail.kinds import Kind, Sorted, sort
from bot.mail.load import load_all
from tests.letters import COVER, letter, mbox, sending

SAYS = {
    "[PATCH] mm: one": (Kind.PATCH, "its subject says [PATCH]"),
    "[RFC PATCH v2 0/3] mm": (Kind.PATCH, "its subject says [PATCH]"),
    "Re: [PATCH] mm: one": (Kind.REPLY, "a reply with a diff in it"),
    "AW: mm: one": (Kind.REPLY, "a reply with a diff in it"),
    "[GIT PULL] mm fixes": (Kind.PULL, "a pull request"),
    "[GIT,PULL v2] mm fixes": (Kind.PULL, "a pull request"),
    "[PULL 0/3] mm": (Kind.PULL, "a pull request"),
    "mm: one": (Kind.OTHER, "a diff, but no [PATCH] in its subject"),
    "pullover: add a driver": (Kind.OTHER, "a diff, but no [PATCH] in its subject"),
    "Reclaim: a thought": (Kind.OTHER, "a diff, but no [PATCH] in its subject"),
    "": (Kind.OTHER, "a diff, but there is no subject"),
}


@pytest.mark.parametrize("subject", SAYS)
def test_what_the_headers_say(subject: str) -> None:
    assert sort(letter(subject)) == Sorted(*SAYS[subject])


def test_a_mail_without_a_diff_may_be_a_cover() -> None:
    assert sort(letter("mm: rework", COVER)) == Sorted(Kind.LETTER, "no [PATCH] in its subject")
    assert sort(letter("Re: mm: rework", COVER)) == Sorted(Kind.REPLY, "a reply")
    assert sort(b"\n\nnothing\n") == Sorted(Kind.LETTER, "there is no subject")


def test_an_answer_with_a_diff_needs_no_re() -> None:
    told = sort(letter("mm: one", parents=["a"]))
    assert told == Sorted(Kind.REPLY, "a diff, but no [PATCH] in its subject")


def test_a_folded_and_encoded_subject_is_read() -> None:
    raw = letter("=?utf-8?q?=5BPATCH?=\n =?utf-8?q?_1/2=5D_mm?=")
    assert sort(raw).kind is Kind.PATCH


def test_all_mails_are_accounted_for(tmp_path: Path) -> None:
    mails = [
        *sending("a", 2),
        sending("a", 2)[1],
        letter("Re: [PATCH 1/2] patch 1", "Yes.\n", id="r", parents=["a-1"]),
        letter("[GIT PULL] mm", "Pull.\n", id="p"),
        letter("What of it?", "Hm.\n", id="q"),
        letter("[PATCH 2/2] patch 2", "I like it.\n", id="s", parents=["a-2"]),
    ]
    (tmp_path / "box").write_bytes(mbox(mails))
    found = load_all([tmp_path / "box"])
    assert found.mails == 8
    assert found.others == (
        ("[PATCH] in its subject, but no diff and no diffstat", 1),
        ("a copy of a mail that was there before", 1),
        ("a pull request", 1),
        ("a reply", 1),
        ("no [PATCH] in its subject", 1),
    )
    assert found.mails == sum(n for _, n in found.others) + sum(
        len(one.mail_ids) for one in found.series
    )
