"""What a patch mail becomes, compared with what git itself makes of it."""

from __future__ import annotations

import subprocess
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from bot.contract import PatchText
from bot.mail.commit import commit
from bot.mail.message import parse
from bot.mail.patchtext import patch_texts
from bot.mail.series import assemble
from tests.letters import DIFF, JANE, PATCH, letter

INBODY = "From: Max <max@example.org>\nDate: Fri, 2 Jan 2026 10:00:00 +0100\n"
ID = "a" * 40
MAILS = {
    "plain": letter("[PATCH] one: do it", id="1@x"),
    "author": letter("[PATCH] one: do it", f"{INBODY}\n{PATCH}", id="1@x"),
    "subject": letter("[PATCH] one", f"\n\nSubject: [PATCH 1/1] one: it\n\n{PATCH}", id="1@x"),
    "folded": letter("[PATCH] one", f"From: Max\n <max@example.org>\n\n{PATCH}", id="1@x"),
    "pasted": letter("[PATCH] one", f">From {ID} Mon Sep 17 00:00:00 2001\n{INBODY}\n{PATCH}"),
    "colon": letter("[PATCH] one", f"Note: the first line has a colon\n\n{PATCH}", id="1@x"),
    "notes": letter("[PATCH] one", f"Why.\n---\nv2: new\n---\nv1: old\n\n{DIFF}", id="1@x"),
    "no separator": letter("[PATCH] one", f"Why.\n\n{DIFF}", id="1@x"),
    "encoded": letter(
        "=?utf-8?q?=5BPATCH=5D_=C3=A4?=", PATCH.replace("Why", "Größe"), id="1@x",
        headers="Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n",
        sender="=?iso-8859-1?q?J=F6rg?= <j@example.org>",
    ),
    "name with comma": letter("[PATCH] one", id="1@x", sender='"Doe, Jane" <jane@example.org>'),
    "crlf": letter("[PATCH] one: do it", id="1@x").replace(b"\n", b"\r\n"),
}  # fmt: skip


def mailinfo(raw: bytes, into: Path) -> tuple[dict[str, str], str, bytes]:
    """Return what `git mailsplit` and `git mailinfo` read: headers, message, patch."""
    (into / "mbox").write_bytes(b"From a@b Mon Jan  5 12:00:00 2026\n" + raw)
    git = ["git", "-C", str(into)]
    subprocess.run([*git, "mailsplit", "-o.", "mbox"], check=True, capture_output=True)
    done = subprocess.run(
        [*git, "mailinfo", "message", "patch"], check=True, capture_output=True,
        input=(into / "0001").read_bytes(),
    )  # fmt: skip
    pairs = (line.partition(": ") for line in done.stdout.decode().splitlines() if line)
    message = (into / "message").read_text()
    fields = {name: value for name, _, value in pairs}
    return fields, message, (into / "patch").read_bytes()


def text_of(raw: bytes) -> PatchText:
    (series,) = assemble([parse(raw)])
    (text,) = patch_texts(series)
    return text


@pytest.mark.parametrize("name", MAILS)
def test_git_reads_the_same(name: str, tmp_path: Path) -> None:
    info, message, patch = mailinfo(MAILS[name], tmp_path)
    ours = text_of(MAILS[name])
    assert (ours.author_name, ours.author_email) == (info["Author"], info["Email"])
    assert ours.subject == info["Subject"]
    assert ours.date == parsedate_to_datetime(info["Date"])
    assert ours.date.utcoffset() is not None
    assert ours.message == message.strip("\n")
    assert ours.diff == DIFF.encode()
    assert ours.diff in patch


def test_a_patch_takes_the_place_that_its_series_gives_it() -> None:
    mails = [letter(f"[PATCH {n}/2] p{n}", id=f"{n}@x", parents=["0@x"]) for n in (2, 1)]
    (series,) = assemble(parse(mail) for mail in mails)
    assert [(one.index, one.message_id, one.subject) for one in patch_texts(series)] == [
        (1, "1@x", "p1"), (2, "2@x", "p2"),
    ]  # fmt: skip


def test_an_in_body_address_that_is_none_is_not_taken() -> None:
    read = commit(parse(letter("[PATCH] one", f"From: here to there\n\n{PATCH}", id="1@x")))
    assert str(read.author) == JANE
