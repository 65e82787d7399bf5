"""Archives followed in git and over HTTP, against the real public-inbox."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from bot.errors import OursError
from bot.mail import lore
from bot.mail.archive import Archive
from bot.mail.following import Source
from bot.mail.lore import Lore, NotOnLoreError
from bot.mail.message import parse
from tests.integration.inboxes import PublicInbox
from tests.letters import letter, sending

NOW = datetime.now(UTC)


def recent(number: int) -> bytes:
    """Return a mail of today: archives over HTTP are asked by date."""
    when = format_datetime(NOW - timedelta(minutes=100 - number))
    raw = letter(f"[PATCH] mm: change {number}", id=f"r{number}@example.org")
    return b"\n".join(
        f"Date: {when}".encode() if line.startswith(b"Date:") else line for line in raw.split(b"\n")
    )


def new(source: Source, cursor: str) -> tuple[list[str], str]:
    """Return the ids of what came, and the cursor behind it."""
    ids = []
    for fetched in source.follow(cursor):
        ids.append(parse(fetched.raw).message_id)
        cursor = fetched.cursor
    return ids, cursor


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[PublicInbox]:
    found = PublicInbox(tmp_path / "server")
    yield found
    found.stop()


@pytest.fixture
def served(inbox: PublicInbox) -> PublicInbox:
    inbox.deliver(sending("a", 2))
    inbox.start()
    return inbox


def test_an_archive_is_cloned_and_followed(served: PublicInbox, tmp_path: Path) -> None:
    source = Archive(served.url, tmp_path / "keep")
    ids, cursor = new(source, "")
    assert ids == ["a-0", "a-1", "a-2"]
    assert new(source, cursor) == ([], cursor)
    served.deliver(sending("b", 1))
    ids, later = new(Archive(served.url, tmp_path / "keep"), cursor)
    assert ids == ["b-0", "b-1"]
    assert new(source, cursor)[0] == ["b-0", "b-1"]
    assert new(source, later) == ([], later)


def test_an_archive_on_this_machine_needs_no_clone(inbox: PublicInbox, tmp_path: Path) -> None:
    inbox.deliver(sending("a", 1))
    source = Archive(str(inbox.path), tmp_path / "keep")
    ids, cursor = new(source, "")
    assert ids == ["a-0", "a-1"]
    inbox.deliver([letter("[PATCH] p", id="later")])
    assert new(source, cursor)[0] == ["later"]
    assert not (tmp_path / "keep").exists()


def test_a_new_epoch_is_followed_after_the_old(served: PublicInbox, tmp_path: Path) -> None:
    source = Archive(served.url, tmp_path / "keep")
    cursor = new(source, "")[1]
    served.run("public-inbox-init", "--version=2", "--skip-epoch=1", "test2",
               str(tmp_path / "other"), served.url + "2", "test2@lists.example.org")  # fmt: skip
    # what public-inbox does when an epoch is full: a repository with the next number
    shutil.copytree(served.path / "git" / "0.git", served.path / "git" / "1.git")
    later = served.path / "git" / "1.git"
    subprocess.run(["git", "-C", later, "update-ref", "-d", "refs/heads/master"], check=True)  # noqa: S607
    served.deliver([letter("[PATCH] p", id="old")])
    served.stop()
    served.deliver(sending("b", 1))
    served.start()
    ids, cursor = new(source, cursor)
    assert sorted(ids) == ["b-0", "b-1", "old"]
    assert set(json.loads(cursor)) == {"0", "1"}
    assert new(source, cursor) == ([], cursor)


def test_history_that_was_rewritten_loses_nothing(served: PublicInbox, tmp_path: Path) -> None:
    source = Archive(served.url, tmp_path / "keep")
    cursor = new(source, "")[1]
    served.deliver(sending("b", 1))
    served.run("public-inbox-purge", "--all", stdin=sending_raw("a-1"))
    ids, cursor = new(source, cursor)
    assert {"b-0", "b-1"} <= set(ids)
    assert "a-1" not in ids
    assert new(source, cursor) == ([], cursor)


def sending_raw(name: str) -> bytes:
    mail = next(one for one in sending("a", 2) if parse(one).message_id == name)
    return b"To: test@lists.example.org\n" + mail


def test_a_server_that_is_down_is_asked_again(served: PublicInbox, tmp_path: Path) -> None:
    source = Archive(served.url, tmp_path / "keep")
    cursor = new(source, "")[1]
    served.stop()
    with pytest.raises(OursError, match="tried again"):
        new(source, cursor)
    served.deliver(sending("b", 1))
    served.start()
    assert new(source, cursor)[0] == ["b-0", "b-1"]


def test_a_clone_that_broke_is_made_anew(served: PublicInbox, tmp_path: Path) -> None:
    source = Archive(served.url, tmp_path / "keep")
    cursor = new(source, "")[1]
    (clone,) = (tmp_path / "keep").glob("*/0.git")
    shutil.rmtree(clone / "objects")
    (clone / "objects").mkdir()
    with pytest.raises(OursError):
        new(source, "")
    assert new(source, "")[0] == ["a-0", "a-1", "a-2"]
    assert new(source, cursor) == ([], cursor)


def test_what_is_no_archive_is_one_sentence(served: PublicInbox, tmp_path: Path) -> None:
    with pytest.raises(OursError, match="is no git repository: check `sources`"):
        new(Archive(served.url + "-none", tmp_path / "keep"), "")
    with pytest.raises(OursError, match="is no public-inbox v2 archive"):
        new(Archive(str(tmp_path), tmp_path / "keep"), "")


def test_only_what_came_lately_is_read_at_first(served: PublicInbox, tmp_path: Path) -> None:
    served.deliver([recent(1), recent(2)])
    source = Archive(served.url, tmp_path / "keep", datetime.now(UTC) - timedelta(days=1))
    ids, cursor = new(source, "")
    assert ids == ["r1@example.org", "r2@example.org"]
    assert new(source, cursor) == ([], cursor)
    future = Archive(served.url, tmp_path / "other", datetime.now(UTC) + timedelta(days=1))
    assert new(future, "") == ([], "")


def test_an_archive_is_followed_over_http_alone(inbox: PublicInbox) -> None:
    inbox.deliver([recent(1), recent(2)])
    inbox.index()
    inbox.start()
    source = Lore(inbox.url)
    ids, cursor = new(source, "")
    assert ids == ["r1@example.org", "r2@example.org"]
    assert new(source, cursor) == ([], cursor)
    inbox.deliver([recent(0), recent(3)])
    inbox.index()
    inbox.stop()
    with pytest.raises(OursError, match=r"does not answer|cannot be read"):
        new(source, cursor)
    inbox.start()
    assert new(source, cursor)[0] == ["r0@example.org", "r3@example.org"]


def test_the_rest_of_a_thread_is_found_by_one_id(inbox: PublicInbox) -> None:
    inbox.deliver(sending("t", 2))
    inbox.index()
    inbox.start()
    for wanted in ("t-0", "<t-2>"):
        found = lore.thread(inbox.url, wanted)
        assert all(f"<t-{n}>".encode() in found for n in range(3))
    with pytest.raises(NotOnLoreError, match=r"has no mail <nobody@example.org>"):
        lore.thread(inbox.url, "nobody@example.org")
