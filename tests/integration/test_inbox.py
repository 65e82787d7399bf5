"""public-inbox v2 repositories, made here with the layout of public-inbox-v2-format(5)."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest

from bot.errors import TheirsError
from bot.mail import sources
from bot.mail.load import load
from bot.mail.sources import messages
from tests.integration.inboxes import add, epoch
from tests.letters import letter, sending


def test_each_commit_holds_one_mail(tmp_path: Path) -> None:
    mails = sending("a", 3)
    epoch(tmp_path / "inbox.git", mails)
    assert list(messages(tmp_path / "inbox.git")) == mails[::-1]
    (series,) = load([tmp_path / "inbox.git"])
    assert series.complete


def test_epochs_are_read_together_the_newest_first(tmp_path: Path) -> None:
    mails = sending("a", 11, cover=None)
    for number, mail in enumerate(mails):
        epoch(tmp_path / "git" / f"{number}.git", [mail])
    assert list(messages(tmp_path)) == mails[::-1]


def test_a_mail_that_was_taken_back_is_not_read(tmp_path: Path) -> None:
    kept, spam = letter("[PATCH] one", id="1"), letter("[PATCH] buy", id="2")
    epoch(tmp_path / "git" / "0.git", [kept, spam])
    add(epoch(tmp_path / "git" / "1.git", []), spam, "d")
    assert list(messages(tmp_path)) == [kept]


def test_a_working_copy_will_do(tmp_path: Path) -> None:
    repository = pygit2.init_repository(str(tmp_path), initial_head="master")
    add(repository, letter("[PATCH] one", id="1"))
    assert len(list(messages(tmp_path))) == 1


def test_a_large_mail_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = letter("[PATCH] one", id="1")
    monkeypatch.setattr(sources, "MAIL_LIMIT", len(small))
    epoch(tmp_path / "i", [small, small + b"more"])
    assert list(messages(tmp_path / "i")) == [small]


def test_a_repository_without_mail_is_refused(tmp_path: Path) -> None:
    repository = epoch(tmp_path / "i", [])
    with pytest.raises(TheirsError, match="without mail"):
        list(messages(tmp_path / "i"))
    add(repository, b"all:\n", "Makefile")
    with pytest.raises(TheirsError, match="without mail"):
        list(messages(tmp_path / "i"))


def test_a_damaged_repository_is_named(tmp_path: Path) -> None:
    epoch(tmp_path / "i", [letter("[PATCH] one", id="1")])
    for path in (tmp_path / "i" / "objects").glob("??/*"):
        path.chmod(0o600)
        path.write_bytes(b"junk")
    with pytest.raises(TheirsError, match=r"cannot be read by git .*git fsck"):
        list(messages(tmp_path / "i"))


def test_what_is_left_of_a_purged_mail_is_none(tmp_path: Path) -> None:
    mail = letter("[PATCH] one", id="1")
    epoch(tmp_path / "i", [b"", mail])
    assert list(messages(tmp_path / "i")) == [mail]
