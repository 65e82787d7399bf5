from __future__ import annotations

import json
import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pygit2
import pytest

from bot.errors import OursError
from bot.mail import clones, sources
from bot.mail.archive import Archive
from bot.mail.following import Source
from tests.integration.inboxes import NEW_YEAR, add, epoch
from tests.letters import letter, sending
from tests.unit.stubserver import Asked, Reply, serving

MAILS = sending("a", 5)


def archive(path: Path, since: datetime | None = None) -> Archive:
    return Archive(str(path), path / "unused", since)


def new(source: Source, cursor: str = "") -> tuple[list[bytes], str]:
    """Return what came, and the cursor behind it."""
    mails = []
    for fetched in source.follow(cursor):
        mails.append(fetched.raw)
        cursor = fetched.cursor
    return mails, cursor


def later(hours: float) -> datetime:
    return datetime.fromtimestamp(NEW_YEAR, UTC) + timedelta(hours=hours)


def rewind(repository: pygit2.Repository, commit: str) -> None:
    """Put the branch back, as a rewrite of history begins."""
    repository.references.create("refs/heads/master", pygit2.Oid(hex=commit), force=True)


def test_mails_come_oldest_first_and_each_cursor_leads_to_the_rest(tmp_path: Path) -> None:
    epoch(tmp_path / "git" / "0.git", MAILS[:4])
    epoch(tmp_path / "git" / "1.git", MAILS[4:])
    fetched = list(archive(tmp_path).follow(""))
    assert [one.raw for one in fetched] == MAILS
    for number, one in enumerate(fetched, 1):
        assert new(archive(tmp_path), one.cursor)[0] == MAILS[number:]
    assert set(json.loads(fetched[-1].cursor)) == {"0", "1"}


def test_the_same_cursor_gives_the_same_mails_again(tmp_path: Path) -> None:
    repository = epoch(tmp_path, MAILS[:2])
    source = archive(tmp_path)
    cursor = new(source)[1]
    assert new(source, cursor) == ([], cursor)
    add(repository, MAILS[2])
    assert new(source, cursor)[0] == new(source, cursor)[0] == [MAILS[2]]
    assert new(source)[0] == MAILS[:3]


def test_ten_epochs_are_followed_by_number_not_by_name(tmp_path: Path) -> None:
    mails = sending("a", 11)
    for number, mail in enumerate(mails):
        epoch(tmp_path / "git" / f"{number}.git", [mail])
    found, cursor = new(archive(tmp_path))
    assert found == mails
    epoch(tmp_path / "git" / "12.git", MAILS[:1])
    assert new(archive(tmp_path), cursor)[0] == MAILS[:1]


def test_what_was_taken_back_since_the_cursor_does_not_come(tmp_path: Path) -> None:
    repository = epoch(tmp_path, MAILS[:2])
    cursor = new(archive(tmp_path))[1]
    add(repository, MAILS[2])
    add(repository, MAILS[3])
    add(repository, MAILS[2], "d")
    add(repository, MAILS[0], "d")  # was handed out long ago
    assert new(archive(tmp_path), cursor)[0] == [MAILS[3]]


def test_a_newer_epoch_takes_back_mails_of_an_older_one(tmp_path: Path) -> None:
    epoch(tmp_path / "git" / "0.git", MAILS[:2])
    add(epoch(tmp_path / "git" / "1.git", MAILS[2:3]), MAILS[1], "d")
    assert new(archive(tmp_path))[0] == [MAILS[0], MAILS[2]]


def test_what_was_taken_back_and_came_again_is_read(tmp_path: Path) -> None:
    repository = epoch(tmp_path, MAILS[:1])
    add(repository, MAILS[0], "d")
    add(repository, MAILS[0])
    assert new(archive(tmp_path))[0] == MAILS[:1]


def test_what_is_left_of_a_purged_mail_is_none(tmp_path: Path) -> None:
    epoch(tmp_path, [MAILS[0], b"", MAILS[1]])
    assert new(archive(tmp_path))[0] == MAILS[:2]


def test_other_files_of_a_commit_are_no_mails(tmp_path: Path) -> None:
    repository = epoch(tmp_path, MAILS[:1])
    add(repository, b"all:\n", "Makefile")
    inner = repository.TreeBuilder()
    inner.insert("x", repository.create_blob(b"x"), pygit2.enums.FileMode.BLOB)
    outer = repository.TreeBuilder()
    outer.insert("m", inner.write(), pygit2.enums.FileMode.TREE)
    who = pygit2.Signature("a", "a@b", 1, 0)
    tip = repository.head.target
    repository.create_commit("refs/heads/master", who, who, "tree", outer.write(), [tip])
    assert new(archive(tmp_path))[0] == MAILS[:1]


def test_of_a_history_that_was_rewritten_only_the_new_comes(tmp_path: Path) -> None:
    repository = epoch(tmp_path, MAILS[:1])
    base = str(repository.head.target)
    for mail in MAILS[1:4]:
        add(repository, mail)
    cursor = new(archive(tmp_path))[1]
    rewind(repository, base)  # 1 is purged, 2 edited, 4 comes new
    edited = MAILS[2].replace(b"Why", b"How")
    for mail in (edited, MAILS[3], MAILS[4]):
        add(repository, mail, hours=9)
    found, cursor = new(archive(tmp_path), cursor)
    assert found == [edited, MAILS[4]]
    assert new(archive(tmp_path), cursor) == ([], cursor)


def test_a_cursor_inside_of_what_was_rewritten_leaves_nothing_out(tmp_path: Path) -> None:
    repository = epoch(tmp_path, MAILS[:1])
    base = str(repository.head.target)
    for mail in MAILS[1:4]:
        add(repository, mail)
    cursor = list(archive(tmp_path).follow(""))[1].cursor  # 2 and 3 were not stored yet
    rewind(repository, base)
    for mail in MAILS[1:]:
        add(repository, mail, hours=9)
    assert new(archive(tmp_path), cursor)[0] == MAILS[2:]


def test_where_nothing_is_left_of_the_old_history_all_is_read(tmp_path: Path) -> None:
    epoch(tmp_path / "old", MAILS[:2])
    cursor = new(archive(tmp_path / "old"))[1]
    epoch(tmp_path / "new", MAILS[:3])
    for mail in MAILS:
        add(epoch(tmp_path / "other", []), mail, hours=7)
    assert new(archive(tmp_path / "other"), cursor)[0] == MAILS
    # with a time from which on is read, too: the cursor says that the archive was read before
    assert new(archive(tmp_path / "other", later(999)), cursor)[0] == MAILS
    assert new(archive(tmp_path / "new"), cursor)[0] == MAILS[2:3]


@pytest.mark.parametrize(
    "cursor",
    ['{"0": "what"}', '{"0": 5}', "[]", "null", "{", '{"x": "y"}', json.dumps({"0": "0" * 40})],
)
def test_a_cursor_of_something_else_is_the_beginning(tmp_path: Path, cursor: str) -> None:
    epoch(tmp_path, MAILS[:2])
    assert new(archive(tmp_path), cursor)[0] == MAILS[:2]


def test_a_large_mail_is_left_out_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sources, "MAIL_LIMIT", len(MAILS[1]))
    repository = epoch(tmp_path, [MAILS[1], MAILS[1] + b"more"])
    source = archive(tmp_path)
    with caplog.at_level(logging.WARNING):
        found, cursor = new(source)
        assert found == [MAILS[1]]
        assert new(source, cursor) == ([], cursor)
    assert caplog.text.count("left out") == 1
    add(repository, MAILS[2])
    assert new(source, cursor)[0] == [MAILS[2]]


def test_an_empty_epoch_is_waited_for(tmp_path: Path) -> None:
    epoch(tmp_path / "git" / "0.git", MAILS[:1])
    repository = epoch(tmp_path / "git" / "1.git", [])
    source = archive(tmp_path)
    found, cursor = new(source)
    assert found == MAILS[:1]
    assert new(source, cursor) == ([], cursor)
    add(repository, MAILS[1])
    assert new(source, cursor)[0] == MAILS[1:2]


def test_at_first_only_what_came_since_a_time_is_read(tmp_path: Path) -> None:
    repository = epoch(tmp_path, MAILS)  # an hour between two
    found, cursor = new(archive(tmp_path, later(2.5)))
    assert found == MAILS[3:]
    # later on everything is, whatever its time says
    add(repository, letter("[PATCH] p", id="late"), hours=-500)
    assert len(new(archive(tmp_path, later(2.5)), cursor)[0]) == 1
    assert new(archive(tmp_path, later(2.0)))[0][0] == MAILS[2]
    assert new(archive(tmp_path, later(99)))[0] == []


def test_times_that_are_not_in_order_hide_nothing(tmp_path: Path) -> None:
    repository = epoch(tmp_path, MAILS[:1])
    for number, hours in enumerate((50, 3, 3, 60, 2), 1):
        add(repository, MAILS[number], hours=hours)
    assert new(archive(tmp_path, later(40)))[0] == [MAILS[1], MAILS[4]]


def test_a_damaged_archive_on_this_machine_is_left_to_its_owner(tmp_path: Path) -> None:
    epoch(tmp_path / "i", MAILS[:1])
    for path in (tmp_path / "i" / "objects").glob("??/*"):
        path.chmod(0o600)
        path.write_bytes(b"junk")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OursError, match=r"cannot be read by git .*git fsck"):
        new(archive(tmp_path / "i"))
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_no_archive_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / ("x" * 300)):
        with pytest.raises(OursError, match=r"check `sources`|cannot be read"):
            new(archive(path))


def test_a_path_may_be_written_as_a_url(tmp_path: Path) -> None:
    epoch(tmp_path / "a b#c", MAILS[:1])
    assert new(archive(tmp_path / "a b#c"))[0] == MAILS[:1]
    assert new(Archive(f"file://{tmp_path}/a%20b%23c", tmp_path))[0] == MAILS[:1]


def test_the_name_is_without_password() -> None:
    source = Archive("https://jane:secret@lists.example.org/mm/", Path("/nowhere"))
    assert source.name == "archive:https://lists.example.org/mm"


def test_waiting_ends_with_the_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    source = Archive(str(tmp_path), tmp_path, stop=stop)
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    source.wait(60)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(301, headers={"Location": "/login"}), "is no git repository over HTTP"),
        (Reply(200, b"<html>", {"Content-Type": "text/html"}), "says 200, text/html"),
        (Reply(403), "says 403"),
        (Reply(503), "cannot be reached .*tried again"),
        (Reply(404), "is no git repository: check `sources`"),
        (Reply(200, b"junk", {"Content-Type": clones.ADVERTISED}), "cannot be fetched"),
        (Reply(200, b"", {"Content-Type": clones.ADVERTISED}), "cannot be fetched"),
    ],
)
def test_a_server_without_an_archive_is_one_sentence(
    tmp_path: Path, reply: Reply, said: str
) -> None:
    """libgit2 1.9.7 itself dies of the redirect."""

    def answer(asked: Asked) -> Reply:
        return Reply(200) if asked.path == "/login" else reply

    with serving(answer) as host, pytest.raises(OursError, match=said) as caught:
        new(Archive(f"{host}/mm", tmp_path))
    assert "\n" not in str(caught.value)


def test_errors_are_without_password(tmp_path: Path) -> None:
    with serving(lambda _: Reply(403)) as host:
        source = Archive(host.replace("//", "//jane:secret@") + "/mm", tmp_path)
        with pytest.raises(OursError, match="check `sources`") as caught:
            new(source)
    assert "secret" not in str(caught.value)
    source = Archive("http://jane:secret@127.0.0.1:1/mm", tmp_path)
    with pytest.raises(OursError, match="cannot be reached") as caught:
        new(source)
    assert "secret" not in str(caught.value)


def test_a_clone_is_not_given_up_for_what_will_pass(tmp_path: Path) -> None:
    kept = clones.Clones("https://lists.example.org/mm", tmp_path, lambda: False)
    assert not kept.give_up(tmp_path, "failed to open pack: Too many open files")
    assert list(tmp_path.iterdir()) == []
    assert kept.give_up(tmp_path, "invalid code lengths set")
    assert [one.name for one in tmp_path.iterdir()] == [clones.BROKEN]


def test_many_small_packs_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clones, "PACKS", 4)
    origin = epoch(tmp_path / "origin", [])
    clone = pygit2.init_repository(str(tmp_path / "clone"), bare=True, initial_head="master")
    packs = tmp_path / "clone" / "objects" / "pack"
    for number, mail in enumerate(MAILS, 1):
        add(origin, mail)
        clone.remotes.create_anonymous(str(tmp_path / "origin")).fetch([clones.HEADS])
        clones.tidy(tmp_path / "clone")
        assert len(list(packs.glob("*.pack"))) == (number if number < 4 else number - 3)
    assert not list((tmp_path / "clone").glob("tidy-*"))
    assert new(archive(tmp_path / "clone"))[0] == MAILS
