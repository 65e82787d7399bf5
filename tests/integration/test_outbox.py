"""The outbox against real SMTP servers on loopback, with the connection cut wherever it can be."""

from __future__ import annotations

import multiprocessing
import os
import signal
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
import trustme
from sqlalchemy.orm import Session

from bot.mail.outbox import LEASE, Outbox, Place
from bot.mail.outrules import Mode, Rules
from bot.mail.smtp import Dialogue, Server, Timeouts, Tls
from bot.store.database import Store
from bot.store.outbox import Letter, State
from tests.integration.conftest import ROOT, STACKHOG
from tests.integration.smtpcut import HOST, Cut, Post, Script, Wire, ids
from tests.stores import opened

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=2)
QUICK = Timeouts(connect=20, command=20, data=20, block=20, end=20)
PASSWORD = "correct horse battery"  # noqa: S105 - of servers that live for one test
WRONG = "wrong horse"
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.integration.test_outbox"])

CONTENT = rb"DATA\r\n"
END = rb"DATA\r\n.*\r\n\.\r\n"
GO_ON = rb"354[^\n]*\n"


def mail(number: int = 1, to: str = "ann@example.org") -> EmailMessage:
    found = EmailMessage(policy=SMTP)
    found["From"] = "stackhog <bot@example.com>"
    found["To"] = to
    found["Subject"] = f"Re: [PATCH] mm: change {number}"
    found["Message-ID"] = f"<stackhog-{number}@example.com>"
    found["In-Reply-To"] = f"<{'x' * 90}@example.org>"
    lines = ["Grüße.", "", ".", "..", ".hidden", "From here on", *["more"] * 40]
    found.set_content("\n".join(lines) + "\n", charset="utf-8", cte="8bit")
    return found


def server(port: int, tls: Tls = Tls.NONE, **more: object) -> Server:
    return Server(HOST, port, tls, timeouts=QUICK, **more)  # type: ignore[arg-type]


def outbox(store: Store, to: Server | int, **rules: object) -> Outbox:
    there = server(to) if isinstance(to, int) else to
    plenty = {"mode": Mode.SEND, "list_cap": 9999, "person_cap": 9999, "thread_limit": 9999}
    return Outbox(store, Rules(**{**plenty, **rules}), lambda: Dialogue(there))  # type: ignore[arg-type]


def put(box: Outbox, number: int = 1, to: str = "ann@example.org") -> Letter:
    return box.put(mail(number, to), Place(f"thread-{number}@example.org"), NOW)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = opened(tmp_path / "store.db")
    yield found
    found.close()


def settled(
    store: Store, post: Post, key: int, to: Callable[[int], Server] = server
) -> tuple[int, State]:
    """Let time pass and mail flow freely; return how many copies arrived, and the last state."""
    free = outbox(store, to(post.port))
    letter = free.get(key)
    for _ in range(3):
        free.deliver_due(LATER + LEASE)
        free.recover(LATER + 3 * LEASE)
    copies = ids(post.mails).count(letter.message_id)
    return copies, free.get(key).state


# the wire is cut


BEFORE_THE_END = {
    "before the banner": Cut("server"),
    "in the banner": Cut("server", b"220 "),
    "after the banner": Cut("server", rb"220[^\n]*\n"),
    "in EHLO": Cut("client", b"eh"),
    "after EHLO": Cut("client", rb"ehlo[^\n]*\n"),
    "in the answer to EHLO": Cut("server", b"250-8BIT"),
    "after the answer to EHLO": Cut("server", b"250 HELP\r\n"),
    "in MAIL": Cut("client", b"FROM:<"),
    "after MAIL": Cut("client", rb"FROM:[^\n]*\n"),
    "after the answer to MAIL": Cut("server", b"250 OK\r\n"),
    "after RCPT": Cut("client", rb"TO:[^\n]*\n"),
    "after the answer to RCPT": Cut("server", rb"250 OK\r\n.*250 OK\r\n"),
    "after DATA": Cut("client", CONTENT),
    "in the answer to DATA": Cut("server", b"354"),
    "after the answer to DATA": Cut("server", GO_ON),
}
WITHIN_THE_CONTENT = {  # the sender may have written all before it can learn of the cut
    "after the first byte of the content": Cut("client", CONTENT, 1),
    "in the headers": Cut("client", CONTENT, 100),
    "between headers and body": Cut("client", rb"DATA\r\n.*\r\n\r\n"),
    "after a dot of the body that is stuffed": Cut("client", rb"\r\n\.\."),
    "right before the end": Cut("client", END, -3),
}
WITHIN_THE_END = {
    "after the dot, before its CRLF": Cut("client", END, -2),
    "after the dot and CR": Cut("client", END, -1),
    "right after the end": Cut("client", END),
    "before the answer": Cut("server", GO_ON + b".", -1),
    "in the answer's code": Cut("server", GO_ON + b"25", 0),
    "in the answer's text": Cut("server", GO_ON + b"250 t", 0),
}
AFTER_THE_ANSWER = {
    "after the answer": Cut("server", GO_ON + rb"[^\n]*\n"),
    "after QUIT": Cut("client", rb"(?i)QUIT\r\n"),
}


@pytest.mark.parametrize("where", BEFORE_THE_END)
def test_what_is_cut_before_the_end_arrives_once_by_the_next_try(store: Store, where: str) -> None:
    with Post() as post, Wire(post.port, BEFORE_THE_END[where]) as wire:
        box = outbox(store, wire.port)
        letter = put(box)
        (tried,) = box.deliver_due(NOW)
        assert wire.cuts == 1
        assert tried.state is State.WAITING
        assert tried.reason
        assert post.mails == []
        assert settled(store, post, letter.id) == (1, State.SENT)


@pytest.mark.parametrize("where", WITHIN_THE_CONTENT)
def test_what_is_cut_within_the_content_is_sent_again_only_if_that_was_seen_in_time(
    store: Store, where: str
) -> None:
    with Post() as post, Wire(post.port, WITHIN_THE_CONTENT[where]) as wire:
        box = outbox(store, wire.port)
        letter = put(box)
        (tried,) = box.deliver_due(NOW)
        assert wire.cuts == 1
        assert post.mails == []
        handed = tried.state is State.UNCERTAIN
        assert handed or tried.state is State.WAITING
        wanted = (0, State.UNCERTAIN) if handed else (1, State.SENT)
        assert settled(store, post, letter.id) == wanted


@pytest.mark.parametrize("where", WITHIN_THE_END)
def test_what_is_cut_between_end_and_answer_is_never_sent_again(store: Store, where: str) -> None:
    with Post() as post, Wire(post.port, WITHIN_THE_END[where]) as wire:
        box = outbox(store, wire.port)
        letter = put(box)
        (tried,) = box.deliver_due(NOW)
        assert wire.cuts == 1
        assert tried.state is State.UNCERTAIN
        copies, state = settled(store, post, letter.id)
        assert copies <= 1
        assert copies == 1 or WITHIN_THE_END[where].side == "client"
        assert state is State.UNCERTAIN
        assert box.confirm(f"<{letter.message_id}>", LATER)
        assert box.get(letter.id).state is State.SENT


@pytest.mark.parametrize("where", AFTER_THE_ANSWER)
def test_what_is_cut_after_the_answer_was_sent(store: Store, where: str) -> None:
    with Post() as post, Wire(post.port, AFTER_THE_ANSWER[where]) as wire:
        box = outbox(store, wire.port)
        letter = put(box)
        (tried,) = box.deliver_due(NOW)
        assert wire.cuts == 1
        assert tried.state is State.SENT
        assert settled(store, post, letter.id) == (1, State.SENT)


def swept(
    store: Store, post: Post, side: str, to: Callable[[int], Server], marker: bytes, step: int
) -> int:
    """Cut a dialogue after each ``step``-th byte of a side; return how often."""
    for number, extra in enumerate(range(0, 100_000, step)):
        with Wire(post.port, Cut(side, marker, extra)) as wire:
            box = outbox(store, to(wire.port))
            letter = put(box, extra)
            (tried,) = box.deliver_due(NOW)
            if not wire.cuts:
                assert tried.state is State.SENT
                return number
        before = ids(post.mails).count(letter.message_id)
        assert before == 0 or tried.state in {State.SENT, State.UNCERTAIN}
        copies, state = settled(store, post, letter.id, to)
        assert (copies, state) in {(1, State.SENT), (0, State.UNCERTAIN), (1, State.UNCERTAIN)}
        assert copies or tried.state is State.UNCERTAIN
    raise AssertionError("the dialogue has no end")


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_cut_after_any_byte_gives_one_copy_or_an_uncertain_one(store: Store, side: str) -> None:
    with Post() as post:
        assert swept(store, post, side, server, b"", 7) > 20


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_cut_after_any_byte_of_tls_does_so_too(
    store: Store, side: str, authority: trustme.CA
) -> None:
    with Post(context=serving(authority), login=("bot", PASSWORD)) as post:

        def to(port: int) -> Server:
            return trusting(authority, port)

        marker = rb"STARTTLS\r\n" if side == "client" else rb"220 Ready[^\n]*\n"
        assert swept(store, post, side, to, marker, 97) > 15


# TLS and passwords


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, name: str = HOST) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def trusting(
    authority: trustme.CA, port: int, tls: Tls = Tls.STARTTLS, password: str = PASSWORD
) -> Server:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return server(port, tls, user="bot", password=password, context=context)


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # aiosmtpd knows of STARTTLS alone
@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
def test_mail_goes_through_tls_with_a_password(
    store: Store, authority: trustme.CA, tls: Tls
) -> None:
    context = serving(authority)
    implicit = tls is Tls.IMPLICIT
    with Post(context=context, implicit=implicit, login=("bot", PASSWORD)) as post:
        box = outbox(store, trusting(authority, post.port, tls))
        put(box)
        (sent,) = box.deliver_due(NOW)
        assert sent.state is State.SENT, sent.reason
        assert ids(post.mails) == ["stackhog-1@example.com"]


def test_a_wrong_password_fails_no_mail_and_is_in_no_trace(
    store: Store, authority: trustme.CA
) -> None:
    with Post(context=serving(authority), login=("bot", PASSWORD)) as post:
        box = outbox(store, trusting(authority, post.port, password=WRONG))
        put(box, 1)
        put(box, 2)
        (tried,) = box.deliver_due(NOW)
        assert tried.state is State.WAITING
        assert tried.reason.startswith("auth: 535")
        assert box.get(2).attempts == 0
        assert "horse" not in repr([box.show(key) for key in (1, 2)])


@pytest.mark.parametrize("name", ["elsewhere.example", HOST])
def test_nothing_is_said_to_a_server_that_cannot_be_verified(
    store: Store, authority: trustme.CA, name: str
) -> None:
    with Post(context=serving(authority, name), login=("bot", PASSWORD)) as post:
        stranger = server(post.port, Tls.STARTTLS, user="bot", password=PASSWORD)
        known = trusting(authority, post.port)
        box = outbox(store, stranger if name == HOST else known)
        put(box)
        (tried,) = box.deliver_due(NOW)
        assert tried.state is State.WAITING
        assert "certificate" in tried.reason.lower()
        assert post.mails == []


def test_a_server_without_tls_gets_nothing_when_tls_is_asked_for(store: Store) -> None:
    with Post() as post:
        box = outbox(store, server(post.port, Tls.STARTTLS))
        put(box)
        (tried,) = box.deliver_due(NOW)
        assert tried.state is State.WAITING
        assert "STARTTLS" in tried.reason
        assert post.mails == []


# what arrives


def test_what_arrives_is_what_was_shown(store: Store) -> None:
    with Post() as post:
        box = outbox(store, post.port)
        letter = put(box, to="Änn <ann@example.org>, List <list@example.org>")
        box.deliver_due(NOW)
        ((sender, recipients, raw),) = post.mails
        assert (sender, recipients) == ("bot@example.com", ["ann@example.org", "list@example.org"])
        assert raw == box.show(letter.id)[1]
        assert f"In-Reply-To: <{'x' * 90}@example.org>\r\n".encode() in raw
        assert "\r\n\r\nGrüße.\r\n\r\n.\r\n..\r\n.hidden\r\n".encode() in raw


def test_a_server_without_8bitmime_gets_the_same_words_in_ascii(store: Store) -> None:
    with Script({"EHLO": b"250 here\r\n"}) as script:
        box = outbox(store, script.port)
        put(box)
        (sent,) = box.deliver_due(NOW)
        assert sent.state is State.SENT
    said = b"".join(script.lines)
    assert said.isascii()
    assert b"MAIL FROM:<bot@example.com>\r\n" in said.replace(b"mail ", b"MAIL ")
    assert b"\r\nGr=C3=BC=C3=9Fe.\r\n\r\n..\r\n...\r\n..hidden\r\n" in said


def test_a_mail_that_is_larger_than_the_server_takes_is_refused_before_it_is_sent(
    store: Store,
) -> None:
    with Post(options={"data_size_limit": 100}) as post:
        box = outbox(store, post.port)
        put(box)
        (tried,) = box.deliver_due(NOW)
        assert tried.state is State.FAILED
        assert "the server takes 100" in tried.reason


# what the server says


@pytest.mark.parametrize("stage", ["MAIL", "RCPT ann@example.org", "DATA"])
@pytest.mark.parametrize(
    ("said", "state"), [("451 not now", State.WAITING), ("554 never", State.FAILED)]
)
def test_a_refusal_is_taken_as_it_is_meant(
    store: Store, stage: str, said: str, state: State
) -> None:
    refusing = threading.Event()
    refusing.set()
    hook = lambda at: said if at == stage and refusing.is_set() else None  # noqa: E731
    with Post(hook) as post:
        box = outbox(store, post.port)
        letter = put(box)
        (tried,) = box.deliver_due(NOW)
        assert tried.state is state
        assert said in tried.reason
        assert post.mails == []
        refusing.clear()
        copies, last = settled(store, post, letter.id)
        again = state is State.WAITING
        assert (copies, last) == ((1, State.SENT) if again else (0, State.FAILED))


SESSION = {  # whatever a server says there, the mail is not to blame
    "banner": [
        b"421 busy\r\n",
        b"554 go away\r\n",
        b"garbage\r\n",
        b"\r\n",
        b"220\xff\r\n250-" * 9000,
    ],
    "EHLO": [b"421 busy\r\n", b"-\r\n", b"250-x\r\n" * 99_999, b"x" * 99_999 + b"\r\n"],
    "MAIL": [b"530 log in\r\n", b"421 closing\r\n", b"\0\0\0\r\n"],
    "RCPT": [b"452 too many\r\n", b"354 odd\r\n"],
    "DATA": [b"250 odd\r\n", b"421 closing\r\n", b"999 odd\r\n"],
}


@pytest.mark.parametrize(
    ("stage", "said"), [(stage, said) for stage, many in SESSION.items() for said in many]
)
def test_what_a_server_says_of_itself_costs_a_mail_only_time(
    store: Store, stage: str, said: bytes
) -> None:
    answers = {stage: said, "HELO": said} if stage == "EHLO" else {stage: said}
    with Script(answers) as script:
        box = outbox(store, script.port)
        put(box)
        (tried,) = box.deliver_due(NOW)
        assert tried.state is State.WAITING
        assert len(tried.reason) < 600
        assert script.ends == 0


@pytest.mark.parametrize(
    "said", [b"blah\r\n", b"354 what\r\n", b"x" * 9999 + b"\r\n", b"250-\r\n" * 99_999]
)
def test_an_answer_to_the_end_that_says_nothing_leaves_the_mail_uncertain(
    store: Store, said: bytes
) -> None:
    with Script({"END": said, "end": said}) as script:
        box = outbox(store, script.port)
        put(box)
        (tried,) = box.deliver_due(NOW)
        assert tried.state is State.UNCERTAIN
        assert box.deliver_due(LATER) == ()
        assert script.ends == 1


@pytest.mark.parametrize("stage", ["EHLO", "end"])
def test_an_answer_without_an_end_is_cut(store: Store, stage: str) -> None:
    with Script({stage: b"250-more\r\n" * 99_999}) as script:
        box = outbox(store, script.port)
        put(box)
        (tried,) = box.deliver_due(NOW)
        assert "an answer without an end" in tried.reason


def test_an_answer_too_many_is_not_the_one_to_the_end(store: Store) -> None:
    answers = {"DATA": b"354 go on\r\n250 taken\r\n", "end": b"554 never\r\n"}
    with Script(answers) as script:
        box = outbox(store, script.port)
        put(box)
        (tried,) = box.deliver_due(NOW)
        assert tried.state is State.WAITING
        assert tried.reason == "content: the server spoke out of turn"
        assert script.ends == 0


def test_a_server_that_repeats_the_password_does_not_get_it_into_the_store(store: Store) -> None:
    answers = {"EHLO": b"250-x\r\n250 AUTH PLAIN\r\n", "AUTH": f"535 {PASSWORD}?\r\n".encode()}
    with Script(answers) as script:
        box = outbox(store, server(script.port, user="bot", password=PASSWORD))
        put(box)
        (tried,) = box.deliver_due(NOW)
        assert tried.reason == "auth: 535 (password)?"
        assert PASSWORD not in repr(box.show(1))


def test_who_is_refused_for_good_is_noted_and_the_others_are_served(store: Store) -> None:
    hook = lambda at: "550 nobody here" if at == "RCPT bob@example.org" else None  # noqa: E731
    with Post(hook) as post:
        box = outbox(store, post.port)
        put(box, to="ann@example.org, bob@example.org")
        (sent,) = box.deliver_due(NOW)
        assert sent.state is State.SENT
        assert "not to bob@example.org" in sent.reason
        assert any("bob@example.org: 550 nobody here" in step.said for step in box.show(1)[2])
        assert [recipients for _, recipients, _ in post.mails] == [["ann@example.org"]]


def test_who_is_refused_for_now_holds_the_others_back_until_the_last_try(store: Store) -> None:
    hook = lambda at: "450 later" if at == "RCPT bob@example.org" else None  # noqa: E731
    with Post(hook) as post:
        box = outbox(store, post.port, patience=timedelta(hours=1))
        put(box, to="ann@example.org, bob@example.org")
        now = NOW
        while (letter := box.get(1)).state is State.WAITING:
            assert post.mails == []
            now = max(now, letter.due)
            box.deliver_due(now)
        assert letter.state is State.SENT
        assert letter.attempts > 2
        assert now - NOW <= timedelta(hours=1)
        assert [recipients for _, recipients, _ in post.mails] == [["ann@example.org"]]


def test_nobody_there_is_tried_again_and_given_up_at_last(store: Store) -> None:
    with Script({}) as script:
        port = script.port
    box = outbox(store, port, patience=timedelta(days=1))
    put(box)
    now = NOW
    while (letter := box.get(1)).state is State.WAITING:
        now = max(now, letter.due)
        box.deliver_due(now)
    assert letter.state is State.FAILED
    assert "given up" in letter.reason
    assert len([step for step in box.show(1)[2] if step.attempt]) >= letter.attempts > 5


# the sender is killed


class Dying(Store):
    """A store whose process dies before or after its n-th commit."""

    def __init__(self, url: str, commit: int, *, after: bool) -> None:
        super().__init__(url)
        self._left, self._after = commit, after

    @contextmanager
    def session(self) -> Iterator[Session]:
        with super().session() as session:
            yield session
            session.flush()
            self._left -= 1
            if self._left == 0 and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def send_and_die(url: str, port: int, commit: int, after: bool) -> None:  # noqa: FBT001 - sent to a process
    outbox(Dying(url, commit, after=after), port).deliver_due(NOW)


def send_all(url: str, port: int) -> None:
    store = Store(url)
    box = outbox(store, port)
    while box.listed([State.WAITING]):
        box.deliver_due(NOW)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_sender_killed_at_any_commit_loses_nothing_and_sends_nothing_twice(
    store: Store,
    after: bool,  # noqa: FBT001 - pytest passes it so
) -> None:
    outcomes = []
    with Post() as post:
        for commit in range(1, 40):
            box = outbox(store, post.port)
            letter = put(box, commit)
            child = FORKS.Process(target=send_and_die, args=(store.url, post.port, commit, after))
            child.start()
            child.join()
            left = box.get(letter.id)
            copies, state = settled(store, post, letter.id)
            outcomes.append((left.state, copies, state))
            assert copies == 1 or (copies == 0 and state is State.UNCERTAIN)
            assert box.show(letter.id)[2]
            if child.exitcode == 0:
                break
            assert child.exitcode == -signal.SIGKILL
    states = [left for left, *_ in outcomes]
    assert set(states) == {State.WAITING, State.RESERVED, State.HANDED, State.SENT}
    assert all(state is State.UNCERTAIN for left, _, state in outcomes if left is State.HANDED)
    assert all(state is State.SENT for left, _, state in outcomes if left is not State.HANDED)
    assert len(outcomes) > 10


@pytest.mark.parametrize(
    "where",
    ["after the banner", "after the answer to RCPT", "in the headers", "right before the end",
     "right after the end", "before the answer", "after the answer"],
)  # fmt: skip
def test_a_sender_killed_at_any_stage_loses_nothing_and_sends_nothing_twice(
    store: Store, where: str
) -> None:
    cut = {**BEFORE_THE_END, **WITHIN_THE_CONTENT, **WITHIN_THE_END, **AFTER_THE_ANSWER}[where]
    children: list[multiprocessing.process.BaseProcess] = []
    ready, gone = threading.Event(), threading.Event()

    def kill() -> None:
        assert ready.wait(30)
        children[0].kill()
        assert gone.wait(30)

    with Post() as post, Wire(post.port, cut, kill) as wire:
        box = outbox(store, post.port)
        letter = put(box)
        child = FORKS.Process(target=send_all, args=(store.url, wire.port))
        child.start()
        children.append(child)
        ready.set()
        child.join()
        gone.set()
        assert child.exitcode == -signal.SIGKILL
        left = box.get(letter.id).state
        copies, state = settled(store, post, letter.id)
        if where in BEFORE_THE_END:
            # the sender writes into its socket's buffer before the wire is read
            assert left in {State.RESERVED, State.HANDED}
        assert copies <= 1
        assert copies == 1 or state is State.UNCERTAIN
        assert box.show(letter.id)[2]


def test_two_senders_send_fifty_mails_once_each(store: Store) -> None:
    with Post() as post:
        box = outbox(store, post.port)
        wanted = sorted(put(box, number).message_id for number in range(50))
        senders = [FORKS.Process(target=send_all, args=(store.url, post.port)) for _ in range(2)]
        for one in senders:
            one.start()
        for one in senders:
            one.join()
        assert [one.exitcode for one in senders] == [0, 0]
        assert ids(post.mails) == wanted
        assert {letter.state for letter in box.listed(tuple(State))} == {State.SENT}


def test_a_mail_taken_back_from_a_living_sender_arrives_once(store: Store) -> None:
    slow, go_on = threading.Event(), threading.Event()

    def hook(stage: str) -> None:
        if stage.startswith("RCPT") and not slow.is_set():
            slow.set()
            assert go_on.wait(30)

    with Post(hook) as post:
        box = outbox(store, post.port)
        put(box)
        sender = threading.Thread(target=box.deliver_due, args=(NOW,))
        sender.start()
        assert slow.wait(30)
        assert box.recover(NOW, -timedelta(hours=1)) == (1,)
        box.deliver_due(NOW + timedelta(minutes=1))
        go_on.set()
        sender.join()
        assert ids(post.mails) == ["stackhog-1@example.com"]
        assert box.get(1).state is State.SENT


# the stop switch


@pytest.mark.parametrize("stage", ["MAIL", "RCPT ann@example.org"])
def test_stop_in_the_middle_of_a_dialogue_stops_it(
    store: Store, tmp_path: Path, stage: str
) -> None:
    there, go_on = threading.Event(), threading.Event()
    asked = []

    def hook(at: str) -> None:
        asked.append(at)
        if at == stage:
            there.set()
            assert go_on.wait(60)

    with Post(hook) as post:
        box = outbox(store, post.port)
        put(box, 1)
        put(box, 2)
        sender = threading.Thread(target=box.deliver_due, args=(NOW,))
        sender.start()
        assert there.wait(30)
        environment = {
            **os.environ,
            "STACKHOG_HOME": str(tmp_path),
            "STACKHOG_STORE_URL": store.url,
        }
        subprocess.run([*STACKHOG, "outbox", "stop"], cwd=ROOT, env=environment, check=True)
        go_on.set()
        sender.join()
        assert post.mails == []
        assert asked[-1] == stage
        assert [box.get(key).state for key in (1, 2)] == [State.WAITING] * 2
        assert "stopped" in box.get(1).reason
        assert box.get(2).attempts == 0
        assert box.deliver_due(LATER) == ()
        box.go()
        box.deliver_due(LATER)
        assert len(post.mails) == 2


def test_stop_while_the_content_is_written_stops_it(store: Store) -> None:
    with Post() as post:
        box = outbox(store, post.port)
        stops = threading.Thread(target=box.stop, args=("me", NOW))
        cut = Cut("client", CONTENT, 50)

        def stop() -> None:
            stops.start()
            stops.join()

        with Wire(post.port, cut, stop) as wire:
            put(box)
            large = mail(2)
            large.set_content("word " * 12 + "\n" + ("x" * 60 + "\n") * 200_000)
            box.put(large, Place("t"), NOW)
            box.drop(1, "me", NOW)
            (tried,) = outbox(store, wire.port).deliver_due(NOW)
        assert tried.state is State.WAITING
        assert post.mails == []
        assert State.HANDED not in [step.stage for step in box.show(2)[2]]
