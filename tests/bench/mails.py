"""Mail as on a kernel list, as much as is wanted, and a public-inbox v2 repository of it.

Threads of patches in several versions, single patches, reviews with quotes, pull requests,
reports of robots and talk, two in a hundred damaged on the way (tests/fuzz/damage.py). The same
for the same number and seed.
"""

from __future__ import annotations

import base64
import quopri
import random
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from tests.fuzz import damage

SEED = 5
START = datetime(2019, 1, 1, tzinfo=UTC)
ODD = 0.02  # of all mails
LONGEST = 100_000  # bytes of a damaged mail
OPEN = 12  # threads that go on at the same time
_TEXT = (
    "folio inode page lock journal extent writeback buffer reclaim shrinker bitmap dirty group "
    "mount quota fix race avoid use the a when under with drop return error path convert remove "
    "helper simplify add support for large pass down context allocation flag transaction handle"
)
WORDS = tuple(_TEXT.split())
PEOPLE = tuple(
    f"{first} {last} <{first}.{last}@{host}.example.org>"
    for first in ("Ann", "Bo", "Chidi", "Dana", "Eero", "Fay", "Gil", "Hana")
    for last, host in (("Ito", "lab"), ("Kroll", "kernel"), ("Moe", "work"), ("Ng", "home"))
)
FILES = tuple(f"fs/{a}fs/{b}.c" for a in ("aa", "bb", "cc") for b in ("inode", "super", "file", "dir"))  # noqa: E501 # fmt: skip
RECEIVED = (
    "Received: from mx{n}.example.org (mx{n}.example.org [192.0.2.{n}])\n"
    "\tby lists.example.org (Postfix) with ESMTPS id 4{n}ABCDEF{n}\n"
    "\tfor <linux-aafs@lists.example.org>; {date}\n"
)
SIGNATURE = (
    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=mail;\n"
    "\th=from:to:cc:subject:date:message-id:in-reply-to:references;\n"
    "\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\n\tb=" + "dzdVyOfAKCdLXdJOc9G2q8Lo" * 14
)  # fmt: skip


class List:
    """A mailing list; hands out one raw mail after the other."""

    def __init__(self, seed: int = SEED, odd: float = ODD) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - not for secrets
        self._now, self._number, self._odd = START, 0, odd

    def mails(self, count: int) -> Iterator[bytes]:
        """Yield so many mails, oldest first."""
        threads: list[Iterator[bytes]] = []
        for _ in range(count):
            raw = None
            while raw is None:
                if len(threads) < OPEN:
                    threads.append(self._thread())
                thread = self._chance.choice(threads)
                raw = next(thread, None)
                if raw is None:
                    threads.remove(thread)
            yield self._on_its_way(raw)

    def _on_its_way(self, raw: bytes) -> bytes:
        if self._chance.random() >= self._odd:
            return raw
        return damage.damaged(raw, self._chance)[:LONGEST]

    def _thread(self) -> Iterator[bytes]:
        kind = self._chance.random()
        title = self._title()
        author = self._chance.choice(PEOPLE)
        if kind < 0.4:
            yield from self._series(title, author)
        elif kind < 0.75:
            yield from self._single(title, author)
        else:
            start = {0: "[GIT PULL] ", 1: "[syzbot] ", 2: "[PATCH e2progs] "}.get(int(kind * 30) % 6, "")  # noqa: E501 # fmt: skip
            body = self._diffed() if "PATCH" in start else self._talk(12)
            raw, name = self._mail(start + title, author, body)
            yield raw
            yield from self._replies(start + title, body, [name])

    def _single(self, title: str, author: str) -> Iterator[bytes]:
        above: list[str] = []
        for version in range(1, self._chance.choice((2, 2, 2, 3, 4))):
            subject = f"[PATCH{f' v{version}' if version > 1 else ''}] {title}"
            body = self._diffed()
            raw, name = self._mail(subject, author, body, above if version % 2 else [])
            yield raw
            yield from self._replies(subject, body, [name])
            above = [name]

    def _series(self, title: str, author: str) -> Iterator[bytes]:
        total = self._chance.choice((2, 2, 3, 3, 4, 5, 7, 9, 14, 23))
        above: list[str] = []
        for version in range(1, self._chance.choice((2, 2, 3, 4))):
            label = self._chance.choice(("PATCH", "PATCH", "RFC PATCH")) + (f" v{version}" if version > 1 else "")  # noqa: E501 # fmt: skip
            cover = f"[{label} 0/{total}] {title}"
            raw, root = self._mail(cover, author, self._talk(20), above, seconds=30)
            sent = [(raw, cover, "", root)]
            for index in range(1, total + 1):
                subject, body = f"[{label} {index}/{total}] {self._title()}", self._diffed()
                raw, name = self._mail(subject, author, body, [root], seconds=1)
                sent.append((raw, subject, body, name))
            yield from (raw for raw, *_ in sent)
            for _, subject, body, name in self._chance.sample(sent, (len(sent) + 1) // 2):
                yield from self._replies(subject, body or self._talk(9), [root, name])
            above = [root] if self._chance.random() < 0.5 else []

    def _replies(self, subject: str, body: str, above: list[str]) -> Iterator[bytes]:
        above = list(dict.fromkeys(above))
        for _ in range(self._chance.choice((0, 1, 2, 2, 3, 5))):
            who = self._chance.choice(PEOPLE)
            lines = body.splitlines()[: self._chance.choice((10, 60, 400))]
            quoted = "".join(f"> {line}\n" for line in lines)
            answer = f"On some day, {who} wrote:\n{quoted}\n{self._talk(3)}"
            raw, name = self._mail(f"Re: {subject}", who, answer, above)
            yield raw
            above = [*above, name]

    def _mail(
        self, subject: str, who: str, body: str, above: list[str] | tuple[()] = (), seconds: int = 0
    ) -> tuple[bytes, str]:
        """Return a raw mail and its id; time goes on."""
        self._number += 1
        self._now += timedelta(seconds=seconds or self._chance.randrange(60, 1800))
        name = f"{self._number}.{self._chance.getrandbits(40):x}@mails.example.org"
        date = format_datetime(self._now)
        cc = ",\n\t".join(self._chance.sample(PEOPLE, self._chance.randrange(2, 9)))
        lines = [RECEIVED.format(n=n, date=date).rstrip("\n") for n in (3, 7, 9)]
        lines += [SIGNATURE, f"From: {who}", "To: linux-aafs@lists.example.org", f"Cc: {cc}"]
        lines += [f"Subject: {subject}", f"Date: {date}", f"Message-ID: <{name}>"]
        if above:
            lines += [f"In-Reply-To: <{above[-1]}>"]
            lines += ["References: " + "\n ".join(f"<{one}>" for one in above)]
        lines += [
            "List-Id: <linux-aafs.lists.example.org>",
            "Precedence: bulk",
            "MIME-Version: 1.0",
        ]
        coding, sent = self._encoded(body.encode())
        lines += ["Content-Type: text/plain; charset=utf-8", f"Content-Transfer-Encoding: {coding}"]
        return "\n".join(lines).encode() + b"\n\n" + sent, name

    def _encoded(self, body: bytes) -> tuple[str, bytes]:
        how = self._chance.random()
        if how < 0.1:
            return "quoted-printable", quopri.encodestring(body)
        if how < 0.14:
            return "base64", base64.encodebytes(body)
        return "8bit", body

    def _title(self) -> str:
        return "aafs: " + " ".join(self._chance.choices(WORDS, k=6))

    def _talk(self, lines: int) -> str:
        text = [" ".join(self._chance.choices(WORDS, k=10)) + ".\n" for _ in range(lines)]
        return "".join(text) + "\n-- \nA. Signature\n"

    def _diffed(self) -> str:
        """Return the body of a patch: message, diffstat, diff, signature."""
        files = self._chance.sample(FILES, self._chance.choice((1, 1, 1, 2, 3, 6)))
        diffs, added = [], 0
        for file in files:
            hunks, more = self._hunks()
            old, new = (f"{self._chance.getrandbits(48):012x}" for _ in "ab")
            diffs.append(f"diff --git a/{file} b/{file}\nindex {old}..{new} 100644\n--- a/{file}\n+++ b/{file}\n{hunks}")  # noqa: E501 # fmt: skip
            added += more
        count = f"{len(files)} file{'s' if len(files) > 1 else ''} changed"
        stat = "".join(f" {file} | 9 +++---\n" for file in files) + f" {count}, {added} insertions(+)\n"  # noqa: E501 # fmt: skip
        message = self._talk(8).partition("\n-- \n")[0]
        return f"{message}\nSigned-off-by: {self._chance.choice(PEOPLE)}\n---\n{stat}\n{''.join(diffs)}-- \n2.39.5\n"  # noqa: E501 # fmt: skip

    def _hunks(self) -> tuple[str, int]:
        out, at, added = [], 10, 0
        for _ in range(self._chance.choice((1, 2, 2, 3, 5, 8))):
            marks = "   " + "".join(self._chance.choices("+- ", k=self._chance.randrange(3, 24))) + "   "  # noqa: E501 # fmt: skip
            new, gone = marks.count("+"), marks.count("-")
            old = len(marks) - new
            out.append(f"@@ -{at},{old} +{at},{len(marks) - gone} @@ static int aafs_{self._chance.choice(WORDS)}(void)\n")  # noqa: E501 # fmt: skip
            for mark in marks:
                one, other = self._chance.choice(WORDS), self._chance.choice(WORDS)
                out.append(f"{mark}\tif ({one}_{other}(sb, {other}))\n")
            at, added = at + 100, added + new
        return "".join(out), added


def mails(count: int, seed: int = SEED, odd: float = ODD) -> Iterator[bytes]:
    """Yield so many raw mails, oldest first."""
    return List(seed, odd).mails(count)


def _commit(raw: bytes, number: int) -> bytes:
    who = b"A. Author <author@example.org> %d +0000" % (START.timestamp() + 600 * number)
    head = b"commit refs/heads/master\nauthor %s\ncommitter %s\ndata 4\nmail" % (who, who)
    return head + b"\nM 100644 inline m\ndata %d\n" % len(raw) + raw + b"\n"


def make(path: Path, count: int, seed: int = SEED) -> Path:
    """Make a public-inbox v2 repository of so many mails, unless it is there."""
    if (path / "made").exists():
        return path
    shutil.rmtree(path, ignore_errors=True)  # of a run that was killed
    path.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "master", path], check=True)  # noqa: S607
    with subprocess.Popen(
        ["git", "-C", path, "fast-import", "--quiet"], stdin=subprocess.PIPE  # noqa: S607
    ) as child:  # fmt: skip
        assert child.stdin is not None
        for number, raw in enumerate(mails(count, seed)):
            child.stdin.write(_commit(raw, number))
    assert child.returncode == 0
    (path / "made").touch()
    return path
