"""Asks DNS for the keys with which mail is signed, or a file on machines without DNS."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

import dns.exception
import dns.name
import dns.resolver

from bot.errors import OursError, TheirsError

_STRINGS = re.compile(r'"((?:[^"\\]|\\.)*)"')  # of a TXT record in a zone file (RFC 1035, 5.1)


class BadKeysError(TheirsError):
    """A file of keys cannot be read."""


class NoAnswerError(OursError):
    """DNS does not answer for now; the same question may be answered later."""


class Resolver:
    """Looks up TXT records; answers are kept as long as their TTL says.

    ``lifetime`` is how long one question may take, in seconds, all retries included.
    ``servers`` are addresses of name servers; none: those of this machine.
    """

    def __init__(self, lifetime: float = 5, servers: Sequence[str] = (), port: int = 53) -> None:
        self._lifetime, self._servers, self._port = lifetime, tuple(servers), port
        self._resolver: dns.resolver.Resolver | None = None

    def __call__(self, name: str) -> bytes | None:
        """Return the TXT record of a name, its strings joined; None: there is none.

        Of several the first that begins like a key (RFC 6376, 3.6.2.2 leaves it open).
        Raises NoAnswerError when it cannot be told now.
        """
        try:
            answer = self._ready().resolve(name, "TXT", lifetime=self._lifetime)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.resolver.YXDOMAIN):
            return None
        except (dns.name.LabelTooLong, dns.name.EmptyLabel, dns.name.NameTooLong, UnicodeError):
            return None  # a name that cannot be
        except (dns.exception.DNSException, OSError) as error:
            raise NoAnswerError(
                f"DNS does not answer for {name} ({type(error).__name__}): try again later, or "
                "give the keys in a file"
            ) from error
        found = sorted(b"".join(record.strings) for record in answer)
        return next((one for one in found if one.startswith(b"v=DKIM1")), next(iter(found), None))

    def _ready(self) -> dns.resolver.Resolver:
        if self._resolver is None:
            made = dns.resolver.Resolver(configure=not self._servers)
            if self._servers:
                made.nameservers, made.port = list(self._servers), self._port
            made.cache = dns.resolver.LRUCache(1000)
            self._resolver = made
        return self._resolver


def from_text(text: str) -> Callable[[str], bytes | None]:
    """Return what looks names up in a text: a JSON object, or lines of a name and its record.

    A record may stand in quotes, also in several strings. Raises BadKeysError.
    """
    plain = text.lstrip("\ufeff")
    known = _object(plain) if plain.lstrip().startswith("{") else _lines(plain)
    found = {name.rstrip(".").lower(): record for name, record in known.items()}
    return lambda name: found.get(name.rstrip(".").lower())


def _object(text: str) -> dict[str, bytes]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadKeysError(f"the keys are no JSON ({error}): mend the file") from error
    if not all(isinstance(record, str) for record in found.values()):
        raise BadKeysError("a key is no text: give an object of names and TXT records")
    return {name: record.encode() for name, record in found.items()}


def _lines(text: str) -> dict[str, bytes]:
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, record = (*line.split(maxsplit=1), "", "")[:2]
        if not name or name.startswith(("#", ";")):
            continue
        strings = _STRINGS.findall(record)
        if not record:
            raise BadKeysError(f"line {number} of the keys has no record: write NAME TXT-RECORD")
        found[name] = ("".join(strings) if strings else record.strip()).encode()
    return found
