"""Fetches the thread of a Message-ID from lore or any other public-inbox over HTTP."""

from __future__ import annotations

from liblore import LibloreError, RemoteError
from liblore.node import LoreNode

from bot.errors import OursError, TheirsError

NOT_FOUND = 404


class NotOnLoreError(TheirsError):
    """The archive has no mail with this Message-ID."""


class LoreUnreachableError(OursError):
    """The archive does not answer."""


def thread(url: str, message_id: str) -> bytes:
    """Return the mailbox of the thread in which a mail is.

    Raises NotOnLoreError, LoreUnreachableError.
    """
    wanted = message_id.strip().strip("<>")
    try:
        with LoreNode(url, follow_upstream=False) as node:
            return node.get_mbox_by_msgid(wanted)
    except RemoteError as error:
        if error.status_code == NOT_FOUND:
            raise NotOnLoreError(
                f"{url} has no mail <{wanted}>: check the Message-ID, or give a mailbox"
            ) from error
        raise LoreUnreachableError(f"{url} does not answer: {error}") from error
    except LibloreError as error:
        raise LoreUnreachableError(f"{url} cannot be read: {error}") from error
