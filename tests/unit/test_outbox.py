"""What may leave, when and to whom; tests/integration/test_outbox.py has the servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import OursError
from bot.mail import outrules, wire
from bot.mail.headers import printable
from bot.mail.outbox import LEASE, HaltedError, Outbox, OutboxError, Place
from bot.mail.outrules import DAY, Mode, Rules
from bot.mail.smtp import Answer, Envelope, Result, Server, Timeouts, Tls, Watch, loopback
from bot.mail.wire import BadMailError
from bot.store import outbox as rows
from bot.store.database import Store
from bot.store.outbox import Letter, State
from tests.stores import opened

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
ANN, BOB, LIST = "ann@example.org", "bob@example.org", "linux-x@vger.example.org"
TAKEN = Result(Answer.ACCEPTED, "end", "250 taken")
LATER = Result(Answer.TEMPORARY, "rcpt", "451 later")


class Fake:
    """A server that takes all mail unless told otherwise; ``between`` runs before the end."""

    def __init__(self, *results: Result, between: Callable[[], object] = lambda: None) -> None:
        self.results, self.between = list(results), between
        self.taken: list[Envelope] = []

    @contextmanager
    def __call__(self) -> Iterator[Fake]:
        yield self

    def deliver(self, envelope: Envelope, watch: Watch) -> Result:
        watch.stage("connect", "here")
        result = self.results.pop(0) if self.results else TAKEN
        if result.stage == "end":
            self.between()
            watch.hand_over()
            self.taken.append(envelope)
        return result


def mail(number: int = 1, to: str = ANN, cc: str = "", **headers: str) -> EmailMessage:
    found = EmailMessage(policy=SMTP)
    found["From"] = "stackhog <bot@example.com>"
    found["To"] = to
    if cc:
        found["Cc"] = cc
    found["Subject"] = headers.get("subject", f"Re: [PATCH] {number}")
    found["Message-ID"] = f"<stackhog-{number}@example.com>"
    found.set_content("Grüße\n", charset="utf-8", cte="8bit")
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = opened(tmp_path / "store.db")
    yield found
    found.close()


def box(store: Store, fake: Fake | None = None, **rules: object) -> Outbox:
    usual = {"mode": Mode.SEND, "is_list": lambda one: "vger" in one}
    return Outbox(store, Rules(**{**usual, **rules}), fake)  # type: ignore[arg-type]


def put(out: Outbox, number: int = 1, to: str = ANN, thread: str = "", **more: object) -> Letter:
    place = Place(thread or f"t{number}", **more)  # type: ignore[arg-type]
    return out.put(mail(number, to), place, NOW)


def stages(out: Outbox, key: int = 1) -> list[str]:
    return [step.stage for step in out.show(key)[2]]


# what is put


def test_the_same_mail_put_again_changes_nothing_in_any_state(store: Store) -> None:
    out = box(store, Fake())
    first = put(out)
    for _ in range(3):
        assert put(out, to=BOB) == out.get(first.id)
        out.deliver_due(NOW)
    assert out.get(first.id).state is State.SENT
    assert out.get(first.id).recipients == (ANN,)
    assert len(out.listed(tuple(State))) == 1


@pytest.mark.parametrize(
    ("mode", "state"),
    [(Mode.DRY_RUN, State.HELD), (Mode.MODERATE, State.HELD), (Mode.SEND, State.WAITING)],
)
def test_a_new_mail_waits_as_the_mode_has_it(store: Store, mode: Mode, state: State) -> None:
    assert put(box(store, mode=mode)).state is state


def test_without_rules_nothing_is_ever_sent(store: Store) -> None:
    fake = Fake()
    out = Outbox(store, Rules(), fake)
    out.approve(put(out).id, "me", NOW)
    assert out.get(1).state is State.WAITING
    assert out.deliver_due(NOW + DAY) == ()
    assert fake.taken == []


def test_moderation_sends_what_was_approved_and_nothing_else(store: Store) -> None:
    fake = Fake()
    out = box(store, fake, mode=Mode.MODERATE)
    put(out, 1)
    put(out, 2)
    assert out.deliver_due(NOW) == ()
    out.approve(2, "me", NOW)
    assert [one.id for one in out.deliver_due(NOW)] == [2]
    assert [out.get(key).state for key in (1, 2)] == [State.HELD, State.SENT]
    assert any(step.said == "approved by me" for step in out.show(2)[2])


def test_what_waited_before_moderation_was_switched_on_is_held(store: Store) -> None:
    fake = Fake()
    put(box(store))
    out = box(store, fake, mode=Mode.MODERATE)
    (held,) = out.deliver_due(NOW)
    assert held.state is State.HELD
    assert fake.taken == []


def test_what_was_held_in_dry_run_does_not_leave_by_itself_later(store: Store) -> None:
    put(box(store, mode=Mode.DRY_RUN))
    assert box(store, Fake()).deliver_due(NOW + DAY) == ()


def test_nobody_sends_without_a_server(store: Store) -> None:
    put(box(store))
    with pytest.raises(OursError, match="smtp_host"):
        box(store).deliver_due(NOW)


def test_an_embargo_is_waited_for_and_may_be_replaced(store: Store) -> None:
    out = box(store, Fake(), embargo=timedelta(hours=6))
    put(out, 1)
    put(out, 2, not_before=NOW)
    put(out, 3, not_before=NOW + 2 * DAY)
    sent = [[one.id for one in out.deliver_due(NOW + timedelta(hours=h))] for h in (0, 5, 6, 48)]
    assert sent == [[2], [], [1], [3]]


def test_approval_does_not_shorten_an_embargo(store: Store) -> None:
    out = box(store, Fake(), mode=Mode.MODERATE, embargo=timedelta(hours=6))
    out.approve(put(out).id, "me", NOW)
    assert out.deliver_due(NOW) == ()
    assert len(out.deliver_due(NOW + timedelta(hours=6))) == 1


@pytest.mark.parametrize("words", ["", "<a b@example.com>", "<nothing>", "<ü@example.com>"])
def test_a_mail_without_an_id_of_its_own_is_refused(store: Store, words: str) -> None:
    found = mail()
    del found["Message-ID"]
    found["Message-ID"] = words
    with pytest.raises(BadMailError):
        box(store).put(found, Place("t"), NOW)


@pytest.mark.parametrize("words", ["", "nobody", "a@x.org, b@x.org"])
def test_a_mail_is_from_one_address(store: Store, words: str) -> None:
    found = mail()
    del found["From"]
    found["From"] = words
    with pytest.raises(BadMailError, match="From is"):
        box(store).put(found, Place("t"), NOW)


# to whom


def test_our_own_ignored_and_invalid_addresses_get_nothing_and_are_noted(store: Store) -> None:
    fake = Fake()
    ignored = {BOB: "asked not to hear from us"}.get
    out = box(store, fake, own=("Own@Example.com",), ignored=ignored)
    to = f'Ann <{ANN}>, {BOB}, own@example.com, BOT@example.com, nobody, "a b"@x.org, <>, ä@x.org'
    letter = put(out, to=to)
    assert letter.recipients == (ANN,)
    said = " ".join(step.said for step in out.show(1)[2])
    assert f"{BOB} gets nothing: asked not to hear from us" in said
    assert said.count("our own address") == 2
    assert said.count("no address that mail can be sent to") >= 3
    out.deliver_due(NOW)
    ((envelope,), text) = fake.taken, out.show(1)[1]
    assert envelope.recipients == (ANN,)
    assert b"To: Ann <ann@example.org>\r\n" in text
    assert b"bob" not in text


def test_an_address_is_written_to_once(store: Store) -> None:
    letter = box(store).put(mail(to=f"{ANN}, ANN@example.org", cc=ANN), Place("t"), NOW)
    assert letter.recipients == (ANN,)


def test_a_mail_to_nobody_is_dropped_with_the_reason(store: Store) -> None:
    letter = put(box(store), to="bot@example.com")
    assert letter.state is State.DROPPED
    assert "nobody is left" in letter.reason
    assert "our own address" in letter.reason


def test_who_opts_out_while_a_mail_waits_does_not_get_it(store: Store) -> None:
    fake, ignored = Fake(), dict[str, str]()
    out = box(store, fake, ignored=ignored.get)
    put(out, 1, f"{ANN}, {BOB}")
    put(out, 2, BOB)
    ignored[BOB] = "opted out"
    sent, dropped = out.deliver_due(NOW)
    assert (sent.state, sent.recipients) == (State.SENT, (ANN,))
    assert BOB.encode() not in fake.taken[0].mail
    assert dropped.state is State.DROPPED
    assert "opted out" in dropped.reason


def test_the_store_holds_no_more_recipients_than_the_mail_names(store: Store) -> None:
    name = '"bob@example.org, Ö" <ann@example.org>'  # a comma that is not one
    letter = put(box(store), to=name)
    assert letter.recipients == (ANN,)
    assert [one.addr_spec for one in wire.parsed(box(store).show(1)[1])["To"].addresses] == [ANN]


# how many, how often


def test_a_mail_over_a_cap_waits_until_the_day_is_over(store: Store) -> None:
    fake = Fake()
    out = box(store, fake, list_cap=2, person_cap=1)
    for number in range(1, 4):
        put(out, number, LIST)
    put(out, 4, ANN)
    put(out, 5, f"{ANN}, {LIST}")
    out.deliver_due(NOW)
    assert [out.get(key).state for key in range(1, 6)] == [
        State.SENT, State.SENT, State.WAITING, State.SENT, State.WAITING,
    ]  # fmt: skip
    late = out.get(3)
    assert late.reason == f"{LIST} got 2 mails in 24 hours, the cap is 2"
    assert NOW + DAY <= late.due < NOW + DAY + timedelta(minutes=1)
    assert late.attempts == 0
    out.deliver_due(NOW + DAY - timedelta(seconds=1))
    assert len(fake.taken) == 3
    out.deliver_due(NOW + DAY + timedelta(minutes=1))
    assert len(fake.taken) == 5


def test_a_list_may_have_a_cap_of_its_own_but_no_higher_one(store: Store) -> None:
    out = box(store, Fake(), list_cap=2, own_cap={LIST: 1, "b@vger": 9}.get)
    assert out.is_dry is False
    rules = Rules(list_cap=2, is_list=lambda _: True, own_cap={LIST: 1, "b@vger": 9}.get)
    assert [rules.cap(one) for one in (LIST, "b@vger", "c@vger")] == [1, 2, 2]


def test_what_was_refused_does_not_count_and_what_is_uncertain_does(store: Store) -> None:
    refused = Result(Answer.PERMANENT, "rcpt", "550 no")
    lost = Result(Answer.UNCERTAIN, "end", "cut")
    out = box(store, Fake(refused, LATER, lost), person_cap=1)
    for number in range(1, 5):
        put(out, number)
    out.deliver_due(NOW)
    states = [out.get(key).state for key in range(1, 5)]
    assert states == [State.FAILED, State.WAITING, State.UNCERTAIN, State.WAITING]
    assert "451 later" in out.get(2).reason
    assert "the cap is 1" in out.get(4).reason


def test_who_was_refused_alone_is_not_counted(store: Store) -> None:
    part = Result(Answer.ACCEPTED, "end", "250 taken", refused=(BOB,))
    out = box(store, Fake(part), person_cap=1)
    put(out, 1, f"{ANN}, {BOB}")
    put(out, 2, BOB)
    out.deliver_due(NOW)
    assert out.get(1).reason == f"250 taken; not to {BOB}"
    assert out.get(2).state is State.SENT


def test_a_thread_gets_so_many_mails_and_no_more(store: Store) -> None:
    out = box(store, Fake(), thread_limit=2)
    states = [put(out, number, thread="t").state for number in range(1, 5)]
    assert states == [State.WAITING, State.WAITING, State.DROPPED, State.DROPPED]
    assert "the limit is 2" in out.get(3).reason
    assert put(out, 5, thread="u").state is State.WAITING
    assert len(out.deliver_due(NOW)) == 3
    assert put(out, 6, thread="t").state is State.DROPPED


def test_a_limit_that_was_lowered_holds_for_what_waits(store: Store) -> None:
    out = box(store, Fake(), thread_limit=3)
    for number in range(1, 4):
        put(out, number, thread="t")
    strict = box(store, Fake(), thread_limit=1)
    strict.deliver_due(NOW)
    assert [out.get(key).state for key in (1, 2, 3)] == [State.SENT, State.DROPPED, State.DROPPED]


def test_the_pause_between_two_tries_grows_to_eight_hours() -> None:
    pauses = [outrules.pause(number) for number in range(1, 9)]
    assert pauses[:3] == [timedelta(minutes=5), timedelta(minutes=10), timedelta(minutes=20)]
    assert pauses[7] == outrules.pause(10**6) == timedelta(hours=8)


def test_four_days_of_refusals_fail_a_mail_with_all_of_them_in_its_trace(store: Store) -> None:
    out = box(store, Fake(*[LATER] * 99))
    put(out)
    now = NOW
    while (letter := out.get(1)).state is State.WAITING:
        now = max(now, letter.due)
        out.deliver_due(now)
    assert letter.state is State.FAILED
    assert letter.reason == f"given up, attempt {letter.attempts}: rcpt: 451 later"
    assert timedelta(days=3) < now - NOW <= timedelta(days=4)
    assert stages(out).count("reserved") == letter.attempts > 10


def test_a_server_that_takes_nothing_is_asked_once_a_round(store: Store) -> None:
    closed = Result(Answer.TEMPORARY, "auth", "535 no", session=True)
    out = box(store, Fake(closed))
    put(out, 1)
    put(out, 2)
    assert [one.id for one in out.deliver_due(NOW)] == [1]
    assert out.get(2).attempts == 0


# the stop switch


def test_stop_holds_across_restarts_and_go_releases(store: Store, tmp_path: Path) -> None:
    put(box(store))
    box(store).stop("me", NOW)
    other = opened(tmp_path / "store.db")
    fake = Fake()
    assert box(other, fake).deliver_due(NOW + DAY) == ()
    assert box(other).stopped() == "sending is stopped: by me at 2026-01-05 12:00 UTC"
    box(other).go()
    assert len(box(store, fake).deliver_due(NOW + DAY)) == 1
    other.close()


def test_stop_right_before_the_end_is_in_time(store: Store) -> None:
    fake = Fake(between=lambda: box(store).stop("me", NOW))
    out = box(store, fake)
    put(out, 1)
    put(out, 2)
    (held,) = out.deliver_due(NOW)
    assert fake.taken == []
    assert held.state is State.WAITING
    assert (held.tried, held.reason) == (None, "sending is stopped: by me at 2026-01-05 12:00 UTC")
    assert out.get(2).attempts == 0


def test_stop_between_two_mails_stops_the_second(store: Store) -> None:
    out = box(store)

    class Stopping(Fake):
        def deliver(self, envelope: Envelope, watch: Watch) -> Result:
            result = super().deliver(envelope, watch)
            out.stop("me", NOW)  # the first is handed over: too late for it
            return result

    fake = Stopping()
    put(out, 1)
    put(out, 2)
    assert [one.state for one in box(store, fake).deliver_due(NOW)] == [State.SENT]
    assert len(fake.taken) == 1


# killed, lost, found again


class Killed(Exception):  # noqa: N818 - it stands for a signal
    """What ends a process without a word."""


def killed(when: str) -> Fake:
    class Dying(Fake):
        def deliver(self, envelope: Envelope, watch: Watch) -> Result:
            if when == "handed":
                super().deliver(envelope, watch)
            raise Killed

    return Dying()


@pytest.mark.parametrize(
    ("when", "left", "found"),
    [("reserved", State.RESERVED, State.WAITING), ("handed", State.HANDED, State.UNCERTAIN)],
)
def test_what_a_killed_sender_left_is_taken_back(
    store: Store, when: str, left: State, found: State
) -> None:
    put(box(store))
    with pytest.raises(Killed):
        box(store, killed(when)).deliver_due(NOW)
    out = box(store, Fake())
    assert out.get(1).state is left
    assert out.recover(NOW + LEASE / 2) == ()
    assert out.recover(NOW + LEASE + timedelta(seconds=5)) == (1,)
    assert out.get(1).state is found
    again = out.deliver_due(NOW + DAY)
    assert len(again) == (1 if found is State.WAITING else 0)


def test_each_round_takes_back_what_was_left(store: Store) -> None:
    put(box(store))
    with pytest.raises(Killed):
        box(store, killed("reserved")).deliver_due(NOW)
    (sent,) = box(store, Fake()).deliver_due(NOW + DAY)
    assert (sent.state, sent.attempts) == (State.SENT, 2)


def test_a_mail_taken_back_from_a_living_sender_is_not_sent_by_it(store: Store) -> None:
    other = Fake()

    def steal() -> None:
        box(store).recover(NOW, -DAY)
        box(store, other).deliver_due(NOW + timedelta(minutes=1))

    slow = Fake(between=steal)
    put(box(store))
    box(store, slow).deliver_due(NOW)
    assert (len(slow.taken), len(other.taken)) == (0, 1)
    assert box(store).get(1).state is State.SENT


def test_a_mail_that_another_sender_is_about_to_send_is_left_to_it(store: Store) -> None:
    def die() -> None:
        raise Killed

    def steal() -> None:
        box(store).recover(NOW, -DAY)
        with pytest.raises(Killed):
            box(store, Fake(between=die)).deliver_due(NOW + timedelta(minutes=1))
        assert box(store).get(1).state is State.RESERVED

    slow = Fake(between=steal)
    put(box(store))
    box(store, slow).deliver_due(NOW)
    assert slow.taken == []
    assert box(store).get(1).state is State.RESERVED


def test_an_answer_that_comes_late_still_counts(store: Store) -> None:
    class Late(Fake):
        def deliver(self, envelope: Envelope, watch: Watch) -> Result:
            result = super().deliver(envelope, watch)
            box(store).recover(NOW, -DAY)
            assert box(store).get(1).state is State.UNCERTAIN
            return result

    put(box(store))
    (sent,) = box(store, Late()).deliver_due(NOW)
    assert sent.state is State.SENT


def test_what_a_clock_that_was_ahead_put_there_goes_when_it_is_set_back(store: Store) -> None:
    server = Fake()
    out = box(store, server)
    put(out)
    out.put(mail(2), Place("t2", not_before=NOW + timedelta(minutes=5)), NOW)
    (sent,) = out.deliver_due(NOW - DAY)
    assert (sent.id, sent.state, len(server.taken)) == (1, State.SENT, 1)
    assert out.get(2).state is State.WAITING  # an embargo is one by any clock


def test_the_pause_of_a_clock_that_was_ahead_is_over_when_it_is_set_back(store: Store) -> None:
    server = Fake(Result(Answer.TEMPORARY, "rcpt", "later"))
    out = box(store, server)
    put(out)
    assert out.deliver_due(NOW + DAY)[0].state is State.WAITING
    (sent,) = out.deliver_due(NOW)
    assert (sent.state, len(server.taken)) == (State.SENT, 1)


class Away(Fake):
    """A server during whose dialogue the store goes away; `deliver` raises as the store does."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self.when = when

    def deliver(self, envelope: Envelope, watch: Watch) -> Result:
        when, self.when = self.when, ""
        if when == "before":
            raise OursError("the store cannot be used now")
        result = super().deliver(envelope, watch)
        if when == "handed":
            raise OursError("the store cannot be used now")
        return result


@pytest.mark.parametrize(
    ("when", "found", "copies"), [("before", State.SENT, 1), ("handed", State.UNCERTAIN, 1)]
)
def test_a_living_sender_takes_back_at_once_what_the_store_broke_off(
    store: Store, when: str, found: State, copies: int
) -> None:
    server = Away(when)
    out = box(store, server)
    put(out)
    with pytest.raises(OursError):
        out.deliver_due(NOW)
    out.deliver_due(NOW + timedelta(seconds=1))
    assert (out.get(1).state, len(server.taken)) == (found, copies)
    assert out.deliver_due(NOW + DAY) == ()


def test_an_answer_that_the_store_did_not_hear_is_told_when_it_is_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> bool:
        raise OursError("the store cannot be used now")

    server = Fake()
    out = box(store, server)
    put(out)
    with monkeypatch.context() as patched:
        patched.setattr(rows, "settle", away)
        for _ in range(2):
            with pytest.raises(OursError):
                out.deliver_due(NOW)
    assert out.get(1).state is State.HANDED
    assert out.deliver_due(NOW + timedelta(seconds=1)) == ()
    assert (out.get(1).state, len(server.taken)) == (State.SENT, 1)


def test_an_uncertain_mail_seen_in_an_archive_was_sent(store: Store) -> None:
    out = box(store, Fake(Result(Answer.UNCERTAIN, "end", "cut")))
    letter = put(out)
    out.deliver_due(NOW)
    assert out.confirm(f"<{letter.message_id}>", NOW)
    assert out.confirm(letter.message_id, NOW)
    assert out.get(1).state is State.SENT
    assert not out.confirm("somebody-elses@example.org", NOW)


def test_a_mail_that_was_never_tried_cannot_have_been_seen(store: Store) -> None:
    out = box(store, Fake(between=lambda: seen.append(out.confirm(letter.message_id, NOW))))
    seen: list[bool] = []
    letter = put(out)
    assert not out.confirm(letter.message_id, NOW)
    out.deliver_due(NOW)
    assert seen == [False]  # while its first attempt was under way
    assert out.get(1).state is State.SENT


def test_a_refusal_that_came_after_all_was_a_delivery_is_known_from_the_archive(
    store: Store,
) -> None:
    fake = Fake(Result(Answer.TEMPORARY, "end", "451 timed out"))
    out = box(store, fake)
    letter = put(out)
    out.deliver_due(NOW)
    assert out.get(1).state is State.WAITING
    assert out.confirm(letter.message_id, NOW)
    assert out.deliver_due(NOW + DAY) == ()


def test_only_a_person_sends_again_what_may_have_arrived(store: Store) -> None:
    out = box(store, Fake(Result(Answer.UNCERTAIN, "end", "cut")))
    put(out)
    out.deliver_due(NOW)
    with pytest.raises(OutboxError, match="it is uncertain: see its trace, then say --again"):
        out.approve(1, "me", NOW)
    out.approve(1, "me", NOW, again=True)
    (sent,) = out.deliver_due(NOW)
    assert (sent.state, sent.attempts) == (State.SENT, 2)


@pytest.mark.parametrize("state", [State.SENT, State.DROPPED])
def test_what_is_over_is_neither_approved_nor_dropped(store: Store, state: State) -> None:
    out = box(store, Fake())
    put(out, to=ANN if state is State.SENT else "bot@example.com")
    out.deliver_due(NOW)
    assert out.get(1).state is state
    with pytest.raises(OutboxError, match="it is " + state):
        out.approve(1, "me", NOW, again=True)
    with pytest.raises(OutboxError, match="it is " + state):
        out.drop(1, "me", NOW)


def test_what_is_being_sent_is_not_dropped(store: Store) -> None:
    def drop() -> None:
        with pytest.raises(OutboxError, match="it is reserved"):
            out.drop(1, "me", NOW)

    out = box(store, Fake(between=drop))
    put(out)
    (sent,) = out.deliver_due(NOW)
    assert sent.state is State.SENT


def test_what_was_dropped_is_not_sent(store: Store) -> None:
    out = box(store, Fake())
    out.drop(put(out).id, "me", NOW)
    assert out.deliver_due(NOW) == ()
    assert stages(out) == ["waiting", "dropped"]


def test_a_mail_that_is_not_there_is_one_sentence(store: Store) -> None:
    with pytest.raises(OutboxError, match="there is no mail 7"):
        box(store).show(7)


def test_the_trace_tells_each_stage(store: Store) -> None:
    out = box(store, Fake())
    put(out)
    out.deliver_due(NOW)
    assert stages(out) == ["waiting", "reserved", "connect", "handed", "sent"]


def test_a_halt_says_why() -> None:
    assert str(HaltedError("sending is stopped")) == "sending is stopped"


# bytes


@pytest.mark.parametrize("local", [True, False])
def test_a_password_leaves_this_machine_only_encrypted(local: bool) -> None:  # noqa: FBT001 - pytest passes it so
    host = "127.0.0.1" if local else "mail.example.org"
    assert loopback(host) is local
    if local:
        Server(host, 25, Tls.NONE, "me", "x")
        return
    with pytest.raises(OursError, match="set smtp_tls"):
        Server(host, 25, Tls.NONE, "me", "x")


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("::1", True), ("127.9.9.9", True), ("localhost.example.org", False),
     ("127.0.0.1.example.org", False), ("10.0.0.1", False), ("", False)],
)  # fmt: skip
def test_loopback_is_this_machine_alone(host: str, local: bool) -> None:  # noqa: FBT001 - the same
    assert loopback(host) is local


def test_a_password_is_in_no_text_made_of_a_server() -> None:
    assert "hidden" not in repr(Server("x.org", 587, Tls.STARTTLS, "me", "hidden"))
    with pytest.raises(OursError) as raised:
        Server("x.org", 587, Tls.STARTTLS, "me", "hiddén")
    assert "hidd" not in str(raised.value)


def test_a_lease_outlasts_every_stage() -> None:
    times = Timeouts()
    longest = max(times.connect, times.command, times.data, times.block, times.end)
    assert timedelta(seconds=longest) < LEASE


@pytest.mark.parametrize(
    "address",
    ["a@b", "a.b+c@d-e.example.org", "a'b@x.org", "x=y{z}|~@x.org", "1@2.3"],
)
def test_addresses_that_mail_can_be_sent_to(address: str) -> None:
    assert wire.valid(address)


@pytest.mark.parametrize(
    "address",
    ["", "@", "a@", "@b", "a", "a@b@c", "a b@c", "a@b c", "<a@b>", "a@b>", "a\r\nRCPT TO:<x@y>@b",
     "a@b\n", "a@b\r", "a@b\0", "a@b.", "a@.b", "a@b..c", "ä@b", "a@ß", '"a"@b', "a@[1.2.3.4]",
     "a" * 65 + "@b", "a@" + "b" * 300, "a,b@c", "a;b@c", "a:b@c", "a\\b@c", "a(b)@c"],
)  # fmt: skip
def test_addresses_that_mail_cannot_be_sent_to(address: str) -> None:
    assert not wire.valid(address)


@given(st.text())
def test_no_address_ends_a_command(address: str) -> None:
    if wire.valid(address):
        assert address.isascii()
        assert not set(address) & set('\r\n\0 <>,;:"\\')


@given(st.text(alphabet=st.sampled_from("ab.\r\n\0é\u2028 "), max_size=80))
def test_content_never_ends_before_its_end(text: str) -> None:
    found = mail()
    found.set_content(text + "\n", charset="utf-8", cte="8bit")
    raw = wire.wire(found)
    content = wire.stuffed(raw)
    assert b"\r\n.\r\n" not in content
    assert content.endswith(b"\r\n")
    assert not set(content.replace(b"\r\n", b"")) & set(b"\r\n\0")
    assert content.replace(b"\r\n..", b"\r\n.") == raw
    assert wire.wire(wire.parsed(raw)) == raw
    assert wire.quoted_printable(raw).isascii()


@given(st.text(max_size=300))
def test_a_subject_is_one_header_whatever_is_in_it(text: str) -> None:
    subject = " ".join(printable(text).split()) or "x"
    raw = wire.wire(mail(subject=subject))
    head = raw.partition(b"\r\n\r\n")[0]
    assert head.isascii()
    assert max(map(len, head.split(b"\r\n"))) <= wire.LONGEST
    names = [line.split(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    assert names == [
        b"From", b"To", b"Subject", b"Message-ID", b"Content-Type",
        b"Content-Transfer-Encoding", b"MIME-Version",
    ]  # fmt: skip


def test_a_long_line_is_encoded_so_that_it_passes(store: Store) -> None:
    found = mail()
    found.set_content("é" * 900 + "\n", charset="utf-8", cte="8bit")
    box(store).put(found, Place("t"), NOW)
    raw = box(store).show(1)[1]
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    assert wire.parsed(raw).get_content().splitlines() == ["é" * 900]


def test_quoted_printable_says_the_same_each_time() -> None:
    raw = wire.wire(mail())
    once = wire.quoted_printable(raw)
    assert once == wire.quoted_printable(raw) != raw
    assert wire.quoted_printable(once) == once
    assert wire.parsed(once).get_content() == wire.parsed(raw).get_content()


def test_long_message_ids_stay_message_ids() -> None:
    found = mail()
    long = [f"<{letter * 90}@example.org>" for letter in "abc"]
    found["In-Reply-To"] = long[0]
    found["References"] = " ".join([*long, "<ü@example.org>"])
    raw = wire.wire(found)
    assert f"In-Reply-To: {long[0]}\r\n".encode() in raw
    assert ("References: " + "\r\n ".join(long) + "\r\n").encode() in raw


def test_a_mail_of_many_parts_is_refused() -> None:
    found = mail()
    found.add_attachment("x")
    with pytest.raises(BadMailError, match="multipart/mixed"):
        wire.wire(found)


def test_nobody_is_in_bcc() -> None:
    found = mail()
    found["Bcc"] = BOB
    assert BOB.encode() not in wire.wire(found)
