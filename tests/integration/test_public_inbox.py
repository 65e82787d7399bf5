"""Archives followed in git and over HTTP, against the real public-inbox."""

from __future__ import annotations

import base64
import json
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from bot.errors import OursError
from bot.mail import inbox as archives
from bot.mail import lore
from bot.mail.archive import Archive
from bot.mail.following import Source
from bot.mail.lore import Lore, NotOnLoreError
from bot.mail.message import parse
from tests.integration.inboxes import PublicInbox
from tests.letters import letter, sending
from tests.unit.stubserver import Asked, Reply, serving

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
    served.deliver([letter("[PATCH] p", id="old")])
    served.next_epoch()
    served.deliver(sending("b", 1))
    ids, cursor = new(source, cursor)
    assert ids == ["old", "b-0", "b-1"]
    assert set(json.loads(cursor)) == {"0", "1"}
    assert new(source, cursor) == ([], cursor)
    served.next_epoch()
    served.next_epoch()
    served.deliver([letter("[PATCH] p", id="third")])
    served.stop()  # it remembers for a while which epochs there are
    served.start()
    assert new(Archive(served.url, tmp_path / "keep"), cursor)[0] == ["third"]


@pytest.mark.parametrize("manifest", ["manifest", ""])
def test_epochs_are_found_with_and_without_a_manifest(
    served: PublicInbox, tmp_path: Path, manifest: str
) -> None:
    served.next_epoch()
    served.deliver(sending("b", 1))
    paths: list[str] = []

    def recorded(asked: Asked) -> Reply:
        paths.append(asked.path)
        if "manifest" in asked.path and not manifest:
            return Reply(404)
        return forwarded(served, asked)

    with serving(recorded) as host:
        ids, cursor = new(Archive(f"{host}/test", tmp_path / "keep"), "")
        assert ids == ["a-0", "a-1", "a-2", "b-0", "b-1"]
        assert any(path.startswith("/test/2/") for path in paths) != bool(manifest)
        paths.clear()
        assert new(Archive(f"{host}/test", tmp_path / "keep"), cursor) == ([], cursor)
        assert not any(path.startswith("/test/0/") for path in paths)  # it is full


def test_an_epoch_that_cannot_be_had_keeps_back_none_before_it(
    served: PublicInbox, tmp_path: Path
) -> None:
    served.next_epoch()
    served.deliver(sending("b", 1))
    broken = True

    def half(asked: Asked) -> Reply:
        return Reply(503) if broken and "/1/" in asked.path else forwarded(served, asked)

    with serving(half) as host:
        source = Archive(f"{host}/test", tmp_path / "keep")
        coming = source.follow("")
        fetched = [next(coming) for _ in range(3)]
        with pytest.raises(OursError, match=r"/1 cannot be reached .*tried again"):
            next(coming)
        broken = False
        assert new(source, fetched[-1].cursor)[0] == ["b-0", "b-1"]


def test_at_first_no_more_epochs_are_cloned_than_needed(
    served: PublicInbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "OLDER", 1)
    served.next_epoch()
    served.deliver([*sending("b", 1), recent(1)])
    served.next_epoch()
    served.deliver([recent(2)])
    ids, cursor = new(Archive(served.url, tmp_path / "keep", NOW - timedelta(days=1)), "")
    assert ids == ["r1@example.org", "r2@example.org"]
    clones = sorted(one.name for one in (tmp_path / "keep").glob("*/*.git"))
    assert clones == ["1.git", "2.git"]
    assert new(Archive(served.url, tmp_path / "keep", NOW), cursor) == ([], cursor)


def test_a_mail_that_was_purged_rewrites_history(served: PublicInbox, tmp_path: Path) -> None:
    source = Archive(served.url, tmp_path / "keep")
    cursor = new(source, "")[1]
    served.deliver(sending("b", 1))
    served.run("public-inbox-purge", "--all", stdin=sending_raw("a-1"))
    ids, later = new(source, cursor)
    assert ids == ["b-0", "b-1"]
    assert new(source, later) == ([], later)
    # a new clone has nothing of the old history: all comes again, nothing is left out
    assert new(Archive(served.url, tmp_path / "new"), cursor)[0] == ["a-0", "a-2", "b-0", "b-1"]


def test_a_mail_that_was_edited_comes_as_it_is_now(served: PublicInbox, tmp_path: Path) -> None:
    source = Archive(served.url, tmp_path / "keep")
    cursor = new(source, "")[1]
    served.deliver(sending("b", 1))
    served.run(
        "git", "config", "-f", str(served.home / "config"), "publicinbox.mailEditor",
        "sed -i s/patch.1$/mended/",
    )  # fmt: skip
    served.run("public-inbox-edit", "-m", "a-1", "--all")
    fetched = list(source.follow(cursor))
    assert [parse(one.raw).message_id for one in fetched] == ["a-1", "b-0", "b-1"]
    assert parse(fetched[0].raw).subject == "[PATCH 1/2] mended"
    assert new(source, fetched[-1].cursor) == ([], fetched[-1].cursor)


def test_spam_that_was_removed_meanwhile_does_not_come(served: PublicInbox, tmp_path: Path) -> None:
    source = Archive(served.url, tmp_path / "keep")
    cursor = new(source, "")[1]
    spam = letter("Buy now", "Cheap.\n", id="spam")
    served.deliver([*sending("b", 1), spam])
    raw = b"To: test@lists.example.org\n" + spam
    served.run("public-inbox-learn", "rm", stdin=raw)
    assert new(source, cursor)[0] == ["b-0", "b-1"]


def sending_raw(name: str) -> bytes:
    mail = next(one for one in sending("a", 2) if parse(one).message_id == name)
    return b"To: test@lists.example.org\n" + mail


def forwarded(inbox: PublicInbox, asked: Asked) -> Reply:
    """Return what the real server answers."""
    kept = {"Content-Type", "Content-Encoding", "Accept", "Git-Protocol", "User-Agent"}
    headers = {name: value for name, value in asked.headers.items() if name in kept}
    host = inbox.url.removesuffix("/test")
    request = urllib.request.Request(  # noqa: S310 - loopback
        host + asked.path, asked.body or None, headers, method=asked.method
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - the same
            return Reply(
                200, answer.read(), {"Content-Type": answer.headers.get("Content-Type", "")}
            )
    except urllib.error.HTTPError as error:
        return Reply(error.code)


def test_a_fetch_that_is_cut_is_done_again(served: PublicInbox, tmp_path: Path) -> None:
    cut = [0]

    def cutting(asked: Asked) -> Reply:
        reply = forwarded(served, asked)
        if asked.method != "POST" or not cut[0]:
            return reply
        cut[0] -= 1
        half = reply.body[: len(reply.body) * 2 // 3]
        return Reply(200, half, {**reply.headers, "Content-Length": str(len(reply.body))})

    with serving(cutting) as host:
        source = Archive(f"{host}/test", tmp_path / "keep")
        cut[0] = 1
        with pytest.raises(OursError, match=r"cannot be fetched .*tried again"):
            new(source, "")
        ids, cursor = new(source, "")
        assert ids == ["a-0", "a-1", "a-2"]
        (clone,) = (tmp_path / "keep").glob("*/0.git")
        inode = clone.stat().st_ino
        served.deliver(sending("b", 1))
        cut[0] = 1
        with pytest.raises(OursError, match=r"cannot be fetched .*tried again"):
            new(source, cursor)
        assert new(source, cursor)[0] == ["b-0", "b-1"]
        assert clone.stat().st_ino == inode  # it was not cloned anew for that


def test_the_stop_ends_a_fetch(served: PublicInbox, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert new(Archive(served.url, tmp_path / "keep", stop=stop), "") == ([], "")
    assert new(Archive(served.url, tmp_path / "keep"), "")[0] == ["a-0", "a-1", "a-2"]


def test_an_archive_behind_a_login_or_a_redirect(served: PublicInbox, tmp_path: Path) -> None:
    wanted = "Basic " + base64.b64encode(b"jane:very secret").decode()

    def guarded(asked: Asked) -> Reply:
        if asked.headers.get("Authorization") == wanted:
            return forwarded(served, asked)
        return Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    with serving(guarded) as host:
        login = host.replace("//", "//jane:very%20secret@")
        assert len(new(Archive(f"{login}/test", tmp_path / "keep"), "")[0]) == 3
        with pytest.raises(OursError, match="says 401"):
            new(Archive(f"{host}/test", tmp_path / "other"), "")
    target = served.url.removesuffix("/test")
    with serving(lambda asked: Reply(301, headers={"Location": target + asked.path})) as host:
        assert len(new(Archive(f"{host}/test", tmp_path / "keep"), "")[0]) == 3


def test_a_server_that_is_down_is_asked_again(served: PublicInbox, tmp_path: Path) -> None:
    source = Archive(served.url, tmp_path / "keep")
    cursor = new(source, "")[1]
    served.stop()
    with pytest.raises(OursError, match="tried again"):
        new(source, cursor)
    served.deliver(sending("b", 1))
    served.start()
    assert new(source, cursor)[0] == ["b-0", "b-1"]


@pytest.mark.parametrize("damage", ["objects", "pack", "head"])
def test_a_clone_that_broke_is_made_anew(served: PublicInbox, tmp_path: Path, damage: str) -> None:
    source = Archive(served.url, tmp_path / "keep")
    cursor = new(source, "")[1]
    (clone,) = (tmp_path / "keep").glob("*/0.git")
    served.deliver(sending("b", 1))
    match damage:
        case "objects":
            shutil.rmtree(clone / "objects")
            (clone / "objects").mkdir()
        case "pack":
            for pack in clone.glob("objects/pack/*.pack"):
                pack.chmod(0o600)
                pack.write_bytes(pack.read_bytes()[:50])
        case "head":
            (clone / "HEAD").write_text("junk")
    with pytest.raises(OursError, match=r"cloned anew|tried again"):
        new(source, "")
    served.stop()
    with pytest.raises(OursError, match="cannot be reached"):
        new(source, "")
    assert clone.is_dir()
    served.start()
    assert new(source, "")[0] == ["a-0", "a-1", "a-2", "b-0", "b-1"]
    assert new(source, cursor)[0] == ["b-0", "b-1"]
    assert [one.name for one in clone.parent.iterdir()] == ["0.git"]


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


def received(raw: bytes, ago: timedelta) -> bytes:
    """Return a mail with the mark of the archive's server on it."""
    when = format_datetime(datetime.now(UTC) - ago)
    return b"Received: from a by b; " + when.encode() + b"\n" + raw


def test_an_archive_is_followed_over_http_alone(inbox: PublicInbox) -> None:
    hour = timedelta(hours=1)
    # what counts is when the archive got a mail, not when its sender says it was written
    inbox.deliver([received(one, hour) for one in sending("a", 1)])
    inbox.index()
    inbox.start()
    source = Lore(inbox.url)
    ids, cursor = new(source, "")
    assert sorted(ids) == ["a-0", "a-1"]
    assert new(source, cursor) == ([], cursor)
    inbox.deliver([received(letter("[PATCH] p", id="new"), hour * 0)])
    inbox.deliver([received(letter("[PATCH] p", id="late"), hour * 9)])
    inbox.index()
    inbox.stop()
    with pytest.raises(OursError, match="does not answer"):
        new(source, cursor)
    inbox.start()
    assert new(source, cursor)[0] == new(Lore(inbox.url), cursor)[0] == ["new"]
    kept = json.loads(cursor)
    kept["far"] -= 7 * 3600
    assert sorted(new(Lore(inbox.url), json.dumps(kept))[0]) == ["late", "new"]
    with pytest.raises(OursError, match="is no archive that can be searched"):
        new(Lore(inbox.url + "-none"), "")


def test_the_rest_of_a_thread_is_found_by_one_id(inbox: PublicInbox) -> None:
    inbox.deliver(sending("t", 2))
    inbox.index()
    inbox.start()
    for wanted in ("t-0", "<t-2>"):
        found = lore.thread(inbox.url, wanted)
        assert all(f"<t-{n}>".encode() in found for n in range(3))
    with pytest.raises(NotOnLoreError, match=r"has no mail <nobody@example.org>"):
        lore.thread(inbox.url, "nobody@example.org")
    # a host that serves the same is asked first, and where it fails the archive itself
    host = inbox.url.removesuffix("/test")
    with serving(lambda _: Reply(503)) as broken:
        assert b"<t-2>" in lore.thread(inbox.url, "t-0", [broken])
        assert b"<t-2>" in lore.thread(f"{broken}/test", "t-0", [host])
    assert b"<t-2>" in lore.thread(host, "t-0")  # it redirects to the list
