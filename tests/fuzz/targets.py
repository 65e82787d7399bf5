"""What must hold for any bytes: each target takes some, and raises when a promise is broken."""

from __future__ import annotations

import io
import json
import random
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC

from bot.mail import commands, kinds, message, quote, robots, sources
from bot.mail.commit import commit
from bot.mail.message import Message
from bot.mail.patchtext import patch_texts
from bot.mail.refusal import NotMailError
from bot.mail.series import Assembled, as_json, sort_out
from tests.fuzz import damage
from tests.letters import DIFF, PATCH, letter, mbox

Target = Callable[[bytes], None]


def one_mail(data: bytes) -> None:
    """Read one mail as far as it goes: to the patch that a worker gets and a reply quotes."""
    found = kinds.sort(data)
    _on_one_line(found.reason)
    if message.may_be_patch(data):
        assert found.may_belong or found.kind == kinds.Kind.PULL, found
    parsed = message.parse(data)
    _is_sound(parsed)
    read = commit(parsed)
    _on_one_line(read.title, read.author.name, read.author.email)
    assert "\0" not in read.message
    for hunk in quote.hunks(parsed.diff):
        _encodable(hunk.file, hunk.header)
    _told(sort_out([parsed]), [parsed])


def one_mailbox(data: bytes) -> None:
    """Split a mailbox, and put a mail into one and take it out again."""
    spans = list(sources.spans(io.BytesIO(data)))
    assert [one.end for one in spans[:-1]] == [one.start for one in spans[1:]]
    assert spans[0].start == 0
    assert [one.last for one in spans] == [False] * (len(spans) - 1) + [True]
    assert all(len(one.raw) <= one.size for one in spans)
    mails = list(sources.split(io.BytesIO(data)))
    assert mails == [one.raw for one in spans if one.raw]
    try:
        assert all(sources.read_stdin(io.BytesIO(data)))
    except NotMailError as error:
        _on_one_line(str(error))
    mail = b"Subject: x\n\n" + data + b"\nThe end.\n"
    if b"\r" not in mail:
        assert list(sources.split(io.BytesIO(mbox([mail, mail])))) == [mail, mail]


def some_mails(data: bytes) -> None:
    """Assemble mails that the bytes choose, in three orders of arrival."""
    mails = [message.parse(raw) for raw in letters(data)]
    found = sort_out(mails)
    _told(found, mails)
    assert sort_out(mails[::-1]) == found
    random.Random(len(data)).shuffle(mails)  # noqa: S311 - not for secrets
    assert sort_out(mails) == found


def one_answer(data: bytes) -> None:
    """Look for commands in a mail, and for signs that a machine wrote it."""
    robot = robots.robot(data)
    _on_one_line(robot or "-")
    found = commands.find(data, [BOT])
    assert len(found) <= commands.LISTED
    for one in found:
        json.dumps(commands.arguments_json(one), ensure_ascii=False).encode()


BOT = "bot@example.org"
TARGETS: dict[str, Target] = {
    "mail": one_mail, "mbox": one_mailbox, "series": some_mails, "command": one_answer,
}  # fmt: skip
WIDTH = 8  # bytes that choose one mail
LABELS = (
    "[PATCH {i}/{n}] {t}", "[PATCH v{v} {i}/{n}] {t}", "[PATCH] {t}", "[PATCH v{v}] {t}",
    "Re: [PATCH {i}/{n}] {t}", "[RFC PATCH {i}/{n}] {t}", "[PATCH {i}/{n} v{v}] {t}", "{t}",
    "[PATCHv{v}{i}/{n}]: {t}", "[PATCH RESEND v{v} {i}/{n}] {t}", "[GIT PULL] {t}", "{t}, v{v}",
    "[PATCH {i} of {n}] {t}", "[PATCH 0/{n}] {t}", "[PATCH v{v} 0/{n}] {t}", "",
)  # fmt: skip
PEOPLE = ("Jane Doe <jane@example.org>", "Jane Doe <jd@example.com>", "Joe via x <l@example.org>", "j@x")  # noqa: E501 # fmt: skip
BODIES = (PATCH, "What it is about.\n", f"> {DIFF}", PATCH.rpartition("int d")[0])
MOST = 64  # mails that are put together at once
LONGEST = 20_000  # bytes of one of them


def letters(data: bytes) -> Iterator[bytes]:
    """Yield the mails that the bytes choose, a few bits for each property of each mail."""
    program = [data[n : n + WIDTH] for n in range(0, min(len(data), WIDTH * MOST), WIDTH)]
    for number, one in enumerate(program):
        kind, place, version, above, who, when, body, spoilt = one.ljust(WIDTH, b"\0")
        subject = LABELS[kind % 16].format(
            i=place % 8, n=place // 8 % 8, v=version % 4, t=f"title {version // 4 % 8}"
        )
        parents = [f"m{above % 64}"] if above & 64 else [f"m{above % 8}", f"m{number - 1}"]
        text = BODIES[body % 4].replace("+int c;", f"+int c{body // 4 % 8};")
        raw = letter(
            subject, text, id=f"m{number if who & 8 else who % 8}" if who & 16 else None,
            parents=[] if above & 128 else parents, sender=PEOPLE[who % 4], minutes=when - 99,
            headers="change-id: x\n" if who & 32 else "",
        )  # fmt: skip
        chance = random.Random(spoilt)  # noqa: S311 - not for secrets
        yield damage.damaged(raw, chance)[:LONGEST] if spoilt >> 4 == 1 else raw


def _is_sound(one: Message) -> None:
    texts = (one.message_id, one.subject, one.list_id, *one.references, one.damage or "-")
    _on_one_line(*texts, *(str(who) for who in (one.sender, *one.to, *one.cc)))
    assert one.message_id
    assert one.message_id not in one.references
    assert all(who.name and "@" in who.email for who in (one.sender, *one.to, *one.cc))
    assert one.date.astimezone(UTC).isoformat()
    assert not one.diff or one.diff.endswith(b"\n")
    _encodable(one.above, one.below, *one.lines)


def _told(found: Assembled, mails: list[Message]) -> None:
    """Check that each mail is in a series or left out with a reason, and all can be written."""
    members = {key for one in found.series for key in one.mail_ids}
    left = dict(found.left)
    assert members | set(left) == {one.message_id for one in mails}
    assert not members & set(left)
    _on_one_line(*left.values())
    for one in found.series:
        there = [patch.index for patch in one.patches]
        assert there == sorted(set(there))
        patch_texts(one)
        json.dumps(as_json(one), ensure_ascii=False).encode()


def _encodable(*texts: str) -> None:
    for one in texts:
        one.encode()  # raises on lone surrogates


def _on_one_line(*texts: str) -> None:
    for one in texts:
        _encodable(one)
        assert all(unicodedata.category(c) not in {"Cc", "Cs", "Zl", "Zp"} for c in one), one
