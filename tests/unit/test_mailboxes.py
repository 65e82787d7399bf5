"""Maildirs and mboxes that others write to while they are followed."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import OursError, TheirsError
from bot.mail import maildir as maildirs
from bot.mail import mbox as mboxes
from bot.mail import polling, sources
from bot.mail.following import Source
from bot.mail.maildir import Maildir
from bot.mail.mbox import Mbox
from tests.letters import letter, mbox

pytestmark = pytest.mark.timeout(120)

A, B, C, D = (letter("[PATCH] x", f"From {name} on\n", id=name) for name in "abcd")
LONG = 60.0  # seconds that no test waits in full
HOUR = 3600


def ids(mails: Iterable[bytes]) -> str:
    """Return the Message-IDs of mails, one letter each."""
    return "".join(one for raw in mails for one in re.findall(r"Message-ID: <(\w)>", raw.decode()))


def read(source: Source, cursor: str = "") -> tuple[str, str]:
    """Return the ids that a source hands out, and its cursor thereafter."""
    found = list(source.follow(cursor))
    return ids(one.raw for one in found), found[-1].cursor if found else cursor


# maildir


class Box:
    """A maildir that a test fills."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("cur", "new", "tmp"):
            (path / name).mkdir(parents=True)

    def deliver(self, name: str, raw: bytes, room: str = "new") -> Path:
        """Put a mail there as an MTA does."""
        (self.path / "tmp" / name).write_bytes(raw)
        return (self.path / "tmp" / name).rename(self.path / room / name)

    def flag(self, name: str, flags: str = "S") -> None:
        """Move a mail to cur/ as a mail program does that shows it."""
        (old,) = [one for one in self.path.glob(f"*/{name}*") if one.name.split(":")[0] == name]
        old.rename(self.path / "cur" / f"{name}:2,{flags}")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "Maildir")


NOW = int(time.time())
T1, T2, T3, T4 = (f"{NOW + 10 * n}.M{n}.host" for n in range(4))


def test_mail_of_a_maildir_comes_in_the_order_of_delivery(box: Box) -> None:
    box.deliver(T3, C)
    box.deliver("999999999.M1.host", A)  # fewer digits
    box.deliver(f"{T2}:2,RS", B, "cur")
    box.deliver(".hidden", D)
    (box.path / "new" / "5.directory").mkdir()
    found, cursor = read(Maildir(box.path))
    assert found == "abc"
    assert read(Maildir(box.path), cursor) == ("", cursor)


def test_each_mail_of_a_maildir_has_a_cursor_of_its_own(box: Box) -> None:
    for name, raw in ((T1, A), (T2, B), (T3, C)):
        box.deliver(name, raw)
    first, second, third = Maildir(box.path).follow("")
    assert read(Maildir(box.path), first.cursor)[0] == "bc"
    assert read(Maildir(box.path), second.cursor)[0] == "c"
    assert read(Maildir(box.path), third.cursor)[0] == ""
    box.deliver(T4, D)
    assert read(Maildir(box.path), second.cursor)[0] == "cd"


def test_flags_and_moves_do_not_bring_a_mail_back(box: Box) -> None:
    box.deliver(T1, A)
    box.deliver(T2, B)
    source = Maildir(box.path)
    cursor = read(source)[1]
    box.flag(T1)
    box.flag(T2)
    box.flag(T2, "FS")
    box.deliver(T3, C)
    assert read(Maildir(box.path), cursor)[0] == "c"
    assert read(source, cursor)[0] == "c"


def test_a_mail_with_an_older_name_is_not_missed(box: Box) -> None:
    box.deliver(T3, C)
    source = Maildir(box.path)
    cursor = read(source)[1]
    box.deliver(T1, A)
    box.deliver(f"{NOW - 1000 * HOUR}.M1.slow", B)
    box.deliver("without-a-time", D)
    assert read(Maildir(box.path), cursor)[0] == "dba"
    found, cursor = read(source, cursor)
    assert found == "dba"
    for one in (source, Maildir(box.path)):
        assert read(one, cursor)[0] == ""


def test_a_name_from_the_future_hides_no_later_mail(box: Box) -> None:
    box.deliver("99999999999.M1.host", A)
    cursor = read(Maildir(box.path))[1]
    for name, raw, found in ((T1, B, "b"), (T3, C, "c"), (T2, D, "d")):
        box.deliver(name, raw)
        new, cursor = read(Maildir(box.path), cursor)
        assert new == found


def test_stopping_among_late_mails_loses_none(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.deliver(T4, D)
    cursor = read(Maildir(box.path))[1]
    for name, raw in ((T1, A), (T2, B), (T3, C)):
        box.deliver(name, raw)
    monkeypatch.setattr(maildirs, "SLACK", -2 * HOUR)  # as if they had come hours before the start
    found = list(Maildir(box.path).follow(cursor))
    assert ids(one.raw for one in found) == "abc"
    monkeypatch.undo()
    assert read(Maildir(box.path), found[0].cursor)[0] == "bc"
    assert read(Maildir(box.path), found[1].cursor)[0] == "c"


def test_a_running_source_finds_mail_though_the_clock_went_back(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maildirs, "SLACK", -HOUR)
    monkeypatch.setattr(maildirs, "RECENT", 1)
    box.deliver(T2, B)
    source = Maildir(box.path)
    cursor = read(source)[1]
    box.deliver(T1, A)
    assert read(Maildir(box.path), cursor)[0] == ""  # after a restart nothing tells
    found, cursor = read(source, cursor)
    assert found == "a"
    assert read(Maildir(box.path), cursor)[0] == ""  # the newest name is still the newest


def test_old_mail_is_not_read_again_when_it_gets_flags_while_the_source_runs(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maildirs, "RECENT", 1)
    for name, raw in ((T1, A), (T2, B), (T3, C)):
        box.deliver(name, raw)
    source = Maildir(box.path)
    cursor = read(source)[1]
    box.flag(T1)
    assert read(source, cursor)[0] == ""
    assert set(read(Maildir(box.path), cursor)[0]) == {"a", "b"}  # repeats, never a gap


def test_a_mail_that_could_not_be_stored_comes_again(box: Box) -> None:
    box.deliver(T1, A)
    box.deliver(T2, B)
    source = Maildir(box.path)
    cursor = next(source.follow("")).cursor
    assert ids([next(source.follow(cursor)).raw]) == "b"
    assert read(source, cursor)[0] == "b"
    assert read(source, "")[0] == "ab"


def test_a_mail_that_moves_while_others_are_read_is_found(box: Box) -> None:
    box.deliver(T1, A)
    box.deliver(T2, B)
    box.deliver(T3, C)
    mails = Maildir(box.path).follow("")
    assert ids([next(mails).raw]) == "a"
    box.flag(T2)
    (box.path / "new" / T3).unlink()
    assert ids(one.raw for one in mails) == "b"


def test_an_empty_file_is_a_mail_once_it_is_filled(box: Box) -> None:
    path = box.deliver(T1, b"")
    box.deliver(T2, B)
    source = Maildir(box.path)
    found, cursor = read(source)
    assert found == "b"
    path.write_bytes(A)
    assert read(Maildir(box.path), cursor)[0] == "a"
    assert read(source, cursor)[0] == "a"


def test_a_large_mail_of_a_maildir_is_left_out_with_one_warning(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sources, "MAIL_LIMIT", 1000)
    box.deliver(T1, A)
    box.deliver(T2, b"x" * 1001)
    source = Maildir(box.path)
    found, cursor = read(source)
    with caplog.at_level(logging.WARNING):
        assert (found, read(source, cursor)[0]) == ("a", "")
    box.deliver(T3, C)
    assert read(source, cursor)[0] == "c"
    assert [one.getMessage() for one in caplog.records] == [
        f"{box.path}/new/{T2}: larger than 0 MiB, left out"
    ]


def test_the_cursor_of_a_maildir_stays_small(box: Box) -> None:
    for number in range(300):
        box.deliver(f"{NOW}.M{number:05}.a-host-with-a-long-name.example.org", A)
    found, cursor = read(Maildir(box.path))
    assert (len(found), len(cursor) < 8000) == (300, True)


def test_a_name_need_not_be_text(box: Box) -> None:
    box.deliver(os.fsdecode(b"1.\xff\xfe.host"), A)
    found, cursor = read(Maildir(box.path))
    assert (found, cursor.isascii()) == ("a", True)
    assert read(Maildir(box.path), cursor)[0] == ""


def test_what_is_no_maildir_is_told(tmp_path: Path) -> None:
    with pytest.raises(OursError, match="missing/new cannot be read"):
        read(Maildir(tmp_path / "missing"))
    with pytest.raises(TheirsError, match="is no maildir"):
        read(Maildir(tmp_path))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["new", "flag", "read", "restart", "fail"]), st.integers(0, 9)),
        max_size=25,
    )
)
def test_no_order_of_deliveries_flags_and_restarts_leaves_a_mail_out(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    box = Box(tmp_path_factory.mktemp("box") / "Maildir")
    source, cursor = Maildir(box.path), ""
    names: list[str] = []
    seen: set[bytes] = set()
    for step, number in [*steps, ("read", 99)]:
        if step == "new":
            names.append(f"{NOW + number}.M{len(names)}")
            box.deliver(names[-1], b"Message-ID: <%d>\n" % len(names))
        elif step == "flag" and names:
            box.flag(names[number % len(names)], "FRS"[: number % 4])
        elif step == "restart":
            source = Maildir(box.path)
        elif step == "fail":
            next(source.follow(cursor), None)  # handed out, not stored
        elif step == "read":
            for _, one in zip(range(number), source.follow(cursor), strict=False):
                seen.add(one.raw)
                cursor = one.cursor
    assert len(seen) == len(names)


# mbox


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def settle(path: Path) -> None:
    """Let a file look as if nobody had written to it for a while."""
    then = path.stat().st_mtime_ns - int(60e9)
    os.utime(path, ns=(then, then))


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    settle(path)


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(content)
    settle(path)


def test_mail_of_an_mbox_is_handed_out_once(spool: Path) -> None:
    put(spool, mbox([A, B]))
    first, second = Mbox(spool).follow("")
    assert [first.raw, second.raw] == [A, B]
    assert read(Mbox(spool), first.cursor)[0] == "b"
    assert read(Mbox(spool), second.cursor) == ("", second.cursor)
    append(spool, mbox([C]))
    assert read(Mbox(spool), first.cursor)[0] == "bc"
    found, cursor = read(Mbox(spool), second.cursor)
    assert found == "c"
    append(spool, b"\n\n")
    assert read(Mbox(spool), cursor) == ("", cursor)
    append(spool, mbox([D]))
    assert read(Mbox(spool), cursor)[0] == "d"


def test_the_last_mail_is_taken_once_the_file_is_quiet(spool: Path) -> None:
    spool.write_bytes(mbox([A, B]))
    found, cursor = read(Mbox(spool))
    assert found == "a"
    settle(spool)
    assert read(Mbox(spool), cursor)[0] == "b"


def test_a_mail_is_whole_when_the_next_one_begins(spool: Path) -> None:
    from_line, rest = mbox([C]).split(b"\n", 1)
    cursor = ""
    for more, found in ((mbox([A]), ""), (mbox([B])[:-9], "a"), (mbox([B])[-9:], ""),
                        (from_line[:9], ""), (from_line[9:] + b"\n", ""), (rest, "b")):  # fmt: skip
        with spool.open("ab") as stream:
            stream.write(more)
        new, cursor = read(Mbox(spool), cursor)
        assert new == found
    settle(spool)
    assert read(Mbox(spool), cursor)[0] == "c"


@pytest.mark.parametrize("cut", [3, 20, 45, 60, 150, -3])
def test_a_mail_whose_writer_paused_comes_again_whole(spool: Path, cut: int) -> None:
    content = mbox([B])
    put(spool, mbox([A]))
    cursor = read(Mbox(spool))[1]
    append(spool, content[:cut])
    cursor = read(Mbox(spool), cursor)[1]
    append(spool, content[cut:])
    found = list(Mbox(spool).follow(cursor))
    assert [one.raw for one in found] == [B]


def test_a_mailbox_cut_short_or_replaced_is_read_from_its_beginning(spool: Path) -> None:
    put(spool, mbox([A, B]))
    cursor = read(Mbox(spool))[1]
    for content, found in (
        (mbox([C]), "c"),  # shorter
        (mbox([C, D]), "cd"),  # as long
        (mbox([C, D, A]), "cda"),  # longer
        (b"", ""),
    ):
        put(spool, content)
        assert read(Mbox(spool), cursor)[0] == found
    put(spool, mbox([A, B]))
    spool.rename(spool.with_name("old"))
    put(spool, mbox([A, B, C]))
    assert read(Mbox(spool), cursor)[0] == "abc"


def test_flags_written_into_an_mbox_do_not_hide_what_follows(spool: Path) -> None:
    put(spool, mbox([A, B]))
    cursor = read(Mbox(spool))[1]
    put(spool, mbox([A.replace(b"\nDate", b"\nStatus: RO\nDate"), B, C]))
    assert "c" in read(Mbox(spool), cursor)[0]


@pytest.mark.parametrize(
    "cursor", ["{", "[]", '{"start":-5,"offset":9,"inode":1,"sha256":""}', '{"start":"x"}']
)
def test_a_cursor_that_says_nothing_is_the_beginning(spool: Path, box: Box, cursor: str) -> None:
    put(spool, mbox([A]))
    assert read(Mbox(spool), cursor)[0] == "a"
    box.deliver(T1, A)
    assert read(Maildir(box.path), cursor)[0] == "a"


LOCK = """\
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let another process hold a lock of fcntl(2)."""
    words = [sys.executable, "-c", LOCK, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            process.communicate(b"")


def test_nothing_is_taken_while_a_lock_is_held(spool: Path) -> None:
    put(spool, mbox([A, B]))
    with locked(spool):
        assert read(Mbox(spool))[0] == ""
    dotlock = spool.with_name("spool.lock")
    dotlock.touch()
    assert read(Mbox(spool))[0] == ""
    os.utime(dotlock, (NOW - HOUR, NOW - HOUR))  # forgotten
    assert read(Mbox(spool))[0] == "ab"


def test_no_lock_is_kept_while_a_mail_is_looked_at(spool: Path) -> None:
    put(spool, mbox([A, B]))
    mails = Mbox(spool).follow("")
    next(mails)
    with locked(spool):
        assert list(mails) == []
    assert read(Mbox(spool))[0] == "ab"


def test_a_mailbox_rewritten_while_it_is_read_gives_no_mixture(spool: Path) -> None:
    mails = [letter("[PATCH] x", "y\n" * 9000 * at, id=f"{at}@x") for at in range(1, 9)]
    put(spool, mbox(mails))
    following = Mbox(spool).follow("")
    first = next(following)
    with spool.open("r+b") as stream:
        stream.write(mbox([A, *mails[1:], C]))
        stream.truncate()
    found = [one.raw for one in following]
    assert set(found) <= set(mails)
    settle(spool)
    assert [one.raw for one in Mbox(spool).follow(first.cursor)] == [A, *mails[1:], C]


def test_a_mailbox_that_grows_while_it_is_read_goes_on(spool: Path) -> None:
    put(spool, mbox([A, B, C]))
    mails = Mbox(spool).follow("")
    found = [next(mails)]
    append(spool, mbox([D]))
    found += mails
    assert ids(one.raw for one in found).startswith("ab")
    assert read(Mbox(spool), found[-1].cursor)[0] == "abcd".removeprefix(
        ids(one.raw for one in found)
    )


def test_a_large_mail_of_an_mbox_is_left_out_with_one_warning(
    spool: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sources, "MAIL_LIMIT", 1000)
    put(spool, mbox([A, letter("[PATCH] large", "x\n" * 2000, id="z")]))
    source = Mbox(spool)
    found, cursor = read(source)
    assert (found, read(source, cursor)[0]) == ("a", "")
    append(spool, mbox([B]))
    assert read(source, cursor)[0] == "b"
    place = len(mbox([A]))
    assert [one.getMessage() for one in caplog.records] == [
        f"{spool}: mail at byte {place}: larger than 0 MiB, left out"
    ]


def test_what_is_no_mbox_is_told(spool: Path, tmp_path: Path) -> None:
    with pytest.raises(OursError, match="spool cannot be read"):
        read(Mbox(spool))
    with pytest.raises(TheirsError, match="is no file"):
        read(Mbox(tmp_path))
    put(spool, b"Dear diary,\n\n" + mbox([A]))
    with pytest.raises(TheirsError, match="does not begin as an mbox does"):
        read(Mbox(spool))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TheirsError, match="is no file"):
        read(Mbox(tmp_path / "pipe"))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=30), st.sampled_from([b"\n", b"\r\n"]))
def test_an_mbox_written_in_any_pieces_gives_each_mail_whole(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], end: bytes
) -> None:
    path = tmp_path_factory.mktemp("box") / "m"
    content = mbox([A, B, C, D]).replace(b"\n", end)
    path.touch()
    cursor, place, found = "", 0, []
    for size in sizes:
        with path.open("ab") as stream:
            stream.write(content[place : place + size])
        place += size
        new, cursor = read(Mbox(path), cursor)
        found += [*new]
    put(path, content)
    new, cursor = read(Mbox(path), cursor)
    assert "".join([*found, *new]) == "abcd"


# waiting


def woken(source: Source, box: Path, raw: bytes) -> float:
    """Return how long a source waited for a file that came meanwhile, in seconds."""
    began = time.monotonic()
    waiting = threading.Thread(target=source.wait, args=[LONG])
    waiting.start()
    box.write_bytes(raw)
    waiting.join()
    return time.monotonic() - began


def test_waiting_ends_with_new_mail(box: Box, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "TICK", 0.05)
    put(spool, mbox([A]))
    for source, path in ((Maildir(box.path), box.path / "new" / T1), (Mbox(spool), spool)):
        read(source)
        began = time.monotonic()
        source.wait(0.2)
        assert time.monotonic() - began >= 0.2
        assert woken(source, path, mbox([A, B])) < LONG / 2


def test_what_came_before_the_waiting_ends_it(
    box: Box, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "TICK", 0.05)
    put(spool, mbox([A]))
    for source, path in ((Maildir(box.path), box.path / "new" / T1), (Mbox(spool), spool)):
        read(source)
        path.write_bytes(mbox([A, B]))
        began = time.monotonic()
        source.wait(LONG)
        assert time.monotonic() - began < LONG / 2


def test_a_mail_on_its_way_is_looked_for_soon(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mboxes, "QUIET", 0.5)
    spool.write_bytes(mbox([A]))
    source = Mbox(spool)
    assert read(source)[0] == ""
    began = time.monotonic()
    source.wait(LONG)
    assert time.monotonic() - began < LONG / 2
    assert read(source)[0] == "a"


def test_a_source_is_kept_under_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Maildir(Path("m")).name == f"maildir:{tmp_path}/m"
    assert Mbox(Path("m")).name == f"mbox:{tmp_path}/m"


def test_cursors_are_json(box: Box, spool: Path) -> None:
    put(spool, mbox([A]))
    box.deliver(T1, A)
    for source in (Maildir(box.path), Mbox(spool)):
        assert isinstance(json.loads(read(source)[1]), dict)
