from __future__ import annotations

import io
import logging
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import IO

import pytest

from bot.errors import TheirsError
from bot.mail import sources
from bot.mail.load import NoPatchError, load
from bot.mail.sources import messages, read_stdin, spans, split
from tests.letters import PATCH, letter, mbox

ONE = letter("[PATCH] one", id="one@x")
TWO = letter("[PATCH] two", "From here on\n>From there on\n\n" + PATCH, id="two@x")


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_an_mboxrd_gives_its_mails_as_they_were(tmp_path: Path) -> None:
    found = list(messages(put(tmp_path / "m", mbox([ONE, TWO]))))
    assert found == [ONE, TWO]


def test_an_mboxo_escapes_only_from(tmp_path: Path) -> None:
    content = b"From a@b Mon Jan  5 12:00:00 2026\n" + ONE + b">From here on\n"
    (found,) = messages(put(tmp_path / "m", content))
    assert found.endswith(b"\nFrom here on\n")


@pytest.mark.parametrize(
    "line",
    [
        b"From here it goes at 10:00 in 2026 downhill\nand on",
        b"From a@b\nSubject: no time",
        b"From now on at 10:00:00\nSubject: no year",
        b"Xrom a@b Mon Jan  5 12:00:00 2026\nSubject: x",
    ],
)
def test_a_body_line_is_no_separator(line: bytes) -> None:
    content = b"From a@b Mon Jan  5 12:00:00 2026\n" + ONE + b"\n" + line + b"\n"
    assert len(list(split(io.BytesIO(content)))) == 1


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    content = mbox([ONE, TWO]).replace(b"\n", b"\r\n")
    assert len(list(messages(put(tmp_path / "m", content)))) == 2


BOM = b"\xef\xbb\xbf"


def test_a_byte_order_mark_is_no_part_of_the_mail(tmp_path: Path) -> None:
    assert list(messages(put(tmp_path / "m", BOM + mbox([ONE, TWO])))) == [ONE, TWO]
    assert list(messages(put(tmp_path / "a.eml", BOM + ONE))) == [ONE]
    assert list(messages(put(tmp_path / "b.eml", BOM + b"\r\n" + ONE))) == [ONE]
    put(tmp_path / "d" / "cur" / "1:2,S", BOM + ONE)
    assert list(messages(tmp_path / "d")) == [ONE]
    with pytest.raises(TheirsError, match="is empty"):
        list(messages(put(tmp_path / "e", BOM + b"\n")))
    with pytest.raises(TheirsError, match="gzip -d"):
        list(messages(put(tmp_path / "z", BOM + b"\x1f\x8b\x08")))


def test_a_mail_above_the_limit_is_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sources, "MAIL_LIMIT", len(TWO) + 100)
    large = letter("[PATCH] large", "x" * 2 * len(TWO) + "\n", id="large@x")
    with caplog.at_level(logging.WARNING):
        found = list(split(io.BytesIO(mbox([ONE, large, TWO])), "box"))
    assert [b"one@x" in found[0], b"two@x" in found[1], len(found)] == [True, True, 2]
    assert "box: mail 2" in caplog.text


def peak_of(path: Path) -> tuple[int, int]:
    """Return how many mails a mailbox gives, and the most memory it took, in bytes."""
    tracemalloc.start()
    found = sum(1 for _ in messages(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found, peak


def test_a_large_mailbox_is_not_held_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "m").open("wb") as stream:
        for _ in range(40):
            stream.write(mbox([ONE]) + b"x" * 1023 * 1024 + b"\n")
    found, peak = peak_of(tmp_path / "m")
    assert found == 40
    assert peak < 10 << 20


def test_a_line_without_end_is_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAIL_LIMIT", 1 << 20)
    path = put(tmp_path / "m", mbox([ONE]) + b"x" * (40 << 20))
    found, peak = peak_of(path)
    assert found == 0
    assert peak < 10 << 20


# the address space that reading may add to what the program has when it starts
FLAT = """
import resource, sys
from pathlib import Path
from bot.mail.load import load
pages = int(Path("/proc/self/statm").read_text().split()[0])
room = pages * resource.getpagesize() + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (room, room))
print(sorted(one.title for one in load([Path(sys.argv[1])])))
"""


def test_a_mailbox_of_200_mb_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "m"
    with path.open("wb") as stream:
        for number in range(20):
            stream.write(mbox([letter("Re: talk", "A log:\n", id=f"talk{number}@x")]))
            stream.seek((30 if number == 9 else 10) << 20, io.SEEK_CUR)  # a hole reads as zeros
            stream.write(b"\n" + mbox([letter(f"[PATCH] number {number}", id=f"{number}@x")]))
    assert path.stat().st_size > 200 << 20
    done = subprocess.run(
        [sys.executable, "-c", FLAT, str(path), str(64 << 20)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == f"{sorted(f'number {n}' for n in range(20))}\n", done.stderr
    assert "mail 19: larger than 25 MiB, left out" in done.stderr


def test_a_maildir_is_read_by_file_name(tmp_path: Path) -> None:
    put(tmp_path / "new" / "1", ONE)
    put(tmp_path / "cur" / "2:2,S", TWO)
    put(tmp_path / "cur" / "0:2,S", TWO)
    put(tmp_path / "tmp" / "3", b"half a mail")
    assert list(messages(tmp_path)) == [TWO, ONE, TWO]


def test_a_single_mail_is_read(tmp_path: Path) -> None:
    assert list(messages(put(tmp_path / "a.eml", ONE))) == [ONE]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\x7fELF\0\0\1", "binary data"),
        (b"\x1f\x8b\x08", "gzip -d"),
        (b"Dear diary,\n\ntoday\n", "text without mail headers"),
        (b"note: nothing\n\nSubject: in the body\n", "text without mail headers"),
    ],
)
def test_what_is_no_mail_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = put(tmp_path / "m", content)
    with pytest.raises(TheirsError, match=words) as raised:
        list(messages(path))
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TheirsError, match="missing does not exist"):
        list(messages(tmp_path / "missing"))


@pytest.mark.timeout(20)
def test_what_is_no_file_is_refused_unread(tmp_path: Path) -> None:
    sock = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(sock))
        for path, words in ((sock, "is a socket"), (Path("/dev/zero"), "is a device")):
            with pytest.raises(TheirsError, match=f"^{path} {words}, not a file: save") as raised:
                list(messages(path))
            assert "\n" not in str(raised.value)


SERIES = (sys.executable, "-m", "bot", "series")


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.parametrize("content", [mbox([ONE]), BOM + ONE], ids=["mbox", "mail"])
def test_standard_input_is_read_from_a_file_and_from_a_pipe(
    tmp_path: Path, name: str, content: bytes
) -> None:
    with put(tmp_path / "m", content).open("rb") as stream:
        done = subprocess.run(
            [*SERIES, name], stdin=stream, capture_output=True, timeout=60, check=True
        )
    assert b"one@x" in done.stdout
    done = subprocess.run(
        [*SERIES, name], input=content, capture_output=True, timeout=60, check=True
    )
    assert b"one@x" in done.stdout


def test_standard_input_may_be_without_mail() -> None:
    for content, words in ((b"", b"is empty"), (b"hello\n", b"is no mailbox, it is text")):
        done = subprocess.run(
            [*SERIES, "-"], input=content, capture_output=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"stackhog: standard input " + words)
        assert done.stderr.count(b"\n") == 1


def piped(*pieces: bytes) -> IO[bytes]:
    """Return the end of a pipe into which pieces are written one after the other."""
    end, into = os.pipe()

    def write() -> None:
        with suppress(BrokenPipeError), os.fdopen(into, "wb", buffering=0) as stream:
            for piece in pieces:
                stream.write(piece)

    threading.Thread(target=write, daemon=True).start()
    return os.fdopen(end, "rb")


def test_a_pipe_may_bring_its_mail_in_small_pieces() -> None:
    content = mbox([ONE, TWO])
    with piped(*(content[at : at + 7] for at in range(0, len(content), 7))) as stream:
        assert list(read_stdin(stream)) == [ONE, TWO]
    with piped(*(bytes([one]) for one in ONE)) as stream:
        assert list(read_stdin(stream)) == [ONE]


def test_a_pipe_with_a_name_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.write_bytes(mbox([ONE, TWO])), daemon=True).start()
    assert list(messages(pipe)) == [ONE, TWO]


def test_more_than_a_head_comes_through_a_pipe_whole() -> None:
    large = letter("[PATCH] large", "a line\n" * 50_000, id="large@x")
    for content, mails in ((mbox([ONE, large, TWO]), [ONE, large, TWO]), (large, [large])):
        with piped(content) as stream:
            assert list(read_stdin(stream)) == mails


def test_a_pipe_without_end_is_left_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PIPE_LIMIT", 1 << 20)
    with piped(mbox([ONE]), *repeat(mbox([TWO]), 10_000)) as stream:
        mails = read_stdin(stream)
        assert next(mails) == ONE
        with pytest.raises(TheirsError, match="standard input sends more than"):
            list(mails)
    monkeypatch.setattr(sources, "MAIL_LIMIT", 1 << 19)
    with (
        piped(ONE, *repeat(b"x" * 4096, 10_000)) as stream,
        pytest.raises(TheirsError, match="is one mail of more than"),
    ):
        list(read_stdin(stream))


def test_standard_input_is_read_on_from_where_it_is(tmp_path: Path) -> None:
    first = mbox([ONE])
    with put(tmp_path / "m", first + mbox([TWO])).open("rb") as stream:
        stream.seek(len(first))
        assert list(read_stdin(stream)) == [TWO]


def test_the_spans_of_an_mbox_join_without_a_gap() -> None:
    content = mbox([ONE, TWO]) + b"From a@b Mon Jan  5 12:00:00 2026\n"
    found = list(spans(io.BytesIO(content)))
    assert [one.raw for one in found] == [b"", ONE, TWO]
    assert [one.start for one in found] == [0, *(one.end for one in found[:-1])]
    assert content[found[1].start : found[1].end] == mbox([ONE])
    assert content[found[2].start : found[2].end] == mbox([TWO])
    assert [one.last for one in found] == [False, False, True]


def test_a_name_too_long_for_a_file_is_no_failure_of_ours() -> None:
    with pytest.raises(TheirsError, match="File name too long"):
        list(messages(Path("x" * 300)))


def test_a_directory_without_mail_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TheirsError, match="neither a maildir"):
        list(messages(tmp_path))
    (tmp_path / "cur").mkdir()
    with pytest.raises(TheirsError, match="maildir without mail"):
        list(messages(tmp_path))


def test_a_mailbox_without_a_patch_says_so(tmp_path: Path) -> None:
    talk = letter("Re: [PATCH] one", "I like it.\n", id="talk@x")
    path = put(tmp_path / "m", mbox([talk, talk]))
    with pytest.raises(NoPatchError, match="no patch in 2 mails"):
        load([path])


def test_several_paths_are_read_together(tmp_path: Path) -> None:
    cover = letter("[PATCH 0/1] both", "About.\n", id="c@x")
    patch = letter("[PATCH 1/1] one", id="p@x", parents=["c@x"])
    (series,) = load([put(tmp_path / "a.eml", cover), put(tmp_path / "b.eml", patch)])
    assert series.cover is not None
    assert series.complete
