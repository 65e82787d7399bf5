from __future__ import annotations

import pytest

from bot.mail.subject import parse


@pytest.mark.parametrize(
    ("subject", "version", "index", "total", "tags"),
    [
        ("[PATCH] a", None, 1, 1, ()),
        ("[PATCH v3 02/17] a", 3, 2, 17, ()),
        ("[RFC PATCH net-next 0/4] a", None, 0, 4, ("RFC", "net-next")),
        ("[PATCH 6/9 v2] a", 2, 6, 9, ()),
        ("[PATCHv3] a", 3, 1, 1, ()),
        ("[PATCH1/8] a", None, 1, 8, ()),
        ("[PATCH -v4] a", 4, 1, 1, ()),
        ("[PATCH V4: 1/2]: a", 4, 1, 2, ()),
        ("[PATCH 0 of 2] a", None, 0, 2, ()),
        ("[RFC] [PATCH 1/2] a", None, 1, 2, ("RFC",)),
        ("[PATCHSET 0/2] a", None, 0, 2, ()),
    ],
)
def test_brackets(
    subject: str, version: int | None, index: int, total: int, tags: tuple[str, ...]
) -> None:
    found = parse(subject)
    assert (found.version, found.index, found.total, found.tags) == (version, index, total, tags)
    assert found.title == "a"
    assert found.is_patch


@pytest.mark.parametrize(
    "subject", ["Re: [PATCH] a", "a patch", "[GIT PULL] a", "", "[", "Fwd: [PATCH]"]
)
def test_what_is_no_patch(subject: str) -> None:
    assert not parse(subject).is_patch


def test_a_resend_is_no_tag() -> None:
    found = parse("[PATCH RESEND v2 1/2] a")
    assert (found.resend, found.tags, found.version, found.index) == (True, (), 2, 1)


def test_an_encoded_word_is_decoded_once() -> None:
    assert parse("[PATCH] =?utf-8?b?A?=").title == "= ?utf-8?b?A?="
