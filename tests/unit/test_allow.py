"""Who may command what, and which series a command means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.mail import message
from bot.mail.commands import VERBS, Command
from bot.mail.headers import Address
from bot.mail.message import Message
from bot.mail.series import Series, assemble
from bot.mail.signed import Signed, Unsigned
from bot.review.allow import (
    Answer,
    Facts,
    Judged,
    Names,
    checked,
    help_text,
    judge,
    meant,
    members,
)
from bot.review.maintainers import parse
from tests.letters import PATCH, letter, sending

JANE = Address("Jane Doe", "jane@example.org")
TEST = Command("c", JANE, "test", (), 1, addressed=True)
OWNERS = parse(
    "MM\nM:\tMary <Mary@example.org>\nR:\tRon <ron@example.org>\nF:\tmm/\n"
    "FS\nM:\tFred <fred@example.org>\nF:\tfs/\n"
    "THE REST\nM:\tLinus <linus@example.org>\nF:\t*\nF:\t*/\n"
)


def read(*raws: bytes) -> tuple[Series, ...]:
    return assemble(message.parse(raw) for raw in raws)


(SERIES,) = read(*sending("a", 2))


def signed(address: str = "jane@example.org", *, subject: bool = True) -> Signed:
    return Signed(address, "example.org", "f", "form", subject)


def facts(address: str = "jane@example.org", series: Series | None = SERIES) -> Facts:
    return Facts(signed(address), series, maintainers=OWNERS)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("jane@example.org", "jane@example.org sent the series"),
        ("mary@example.org", "mary@example.org is maintainer of MM"),
        ("ron@example.org", "ron@example.org is reviewer of MM"),
        ("ops@example.org", "ops@example.org is on the operator's list"),
    ],
)
def test_who_may(address: str, reason: str) -> None:
    known = replace(facts(address), operators=[" Ops@Example.org "])
    assert judge(TEST, known) == Judged(allowed=True, reason=reason)


@pytest.mark.parametrize("name", ["fred", "linus", "eve"])
def test_who_may_not_is_told_so(name: str) -> None:
    found = judge(TEST, facts(f"{name}@example.org"))
    reason = "is no author of the series, nor in MAINTAINERS for its files"
    assert found == Judged(
        allowed=False, reason=f"{name}@example.org {reason}", answer=Answer.PRIVATE
    )


def test_the_author_of_a_patch_that_somebody_else_sends_may() -> None:
    body = f"From: Ann <Ann@example.org>\n\n{PATCH}"
    (series,) = read(letter("[PATCH] x", body, id="p"))
    found = judge(TEST, facts("ann@example.org", series))
    assert found.reason == "ann@example.org is the author of a patch of the series"


def test_without_maintainers_the_author_still_may_and_others_hear_why_not() -> None:
    alone = Facts(signed(), SERIES, no_maintainers="there is no tree")
    assert judge(TEST, alone).allowed
    found = judge(TEST, replace(alone, signature=signed("mary@example.org")))
    assert found.reason == "mary@example.org did not send the series, and there is no tree"


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (replace(facts(), robot="it is a bounce"), "the mail is a machine's: it is a bounce"),
        (replace(facts(), replayed="it is old"), "the mail is a replay: it is old"),
        (
            replace(facts(), signature=Unsigned("there is no key")),
            "who sent the mail is not proven: there is no key",
        ),
    ],
)
def test_whoever_cannot_be_trusted_hears_nothing(known: Facts, reason: str) -> None:
    for command in (TEST, replace(TEST, verb="help"), replace(TEST, problem="no such verb")):
        assert judge(command, known) == Judged(allowed=False, reason=reason, answer=Answer.NONE)


def test_nothing_is_said_to_whom_did_not_ask_us() -> None:
    found = judge(replace(TEST, addressed=False, problem="no such verb"), facts())
    assert found == Judged(allowed=False, reason="the bot is neither in To nor in Cc")


def test_what_cannot_be_told_now_is_judged_again() -> None:
    found = judge(TEST, replace(facts(), signature=Unsigned("no answer", temporary=True)))
    assert (found.allowed, found.again, found.answer) == (False, True, Answer.NONE)


def test_what_is_wrong_is_answered_whoever_asks() -> None:
    found = judge(replace(TEST, problem="no such verb"), facts("eve@example.org"))
    assert found == Judged(allowed=False, reason="no such verb", answer=Answer.PRIVATE)


def test_everybody_gets_help() -> None:
    found = judge(replace(TEST, verb="help"), facts("eve@example.org", None))
    assert (found.allowed, found.answer) == (True, Answer.PRIVATE)


def test_a_command_about_nothing_is_refused() -> None:
    found = judge(TEST, facts(series=None))
    assert found.reason.startswith("the mail answers no patch series that is known")
    named = replace(TEST, args=(("message_id", "x@y"),))
    assert judge(named, facts(series=None)).reason == (
        "no patch series with the mail <x@y> is known"
    )


def test_an_unsigned_subject_makes_no_patch_mail() -> None:
    known = replace(facts(), signature=signed(subject=False))
    assert judge(TEST, known).allowed
    assert not judge(replace(TEST, message_id="a-1"), known).allowed
    assert judge(replace(TEST, message_id="a-1"), facts()).allowed


V1, V2 = sending("a", 2), sending("b", 2, label="PATCH v2", parents=["a-0"], minutes=60)
KNOWN = members(read(*V1, *V2))


def reply(*parents: str, id: str = "c") -> Message:  # noqa: A002 - what the header is called
    return message.parse(letter("Re: x", "/test\n", id=id, parents=parents))


@pytest.mark.parametrize(
    ("parents", "series"),
    [
        (["a-0"], "a-0"), (["a-0", "a-2"], "a-0"), (["a-0", "b-0", "b-1"], "b-0"),
        (["a-0", "a-1", "talk-1", "talk-2"], "a-0"), (["a-0", "b-0", "talk"], "b-0"),
    ],
)  # fmt: skip
def test_the_nearest_series_above_is_meant(parents: list[str], series: str) -> None:
    found = meant(TEST, reply(*parents), KNOWN)
    assert found is not None
    assert found.id == series


def test_a_named_series_wins_over_the_one_above() -> None:
    named = replace(TEST, args=(("message_id", "b-2"),))
    found = meant(named, reply("a-0", "a-1"), KNOWN)
    assert found is not None
    assert found.id == "b-0"


def test_a_patch_mail_may_hold_the_command_itself() -> None:
    found = meant(replace(TEST, message_id="b-1"), message.parse(V2[1]), KNOWN)
    assert found is not None
    assert found.id == "b-0"


def test_a_thread_is_climbed_by_way_of_other_mails() -> None:
    assert meant(TEST, reply("talk"), KNOWN) is None
    found = meant(TEST, reply("talk"), KNOWN, {"talk": ("talk-0",), "talk-0": ("b-1", "talk")})
    assert found is not None
    assert found.id == "b-0"


def test_names_are_looked_up() -> None:
    names = Names(["quick", "memcg"], ["default"])
    for key, value in (("profile", "memcg"), ("config", "default"), ("base", "whatever")):
        assert checked(replace(TEST, args=((key, value),)), names).problem is None
    wrong = checked(replace(TEST, args=(("profile", "slow"),)), names)
    assert wrong.problem == "there is no profile slow; there are memcg, quick"
    wrong = checked(replace(TEST, args=(("config", "quick"),)), names)
    assert wrong.problem == "there is no config quick; there are default"


def test_the_help_names_every_command_and_fits_a_mail() -> None:
    assert all(f"/{verb}" in help_text() for verb in VERBS)
    assert max(map(len, help_text().splitlines())) <= 75
