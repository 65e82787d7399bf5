"""Says by its exit status whether a part of stackhog lives: `healthy.py bot|web|worker`.

The web part is asked over HTTP. The bot and a worker serve nothing, so that this looks where
they say that they live: in the store, and in the broker. Settings are read as they read them.
"""

from __future__ import annotations

import platform
import sys
import urllib.request
from datetime import UTC, datetime, timedelta

from bot.contract import wire
from bot.errors import StackhogError
from bot.settings import Settings, load
from bot.store import parts
from bot.verbs.storing import opened
from bot.verbs.wiring import broker_url

SILENT = timedelta(minutes=2)  # the bot says every 10 seconds that it lives
SECONDS = 5  # that a server may take


def web(settings: Settings) -> str:
    """Return what is wrong with the page; nothing, if it answers."""
    url = f"http://127.0.0.1:{settings.web_port}/healthz"
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        return "" if answer.status == 200 else f"{url} says {answer.status}"  # noqa: PLR2004 - OK


def bot(settings: Settings) -> str:
    """Return what is wrong with the bot; nothing, if it was seen lately."""
    store = opened(settings)
    with store.session() as session:
        alive = parts.alive(session, datetime.now(UTC) - SILENT)
    return "" if any(one.kind == "bot" for one in alive) else f"no sign of a bot for {SILENT}"


def worker(settings: Settings) -> str:
    """Return what is wrong with this host's worker; nothing, if the broker knows it."""
    import redis  # noqa: PLC0415 - of no use to the others

    url = broker_url(settings)
    if url is None:
        return "broker_url must be set"
    options = wire.tls(url, settings.broker_ca) or {}
    client = redis.Redis.from_url(
        url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, **options
    )
    try:
        found = [client.get(key) for key in client.scan_iter(wire.presence_key("*"))]
    except redis.RedisError as error:
        return wire.unreachable(url, error)
    host = platform.node()
    known = any(wire.Presence.model_validate_json(one).host == host for one in found if one)
    return "" if known else f"the broker knows no worker of {host}"


PARTS = {"bot": bot, "web": web, "worker": worker}


def main(argv: list[str]) -> int:
    """Return the exit status: 0, it lives; 1, it does not; 2, wrong usage."""
    if len(argv) != 1 or argv[0] not in PARTS:
        print(f"usage: healthy.py {'|'.join(PARTS)}", file=sys.stderr)  # noqa: T201 - a script
        return 2
    try:
        wrong = PARTS[argv[0]](load())
    except (OSError, StackhogError) as error:
        wrong = str(error)
    if wrong:
        print(wrong, file=sys.stderr)  # noqa: T201 - a script
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
