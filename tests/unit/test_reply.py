"""The headers of a reply and what a hostile series can do to it."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.contract import BuildResult, Finding, FindingKind, KernelConfig, Outcome, Severity
from bot.mail import wire
from bot.mail.headers import Address
from bot.mail.message import parse
from bot.mail.reply import Asker, Run, Sender, compose, message_id
from bot.mail.series import Series, assemble
from policies.schema import load_gates
from tests.letters import letter

DATE = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)
GATE = load_gates().reply
OWN = "stackhog <bot@stackhog.example.org>"
CONFIG = KernelConfig(
    name="c", arch="x86_64", target="bzImage", compiler="gcc", base="tinyconfig", options=()
)


def series(subject: str = "[PATCH] p", id: str = "1@x", **more: str) -> Series:  # noqa: A002 - what the header is called
    head = "To: linux-mm@kvack.org\n"
    (found,) = assemble([parse(letter(subject, id=id, headers=head, **more))])  # type: ignore[arg-type] # all of these are strings
    return found


def run(*found: Finding, headline: str = "No findings.") -> Run:
    return Run(
        tree="t", source="https://example.org/t", base_reason="asked for", config=CONFIG,
        build=BuildResult(outcome=Outcome.PASSED), stack=None, headline=headline, findings=found,
        key="k",
    )  # fmt: skip


def mail_of(found: Series, sender: Sender | None = None) -> EmailMessage:
    """Return the reply as whoever gets it reads it, by way of our own wire."""
    composed = compose(found, run(), sender or Sender(OWN, GATE), DATE)
    for raw in (composed.as_bytes(), wire.wire(composed)):
        read = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(read, EmailMessage)
        assert not read.defects
        assert read["Subject"].isprintable()
        assert b"\0" not in raw
    return read


def test_re_stands_there_once() -> None:
    for subject in ("[PATCH] p", "Re: [PATCH] p", "RE: [PATCH] p", "re: [PATCH] p"):
        asker = Asker(Address("M", "m@example.org"), "ask@x", (), subject)
        sender = Sender(OWN, GATE, to=(asker.address,), asker=asker)
        assert mail_of(series(), sender)["Subject"].lower().count("re:") == 1


def test_a_long_subject_beyond_ascii_comes_back_whole() -> None:
    words = "größere Namen für alles, was 書かれる wird; " * 8
    assert mail_of(series(f"[PATCH] mm: {words}"))["Subject"] == f"Re: [PATCH] mm: {words}".strip()


@pytest.mark.parametrize("length", [40, 79, 200, 600])
def test_a_long_message_id_stays_what_it_is(length: int) -> None:
    name = "a" * length + "@example.org"
    raw = compose(series(id=name), run(), Sender(OWN, GATE), DATE).as_bytes()
    assert f"In-Reply-To: <{name}>\n".encode() in raw
    assert f"References: <{name}>\n".encode() in raw


def test_a_long_thread_keeps_its_first_and_its_last_mails() -> None:
    ancestors = tuple(f"{n}@x" for n in range(100))
    asker = Asker(Address("M", "m@example.org"), "ask@x", ancestors, "Re: [PATCH] p")
    found = mail_of(series(), Sender(OWN, GATE, to=(asker.address,), asker=asker))
    chain = found["References"].split()
    assert (chain[0], chain[-2:], len(chain)) == ("<0@x>", ["<99@x>", "<ask@x>"], 21)


@pytest.mark.parametrize("bad", ["a b@x", "ä@x", "a@x> <b@x", "a\x00@x", "a\r\nBcc: b@x"])
def test_a_message_id_that_is_none_is_left_out(bad: str) -> None:
    asker = Asker(Address("M", "m@example.org"), "ask@x", ("1@x", bad), "Re: [PATCH] p")
    found = mail_of(series(), Sender(OWN, GATE, to=(asker.address,), asker=asker))
    assert found["References"].split() == ["<1@x>", "<ask@x>"]
    assert found["Bcc"] is None
    broken = Asker(Address("M", "m@example.org"), bad, (), "Re: [PATCH] p")
    found = mail_of(series(), Sender(OWN, GATE, to=(broken.address,), asker=broken))
    assert (found["In-Reply-To"], found["Bcc"]) == (None, None)


def test_an_address_beyond_ascii_is_left_out() -> None:
    to = (Address("J", "jörg@example.org"), Address("K", "k@example.org"))
    assert mail_of(series(), Sender(OWN, GATE, to=to))["To"] == "K <k@example.org>"


@given(st.text(max_size=100), st.integers(0, 3))
def test_a_name_never_makes_another_recipient(name: str, others: int) -> None:
    to = [Address(name or "x", f"{n}@example.org") for n in range(others + 1)]
    found = mail_of(series(), Sender(OWN, GATE, to=tuple(to)))
    assert [one.addr_spec for one in found["To"].addresses] == [one.email for one in to]


def test_the_reply_is_one_for_each_mail_that_asked() -> None:
    asked = [
        Asker(Address("M", "m@example.org"), name, (), "Re: [PATCH] p") for name in ("a@x", "b@x")
    ]
    senders = [Sender(OWN, GATE), *(Sender(OWN, GATE, asker=one) for one in asked)]
    ids = {message_id(series(), run(), one) for one in senders}
    assert len(ids) == 3
    assert ids == {message_id(series(), run(), one) for one in senders}


def test_names_out_of_a_hostile_build_stay_on_their_lines() -> None:
    name = "f\x1b[31m\nBcc: x\u202e" + "g" * 5000
    one = Finding(
        kind=FindingKind.FRAME_GREW, severity=Severity.FAIL, patch=1, file="mm/one.c", line=2,
        function=name, before=8, after=900, text=(), reproduce=f"make && grep -w '{name}' x.su",
    )  # fmt: skip
    mail = compose(series(), run(one, headline=f"stack: {name}() grows."), Sender(OWN, GATE), DATE)
    text = mail.get_content()
    assert all(c.isprintable() or c in "\n\t" for c in text)
    assert not [line for line in text.splitlines() if line.startswith("Bcc")]
    assert all(len(line) <= 72 for line in text.splitlines() if not line.startswith(("> ", "  ")))
