"""Commands by mail, from the mail to what is stored and answered; keys are made here."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import text

from bot.contract import BuildResult, Finding, FindingKind, OursError, Outcome, Severity
from bot.mail.following import Fetched
from bot.mail.outbox import Outbox
from bot.mail.outrules import Rules
from bot.review import fingerprint
from bot.review.allow import Names
from bot.review.maintainers import parse as parse_maintainers
from bot.service import hearing, intake, reports
from bot.service.hearing import Ears
from bot.service.intake import Patience
from bot.service.reports import Report
from bot.store import mutes, wishes
from bot.store.database import Store
from bot.store.outbox import State
from bot.store.wishes import Ended
from tests.letters import NOON, letter, sending
from tests.stores import opened

NOW = datetime.now(UTC)  # dkimpy signs by the clock
LATE = (NOW - NOON).total_seconds() / 60 - 5  # minutes from NOON to just now
BOT = "bot@stackhog.example.org"
JANE, MAINTAINER = "Jane Doe <jane@example.org>", "M. Maintainer <m@example.org>"
MAINTAINERS = "MM\nM:\tM. Maintainer <m@example.org>\nF:\tmm/\n"
SIGNED = [b"from", b"date", b"to", b"cc", b"subject", b"in-reply-to", b"references", b"message-id"]
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.NoEncryption(),
)  # fmt: skip
PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)


def resolve(name: str) -> bytes | None:
    import base64  # noqa: PLC0415 - for this alone

    known = name.rstrip(".") == "key._domainkey.example.org"
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(PUBLIC) if known else None


def mail(
    body: str,
    *,
    sender: str = MAINTAINER,
    parent: str = "a-1",
    id: str = "c",  # noqa: A002 - what the header is called
    signed: bool = True,
) -> bytes:
    raw = letter(
        "Re: [PATCH 1/2] patch 1", body, id=id, parents=["a-0", parent], sender=sender,
        minutes=LATE, headers=f"To: {BOT}\nCc: linux-mm@kvack.org\n",
    ).replace(b"\n", b"\r\n")  # fmt: skip
    if not signed:
        return raw
    return bytes(dkim.sign(raw, b"key", b"example.org", PEM, include_headers=SIGNED)) + raw


class Room:
    """A store with a series of two patches in it, and all that judges commands."""

    def __init__(self, path: Path) -> None:
        self.store = opened(path / "store.db")
        self.outbox = Outbox(self.store, Rules())
        self.ears = Ears(
            own=(BOT,), sender=f"stackhog <{BOT}>", resolve=resolve,
            maintainers=lambda: (parse_maintainers(MAINTAINERS), ""),
            names=Names(["quick", "memcg"], ["default"]),
        )  # fmt: skip
        self.take(*sending("a", 2))
        intake.settle(self.store, NOW, Patience())

    def take(self, *raws: bytes) -> None:
        for raw in raws:
            intake.take(self.store, "list", Fetched(raw, ""), NOW, (BOT,))

    def hear(self, *raws: bytes, ears: Ears | None = None) -> list[str]:
        """Take mails in and hear them; return what was judged."""
        said = []
        for raw in raws:
            self.take(raw)
            heard = hearing.hear_all(self.store, ears or self.ears, self.outbox, NOW)
            said += [one.judged.reason for one in heard]
        return said

    def wanted(self) -> list[tuple[str, dict[str, object], str | None]]:
        with self.store.session() as session:
            return [(one.series, one.args, one.asked_in) for one in wishes.waiting(session)]

    def letters(self) -> list[str]:
        found = self.outbox.listed(tuple(State))
        return [self.outbox.show(one.id)[1].decode() for one in found]

    def report(self, store: Store, *findings: Finding) -> None:
        build = BuildResult(outcome=Outcome.PASSED)
        report = Report(
            tree="t", commit="c", base_reason="r", findings=findings, build=build, stack=None,
            stress=None,
        )  # fmt: skip
        with store.session() as session:
            wishes.keep(session, Ended("k", "a-0", "passed", reports.write(report)), NOW)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


GROWN = Finding(
    kind=FindingKind.FRAME_GREW, severity=Severity.FAIL, patch=1, file="mm/vmscan.c", line=9,
    function="pageout", before=88, after=608, text=(), reproduce="",
)  # fmt: skip
NAME = fingerprint.fingerprint(GROWN)[:7]


def test_a_maintainer_asks_for_a_run(room: Room) -> None:
    said = room.hear(mail("/test build stack profile=quick\n"))
    assert said == ["m@example.org is maintainer of MM"]
    assert room.wanted() == [
        ("a-0", {"jobs": ["build", "stack"], "profile": "quick"}, "c"),
    ]  # fmt: skip
    assert room.letters() == []


def test_a_mail_is_heard_once(room: Room) -> None:
    assert len(room.hear(mail("/test\n"), mail("/test\n"))) == 1
    assert len(room.wanted()) == 1


def test_whoever_is_not_responsible_is_told_so_in_private_and_once(room: Room) -> None:
    asked = mail("/test\n", sender="B. Body <b@example.org>")
    room.hear(asked, asked)
    assert room.wanted() == []
    (answer,) = room.letters()
    head, _, body = answer.partition("\r\n\r\n")
    assert 'To: "B. Body" <b@example.org>' in head
    assert "linux-mm" not in head
    assert "In-Reply-To: <c>" in head
    assert "Auto-Submitted: auto-replied" in head
    assert body.startswith("> /test\r\n\r\nB@example.org is no author of the series")
    assert "/mute FINDING" in body


def test_whose_domain_does_not_vouch_hears_nothing(room: Room) -> None:
    (said,) = room.hear(mail("/test\n", signed=False))
    assert said.startswith("who sent the mail is not proven")
    tampered = mail("/test\n", id="d").replace(b"/test", b"/test stack")
    room.hear(tampered)
    assert room.wanted() == []
    assert room.letters() == []


def test_a_replayed_mail_is_seen(room: Room) -> None:
    unsigned_id = [one for one in SIGNED if one != b"message-id"]
    raw = mail("/test\n", signed=False)
    signed = bytes(dkim.sign(raw, b"key", b"example.org", PEM, include_headers=unsigned_id)) + raw
    again = signed.replace(b"Message-ID: <c>", b"Message-ID: <other>")
    assert again != signed
    first, second = room.hear(signed, again)
    assert first == "m@example.org is maintainer of MM"
    assert second == "the mail is a replay: it is <c> sent again under another Message-ID"
    assert len(room.wanted()) == 1


def test_what_cannot_be_told_now_is_judged_later(room: Room) -> None:
    def down(name: str) -> bytes | None:
        raise OursError(f"DNS does not answer for {name}")

    deaf = Ears(**{**vars(room.ears), "resolve": down})
    (said,) = room.hear(mail("/test\n"), ears=deaf)
    assert said.startswith("who sent the mail cannot be told now")
    assert hearing.hear_all(room.store, deaf, room.outbox, NOW) != ()
    assert room.wanted() == []
    (heard,) = hearing.hear_all(room.store, room.ears, room.outbox, NOW)
    assert heard.judged.allowed
    assert len(room.wanted()) == 1
    assert hearing.hear_all(room.store, room.ears, room.outbox, NOW) == ()


def test_a_command_means_the_version_that_its_mail_answers(room: Room) -> None:
    room.take(*sending("b", 2, label="PATCH v2", minutes=20))
    intake.settle(room.store, NOW, Patience())
    room.hear(mail("/test\n"), mail("/test\n", id="e", parent="b-1"))
    assert [series for series, _, _ in room.wanted()] == ["a-0", "b-0"]


def test_a_command_may_name_the_series(room: Room) -> None:
    room.take(letter("[PATCH] mm: other", id="other@example.org", sender=JANE))
    intake.settle(room.store, NOW, Patience())
    room.hear(mail("/test <other@example.org>\n"), mail("/test none@example.org\n", id="d"))
    assert [series for series, _, _ in room.wanted()] == ["other@example.org"]
    (answer,) = room.letters()
    assert "No patch series with the mail <none@example.org> is known." in answer


def test_an_answer_to_an_answer_means_the_series_above(room: Room) -> None:
    room.hear(mail("/test\n", parent="somebodys-answer"))
    assert [series for series, _, _ in room.wanted()] == ["a-0"]


def test_a_run_is_cancelled(room: Room) -> None:
    room.hear(mail("/test\n"), mail("/cancel\n", id="d", sender=JANE))
    assert room.wanted() == []


def test_a_finding_is_muted_for_all_versions_and_unmuted(room: Room) -> None:
    room.report(room.store, GROWN)
    room.hear(mail(f"/mute {NAME} it goes away\n"))
    with room.store.session() as session:
        (muted,) = mutes.of(session, ["a-0"])
    assert (muted.fingerprint, muted.reason) == (fingerprint.fingerprint(GROWN), "it goes away")
    assert muted.by == MAINTAINER
    room.hear(mail(f"/unmute {NAME}\n", id="d"))
    with room.store.session() as session:
        assert mutes.of(session, ["a-0"]) == ()
    assert room.letters() == []


def test_a_finding_that_nobody_reported_cannot_be_muted(room: Room) -> None:
    room.report(room.store, GROWN)
    room.hear(mail("/mute 1234567\n/unmute 7654321\n"))
    (answer,) = room.letters()
    assert f'Not done: "1234567" is no finding of this series; there are {NAME}.' in answer
    assert "Not done: no finding 7654321 is muted for this series." in answer


def test_help_is_answered_with_the_help_alone(room: Room) -> None:
    room.hear(mail("/help\n", sender="B. Body <b@example.org>"))
    (answer,) = room.letters()
    assert answer.partition("\r\n\r\n")[2].startswith("Commands stand at the start of a line")


def test_all_that_is_wrong_in_a_mail_is_told_in_one_answer(room: Room) -> None:
    room.hear(mail("/tset\n/test profile=none\n/test\n"))
    (answer,) = room.letters()
    assert "There is no command /tset" in answer
    assert "There is no profile none; there are memcg, quick." in answer
    assert len(room.wanted()) == 1


@pytest.mark.parametrize(
    "raw",
    [
        mail("> /test\n"),
        mail("Nothing.\n"),
        mail("/test\n").replace(b"To: bot@", b"To: other@"),
    ],
)
def test_what_is_no_command_leaves_no_trace(room: Room, raw: bytes) -> None:
    assert room.hear(raw) == []
    assert room.letters() == []


def test_a_robot_is_not_answered(room: Room) -> None:
    raw = b"Auto-Submitted: auto-replied\r\n" + mail("/test\n/nonsense\n")
    assert all("machine" in one for one in room.hear(raw))
    assert (room.wanted(), room.letters()) == ([], [])


def test_every_command_is_written_down(room: Room) -> None:
    room.hear(mail("/test\n"), mail("/test\n", id="d", sender="B. Body <b@example.org>"))
    what = "message_id, line, sender, verb, cast(args as text), series, allowed, outcome"
    with room.store.session() as session:  # with other eyes than the code
        found = session.execute(text(f"select {what} from commands order by id"))  # noqa: S608 - ours
        rows = [tuple(row) for row in found]
    assert [(*row[:4], json.loads(row[4]), *row[5:]) for row in rows] == [
        ("c", 1, "m@example.org", "test", {}, "a-0", 1, "a run is wanted"),
        ("d", 1, "b@example.org", "test", {}, "a-0", 0, ""),
    ]
