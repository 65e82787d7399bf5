"""Mails written for the tests: patches and covers as git send-email sends them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
JANE = "Jane Doe <jane@example.org>"
DIFF = """\
diff --git a/mm/one.c b/mm/one.c
index 1111111..2222222 100644
--- a/mm/one.c
+++ b/mm/one.c
@@ -1,3 +1,3 @@
 int a;
-int b;
+int c;
 int d;
"""
PATCH = f"Why it is so.\n\nSigned-off-by: {JANE}\n---\n mm/one.c | 2 +-\n\n{DIFF}-- \n2.39.5\n"
COVER = "What it is about.\n\nJane Doe (2):\n  one\n  two\n\n-- \n2.39.5\n"


def letter(
    subject: str,
    body: str = PATCH,
    *,
    id: str | None = None,  # noqa: A002 - what the header is called
    parents: Sequence[str] = (),
    sender: str = JANE,
    minutes: float = 0,
    headers: str = "",
) -> bytes:
    """Return a raw mail, sent some minutes after noon."""
    lines = [f"From: {sender}", f"Subject: {subject}"]
    lines.append(f"Date: {format_datetime(NOON + timedelta(minutes=minutes))}")
    if id:
        lines.append(f"Message-ID: <{id}>")
    if parents:
        lines.append(f"In-Reply-To: <{parents[-1]}>")
        lines.append("References: " + " ".join(f"<{one}>" for one in parents))
    return ("\n".join(lines) + f"\n{headers}\n{body}").encode()


def sending(  # noqa: PLR0913 - each is a property of a sending
    name: str,
    total: int,
    *,
    label: str = "PATCH",
    cover: str | None = "the cover",
    parents: Sequence[str] = (),
    minutes: float = 0,
    content: str = "",
    sender: str = JANE,
) -> list[bytes]:
    """Return one sending, threaded as git send-email does: ids NAME-0, NAME-1, …

    Two of them with the same content are one and the same work; the default is the name.
    """
    body = PATCH.replace("+int c;", f"+int {content or name};")
    ticks = count()
    mails = []
    root = [*parents]
    if cover is not None:
        subject = f"[{label} 0/{total}] {cover}"
        mails.append(
            letter(subject, COVER, id=f"{name}-0", parents=root, minutes=minutes, sender=sender)
        )
        root = [*root, f"{name}-0"]
    for index in range(1, total + 1):
        mails.append(
            letter(
                f"[{label} {index}/{total}] patch {index}", body, id=f"{name}-{index}",
                parents=root, minutes=minutes + next(ticks) / 60, sender=sender,
            )
        )  # fmt: skip
        if index == 1 and cover is None:
            root = [*root, f"{name}-1"]
    return mails


def mbox(mails: Sequence[bytes]) -> bytes:
    """Return an mboxrd."""
    out = b""
    for mail in mails:
        lines = mail.rstrip(b"\n").split(b"\n")
        quoted = [b">" + one if one.lstrip(b">").startswith(b"From ") else one for one in lines]
        out += b"From mboxrd@z Thu Jan  1 00:00:00 1970\n" + b"\n".join(quoted) + b"\n\n"
    return out
