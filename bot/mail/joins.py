"""Mends sendings that fell apart on the way: lost References, two addresses, odd covers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from bot.mail import kinds, sending
from bot.mail.message import Message
from bot.mail.sending import Sending
from bot.mail.threads import WINDOW, parent, same_person

Known = Mapping[str, Message]
MOST = 100  # parts of one length within WINDOW that are looked at; a flood has more
_VERSION = re.compile(r"(?i)(?<=\S)[,:;]?\s+[(\[]?v(?P<version>[1-9]\d{0,2})[)\]]?$")


def joined(found: Sequence[Sending], known: Known) -> list[Sending]:
    """Put together what belongs together by sender, total, version and time.

    Mailers lose References, and some people send each mail from another address.
    """
    whole = [one for one in found if not _is_part(one)]
    parts: defaultdict[int, list[Sending]] = defaultdict(list)
    for one in found:
        if _is_part(one):
            parts[one.total].append(one)
    for _, group in sorted(parts.items()):
        whole += _put_together(sorted(group, key=_order), known)
    return sorted(whole, key=_order)


def _is_part(one: Sending) -> bool:
    return one.counted and (bool(one.missing) or one.cover is None)


def _order(one: Sending) -> tuple[object, ...]:
    return one.span[0], one.lead.message_id


def _put_together(group: Sequence[Sending], known: Known) -> list[Sending]:
    """Join parts until none fits another; one may be what ties two others together."""
    out: list[Sending] = []
    near: list[int] = []  # places in `out` of what was sent just before
    for part in group:
        near = [n for n in near if _gap(out[n], part) <= WINDOW][-MOST:]
        fits = [n for n in near if _fits(part, out[n], known)]
        if fits:
            out[fits[-1]] = sending.of([*out[fits[-1]].mails, *part.mails])
        else:
            near.append(len(out))
            out.append(part)
    return _put_together(sorted(out, key=_order), known) if len(out) < len(group) else out


def _fits(one: Sending, other: Sending, known: Known) -> bool:
    if one.indices & other.indices:
        return False
    if one.stated and other.stated and one.stated != other.stated:
        return False
    if _hangs_from(one, other, known) or _hangs_from(other, one, known):
        return True
    loose = _is_loose(one) or _is_loose(other)
    return loose and same_person(one.sender, other.sender)


def _gap(one: Sending, other: Sending) -> timedelta:
    """Return the time between two sendings; none where they overlap."""
    (first, last), (start, end) = one.span, other.span
    return max(start - last, first - end, timedelta())


def _is_loose(one: Sending) -> bool:
    """Whether nothing ties one of its mails to the others."""
    return any(not mail.references for mail in one.mails)


def _hangs_from(one: Sending, other: Sending, known: Known) -> bool:
    """Whether a mail answers one with a lower number, as git send-email threads them."""
    theirs = {mail.message_id: mail.label.index for mail in other.mails}
    for mail in one.mails:
        above = mail.references[-1] if mail.references else ""
        if above in known and theirs.get(above, mail.label.index) < mail.label.index:
            return True
    return False


def with_letters(found: Sequence[Sending], everything: Known) -> list[Sending]:
    """Give sendings without a cover the letter that they are threaded under, if it is one."""
    covers: dict[str, Message] = {}  # by the id of the first patch
    taken: set[str] = set()
    for one in sorted(found, key=_order):
        cover = _letter(one, everything)
        if cover and cover.message_id not in taken:
            taken.add(cover.message_id)
            covers[one.lead.message_id] = cover
    return [
        Sending(titled(covers[one.lead.message_id]), one.patches)
        if one.lead.message_id in covers else one
        for one in found if one.lead.message_id not in taken
    ]  # fmt: skip


def _letter(one: Sending, everything: Known) -> Message | None:
    if one.cover or not one.counted:
        return None
    first = one.patches[0]
    cover = everything.get(first.references[-1]) if first.references else None
    if cover is None or not kinds.is_letter(cover):
        return None
    mine = same_person(cover.sender, one.sender) and abs(first.date - cover.date) <= WINDOW
    return cover if mine else None


def titled(cover: Message) -> Message:
    """Take the version out of a title that ends in it: "rework it all, v2"."""
    found = _VERSION.search(cover.label.title)
    if found is None or cover.label.version is not None:
        return cover
    title = cover.label.title[: found.start()]
    return replace(cover, label=replace(cover.label, title=title, version=int(found["version"])))


def answers(found: Sequence[Sending], known: Known) -> dict[str, str]:
    """Return the mails that look like a part of a series and are talk about another one's.

    Mail clients drop "Re:"; what is left of the subject is that of the patch. The value is
    the id of the mail that is answered.
    """
    homes = {mail.message_id: one for one in found for mail in one.mails}
    talk: dict[str, str] = {}
    for one in found:
        above = parent(one.lead, known) if _is_fragment(one) else None
        home = homes.get(above.message_id) if above else None
        if above and home and home is not one and not same_person(home.sender, one.sender):
            talk.update((mail.message_id, above.message_id) for mail in one.mails)
    return talk


def _is_fragment(one: Sending) -> bool:
    return one.counted and one.cover is None and bool(one.missing)
