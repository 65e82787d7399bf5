"""A raw mail as a tree of parts, within bounds of parts and depth.

The standard library's parser takes, for every line, time for every part around it. Its
structured headers (EmailPolicy, which liblore parses with) need quadratic time for long ones,
raise on some, and are read even where only the body is asked for; so values are handed out as
they stand, cut at LINE_LIMIT.
"""

from __future__ import annotations

import re
from email import message_from_bytes
from email.message import Message as Mail
from email.parser import BytesHeaderParser
from email.policy import Compat32

from bot.mail import body, headers

PARTS = 2000  # lines that may be MIME boundaries; above, the parts are not looked at
DEPTH = 20  # parts that say that they have parts, likewise
_NEST = re.compile(rb"(?i)\ncontent-type:\s*multipart/")


class _Policy(Compat32):  # type: ignore[misc,type-arg,unused-ignore] # generic in some versions
    """Hands out header values as they stand; what reads them is not linear."""

    def header_fetch_parse(self, name: str, value: str) -> str:  # noqa: ARG002 - the library's
        return value[: headers.LINE_LIMIT].strip()


_POLICY = _Policy()


def parsed(raw: bytes) -> Mail:
    """Return a mail with its parts, or its headers alone where there is no end of parts.

    ``raw`` has lines that end in LF.
    """
    head, _, text = raw.partition(b"\n\n")
    mail = _headers(head + b"\n\n")
    above = raw.startswith(b"\n") or b"\nFrom " in head or b"\r" in head
    if mail.defects or above:  # the body begins where the parser says
        mail, text = _headers(raw), raw
    elif mail.get_content_maintype() == "text":  # nearly all are, and it saves a third of the time
        mail.set_payload(text.decode("ascii", "surrogateescape"))
        return mail
    if mail.get_content_maintype() != "text" and _is_bomb(text):
        return mail
    try:
        return message_from_bytes(raw, policy=_POLICY)
    except body.ODD:  # mails in mails without end: its headers must do
        return mail


def _headers(raw: bytes) -> Mail:
    return BytesHeaderParser(policy=_POLICY).parsebytes(raw)


def _is_bomb(text: bytes) -> bool:
    seams = text.count(b"\n--")
    return seams > PARTS or (seams > DEPTH and len(_NEST.findall(text)) > DEPTH)
