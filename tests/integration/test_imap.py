"""Mail from a real dovecot on loopback, and from servers with manners that dovecot has not."""

from __future__ import annotations

import logging
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.errors import OursError, TheirsError
from bot.mail import imap, sources
from bot.mail.following import Fetched, Source
from bot.mail.imap import Account, Imap, Security
from tests.integration.imapserver import HOST, PASSWORD, USER, ImapServer, ScriptedServer
from tests.letters import letter

pytestmark = pytest.mark.timeout(120)

ONE, TWO, THREE = (letter(f"[PATCH] {name}", id=f"{name}@x") for name in ("one", "two", "three"))
LONG = 60.0  # seconds that no test waits in full


@pytest.fixture
def home() -> Iterator[Path]:
    """Yield a directory that another user can reach."""
    with tempfile.TemporaryDirectory(prefix="stackhog-imap-") as path:
        yield Path(path)


@pytest.fixture
def server(home: Path) -> Iterator[ImapServer]:
    found = ImapServer(home)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def account(server: ImapServer, security: Security = Security.TLS) -> Account:
    port = server.tls if security is Security.TLS else server.plain
    return Account(HOST, USER, port=port, security=security, ca=server.ca, timeout=20)


@pytest.fixture
def source(server: ImapServer) -> Iterator[Imap]:
    found = Imap(account(server), PASSWORD)
    yield found
    found.close()


def read(source: Source, cursor: str = "") -> tuple[list[str], str]:
    """Return the Message-IDs that a source hands out, and its cursor thereafter."""
    found = list(source.follow(cursor))
    return [id_of(one) for one in found], found[-1].cursor if found else cursor


def id_of(fetched: Fetched) -> str:
    match = re.search(rb"(?m)^Message-ID: <(.*)>", fetched.raw)
    assert match is not None
    return match[1].decode()


def waited(source: Imap, meanwhile: Callable[[], object]) -> float:
    """Return how long a source waited while something happened, in seconds."""
    began = time.monotonic()
    waiting = threading.Thread(target=source.wait, args=[LONG])
    waiting.start()
    time.sleep(0.5)
    assert waiting.is_alive()
    meanwhile()
    waiting.join()
    return time.monotonic() - began


@pytest.mark.parametrize("security", Security)
def test_mail_is_fetched_in_order_and_never_twice(server: ImapServer, security: Security) -> None:
    server.deliver(ONE, TWO)
    source = Imap(account(server, security), PASSWORD)
    found = list(source.follow(""))
    assert [one.raw.replace(b"\r\n", b"\n") for one in found] == [ONE, TWO]
    assert read(source, found[0].cursor)[0] == ["two@x"]
    assert read(source, found[1].cursor)[0] == []
    server.deliver(THREE)
    assert read(source, found[1].cursor)[0] == ["three@x"]
    source.close()
    assert read(Imap(account(server, security), PASSWORD), found[1].cursor)[0] == ["three@x"]


def test_fetching_leaves_no_trace_in_the_folder(server: ImapServer, source: Imap) -> None:
    server.deliver(ONE)
    assert read(source)[0] == ["one@x"]
    with server.client() as client:
        assert client.select_folder("INBOX", readonly=True)[b"RECENT"] == 1
        assert client.get_flags([1]) == {1: (b"\\Recent",)}


def test_what_was_expunged_in_between_is_passed_over(server: ImapServer, source: Imap) -> None:
    server.deliver(ONE, TWO, THREE)
    mails = source.follow("")
    assert id_of(next(mails)) == "one@x"
    server.expunge(1, 2)
    assert [id_of(one) for one in mails] == ["three@x"]
    assert read(source)[0] == ["three@x"]
    server.expunge(3)
    assert read(source)[0] == []


def test_the_last_mail_of_a_cursor_may_be_gone(server: ImapServer, source: Imap) -> None:
    server.deliver(ONE, TWO)
    cursor = read(source)[1]
    server.expunge(2)
    assert read(source, cursor)[0] == []
    server.deliver(THREE)
    assert read(source, cursor)[0] == ["three@x"]


def test_another_uidvalidity_reads_everything_again(server: ImapServer) -> None:
    with server.client() as client:
        client.create_folder("list")
        server.deliver(ONE, TWO, folder="list")
        source = Imap(replace(account(server), folder="list"), PASSWORD)
        cursor = read(source)[1]
        client.delete_folder("list")
        client.create_folder("list")
    server.deliver(THREE, folder="list")
    assert read(source, cursor)[0] == ["three@x"]
    source.close()


@pytest.mark.parametrize("cursor", ["", "{", "[]", "null", '{"uid": "x", "uidvalidity": 1}'])
def test_a_cursor_that_says_nothing_is_the_beginning(
    server: ImapServer, source: Imap, cursor: str
) -> None:
    server.deliver(ONE)
    assert read(source, cursor)[0] == ["one@x"]


def test_more_mails_than_one_window_holds_are_all_fetched(
    server: ImapServer, source: Imap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap, "WINDOW", 3)
    monkeypatch.setattr(imap, "SIZES", 2)
    server.deliver(*(letter("[PATCH] n", id=f"{number}@x") for number in range(20)))
    server.expunge(*range(1, 5), *range(7, 14))
    assert read(source)[0] == [f"{number}@x" for number in (4, 5, 13, 14, 15, 16, 17, 18, 19)]


def test_a_mail_above_the_limit_is_left_out_with_one_warning(
    server: ImapServer, source: Imap, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(sources, "MAIL_LIMIT", 2000)
    large = letter("[PATCH] large", "x" * 70 + "\n" + "y" * 3000, id="large@x")
    server.deliver(ONE, large)
    ids, cursor = read(source)
    assert (ids, read(source, cursor)[0]) == (["one@x"], [])
    server.deliver(TWO)
    assert read(source, cursor)[0] == ["two@x"]
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == [
        f"{source.name}: mail 2: larger than 0 MiB, left out"
    ]


def test_new_mail_ends_the_waiting(server: ImapServer, source: Imap) -> None:
    server.deliver(ONE)
    cursor = read(source)[1]
    assert waited(source, lambda: server.deliver(TWO)) < LONG / 2
    assert read(source, cursor)[0] == ["two@x"]


def test_mail_that_came_while_others_were_fetched_ends_the_waiting(
    server: ImapServer, source: Imap
) -> None:
    server.deliver(ONE, TWO)
    mails = source.follow("")
    next(mails)
    server.deliver(THREE)
    (last,) = mails  # with it the server tells of the third, and does not do so again in IDLE
    began = time.monotonic()
    source.wait(LONG)
    assert time.monotonic() - began < LONG / 2
    assert read(source, last.cursor)[0] == ["three@x"]


def test_mail_is_seen_after_an_idle_was_renewed(
    server: ImapServer, source: Imap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap, "RENEW", 0.1)
    read(source)
    assert waited(source, lambda: server.deliver(ONE)) < LONG / 2


def test_waiting_ends_without_mail_too(server: ImapServer, source: Imap) -> None:
    server.deliver(ONE)
    read(source)
    began = time.monotonic()
    source.wait(0.3)
    assert time.monotonic() - began >= 0.3


def test_a_server_that_dies_is_found_again(
    server: ImapServer, source: Imap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap, "PAUSE", 0.1)
    server.deliver(ONE)
    cursor = read(source)[1]
    assert waited(source, server.kill) < LONG / 2
    with pytest.raises(OursError, match=r"cannot be read .*refused.*`sources`"):
        read(source, cursor)
    server.start()
    server.deliver(TWO)
    assert read(source, cursor)[0] == ["two@x"]


def test_a_connection_cut_between_two_mails_loses_none(server: ImapServer, source: Imap) -> None:
    server.deliver(ONE, TWO, THREE)
    mails = source.follow("")
    first = next(mails)
    server.kill()
    with pytest.raises(OursError, match="cannot be read"):
        next(mails)
    server.start()
    assert read(source, first.cursor)[0] == ["two@x", "three@x"]


def test_a_connection_lost_while_nobody_looked_is_made_anew(
    server: ImapServer, source: Imap
) -> None:
    server.deliver(ONE)
    cursor = read(source)[1]
    server.kill()
    server.start()
    server.deliver(TWO)
    assert read(source, cursor)[0] == ["two@x"]


@pytest.mark.parametrize("security", Security)
def test_a_wrong_password_is_refused_by_the_settings_name(
    server: ImapServer, security: Security
) -> None:
    source = Imap(account(server, security), "hunter-2")
    with pytest.raises(TheirsError, match=r"refuses the login .*`imap_password_file`") as raised:
        read(source)
    assert "hunter-2" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_password_need_not_be_ascii(server: ImapServer) -> None:
    (server.home / "users").write_text(f"{USER}:pässwörd\n")
    source = Imap(account(server), "pässwörd")
    assert read(source)[0] == []
    source.close()


def test_a_folder_that_is_not_there_is_named(server: ImapServer) -> None:
    source = Imap(replace(account(server), folder="lists/linux-mm"), PASSWORD)
    with pytest.raises(TheirsError, match=r"/lists/linux-mm: .*does not open.*`sources`"):
        read(source)


def test_a_folder_may_have_any_name(server: ImapServer) -> None:
    with server.client() as client:
        client.create_folder('Größe & "co"')
    server.deliver(ONE, folder='Größe & "co"')
    source = Imap(replace(account(server), folder='Größe & "co"'), PASSWORD)
    assert read(source)[0] == ["one@x"]
    source.close()


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
def test_an_untrusted_certificate_is_refused(server: ImapServer, security: Security) -> None:
    strange = replace(account(server, security), ca=None)
    with pytest.raises(OursError, match=r"is not trusted .*`imap_ca`"):
        read(Imap(strange, PASSWORD))
    assert "Login: user" not in server.said()


def test_a_certificate_of_another_host_is_refused(server: ImapServer) -> None:
    elsewhere = replace(account(server), host="127.0.0.1")
    with pytest.raises(OursError, match=r"is not trusted .*`sources`"):
        read(Imap(elsewhere, PASSWORD))


def test_a_file_without_certificates_is_named(server: ImapServer, tmp_path: Path) -> None:
    for name, content in (("missing", None), ("empty", b""), ("wrong", b"no PEM\n")):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(TheirsError, match=rf"{name} holds no certificates .*`imap_ca`"):
            read(Imap(replace(account(server), ca=path), PASSWORD))


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer() as found:
        yield found


def talking_to(scripted: ScriptedServer, password: str = PASSWORD) -> Imap:
    where = Account(HOST, USER, port=scripted.port, security=Security.PLAIN, timeout=20)
    return Imap(where, password)


def test_the_script_itself_is_a_server(scripted: ScriptedServer) -> None:
    found = list(talking_to(scripted).follow(""))
    assert [one.raw for one in found] == [b"Message-ID: <5@x>\r\n", b"Message-ID: <7@x>\r\n"]
    assert [line for line in scripted.heard if line.startswith((b"AUTH", b"UID FETCH 7 "))] == [
        b"AUTHENTICATE PLAIN",
        b"UID FETCH 7 (BODY.PEEK[]<0.26214401>)",
    ]


def test_a_server_may_name_mail_that_was_not_asked_for(scripted: ScriptedServer) -> None:
    source = talking_to(scripted)
    cursor = read(source)[1]
    scripted.answers[b"EXAMINE"] = scripted.answers[b"EXAMINE"].replace(b"NEXT 8", b"NEXT 9")
    assert read(source, cursor) == ([], cursor)


def test_a_server_may_hide_its_next_uid(scripted: ScriptedServer) -> None:
    scripted.answers[b"EXAMINE"] = b"* 2 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n"
    assert read(talking_to(scripted))[0] == ["5@x", "7@x"]
    scripted.answers[b"EXAMINE"] = b"* 0 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n"
    assert read(talking_to(scripted))[0] == []


def test_a_size_that_is_only_guessed_lets_no_large_mail_through(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAIL_LIMIT", 18)
    assert read(talking_to(scripted))[0] == []
    assert b"UID FETCH 7 (BODY.PEEK[]<0.19>)" in scripted.heard


def test_mail_told_in_one_packet_with_the_idle_ends_it(scripted: ScriptedServer) -> None:
    source = talking_to(scripted)
    read(source)
    scripted.answers[b"IDLE"] = b"+ idling\r\n* 3 EXISTS\r\n"
    began = time.monotonic()
    source.wait(LONG)
    assert time.monotonic() - began < LONG / 2


def test_without_idle_the_time_is_slept_away(scripted: ScriptedServer) -> None:
    scripted.answers[b"CAPABILITY"] = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"
    source = talking_to(scripted)
    read(source)
    began = time.monotonic()
    source.wait(0.3)
    assert time.monotonic() - began >= 0.3
    assert b"IDLE" not in scripted.heard


def test_a_password_goes_by_login_where_nothing_else_is_known(scripted: ScriptedServer) -> None:
    scripted.answers[b"CAPABILITY"] = b"* CAPABILITY IMAP4rev1\r\n"
    assert read(talking_to(scripted))[0] == ["5@x", "7@x"]
    assert b'LOGIN reader "pass \\"word\\" \\\\ 1"' in scripted.heard
    for password in ("p\u00e4ss", "a\r\nA1 DELETE INBOX"):
        with pytest.raises(TheirsError, match=r"only passwords of ASCII .*`imap_password_file`"):
            read(talking_to(scripted, password))


def test_a_server_that_is_busy_is_asked_again(scripted: ScriptedServer) -> None:
    scripted.answers[b"AUTHENTICATE"] = b"+ \r\n{tag} NO [UNAVAILABLE] database down\r\n"
    with pytest.raises(OursError, match=r"refuses the login for now .*database down"):
        read(talking_to(scripted))
    scripted.answers[b"AUTHENTICATE"] = b"+ \r\n{tag} NO he, %s is wrong\x1b[1m\r\n" % b"secret"
    with pytest.raises(TheirsError, match=r"\(he, … is wrong \[1m\): check") as raised:
        read(talking_to(scripted, "secret"))
    assert raised.value.__cause__ is None


def test_a_connection_cut_while_logging_in_is_no_wrong_password(scripted: ScriptedServer) -> None:
    scripted.answers[b"AUTHENTICATE"] = b""
    with pytest.raises(OursError, match="cannot be read"):
        read(talking_to(scripted))


def test_no_password_is_sent_where_starttls_is_withheld(scripted: ScriptedServer) -> None:
    where = Account(HOST, USER, port=scripted.port, security=Security.STARTTLS, timeout=20)
    for greeting in (b"* OK hello\r\n", b"* PREAUTH hello\r\n"):
        scripted.greeting = greeting
        with pytest.raises(OursError, match=r"STARTTLS.*`imap_security`"):
            read(Imap(where, PASSWORD))
    assert set(scripted.heard) <= {b"CAPABILITY", b"STARTTLS"}


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"CAPABILITY", b""),
        (b"CAPABILITY", b"* CAPABILITY IMAP9\r\n"),
        (b"EXAMINE", b"* x EXISTS\r\n"),
        (b"EXAMINE", b"* BYE gone\r\n"),
        (b"EXAMINE", b"* OK [UIDVALIDITY 1] no count\r\n"),
        (b"UID SEARCH", b"* SEARCH 5 x\xff\r\n"),
        (b"UID SEARCH", b"* SEARCH " + b"5 " * 600_000 + b"\r\n"),
        (b"UID FETCH", b"* 1 FETCH (UID 5 " + b"(" * 5000 + b"\r\n"),
        (b"UID FETCH", b"* 1 FETCH (UID 5 RFC822.SIZE\r\n"),
        (b"UID FETCH", b"* 1 FETCH (UID 5 RFC822.SIZE NIL)\r\n"),
        (b"UID FETCH", b"* 1 FETCH (UID 5 BODY[] {99999999999999}\r\n"),
        (b"UID FETCH", b"{tag} NO [SERVERBUG] sorry\r\n"),
        (b"UID FETCH", b"\0\0\0\r\n"),
    ],
)
def test_nonsense_of_a_server_is_told_in_one_sentence(
    scripted: ScriptedServer, command: bytes, answer: bytes
) -> None:
    scripted.answers[command] = answer
    with pytest.raises((OursError, TheirsError), match=r"^imap://reader@localhost") as raised:
        read(talking_to(scripted))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_server_that_says_nothing_is_left_in_time(scripted: ScriptedServer) -> None:
    scripted.greeting = b""
    where = Account(HOST, USER, port=scripted.port, security=Security.PLAIN, timeout=0.2)
    with pytest.raises(OursError, match=r"cannot be read \(timed out\)"):
        read(Imap(where, PASSWORD))


def test_an_idle_that_breaks_at_once_is_not_repeated_without_a_pause(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap, "PAUSE", 0.3)
    source = talking_to(scripted)
    read(source)
    scripted.answers[b"IDLE"] = b""
    began = time.monotonic()
    source.wait(LONG)
    assert 0.3 <= time.monotonic() - began < LONG / 2


def test_a_plain_connection_stays_on_this_machine_unless_asked_for() -> None:
    for host in ("mail.example.org", "192.0.2.1", "::2"):
        abroad = Account(host, USER, security=Security.PLAIN)
        with pytest.raises(TheirsError, match="`imap_security`"):
            Imap(abroad, PASSWORD)
        Imap(replace(abroad, plain_abroad=True), PASSWORD)
    for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1"):
        Imap(Account(host, USER, security=Security.PLAIN), PASSWORD)


def test_the_name_tells_the_folder_and_no_secret() -> None:
    assert Imap(Account("::1", USER, "a/b"), "secret").name == "imap://reader@[::1]:993/a/b"
    assert "secret" not in repr(Imap(Account("h", USER), "secret"))
