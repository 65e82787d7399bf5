"""Who signed a mail: DKIM (RFC 6376) as far as it vouches for the person in From.

A signature counts when it is of From's own domain or of one above, and covers what decides:
From, Date, To, Cc, In-Reply-To and References, each there at most once, and the whole body.
Subject may be left out (some signers of kernel developers do), and Message-ID (kernel.org's
does): `Signed.subject` tells of the one, `replayed` finds who makes use of the other.
X-Original-From, ARC and what lists sign under their own name are not looked at: none of it is
the sender's word.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.parser import BytesHeaderParser
from email.policy import compat32

import dkim
from dkim.canonicalization import Relaxed
from dkim.util import InvalidTagValueList, parse_tag_value

from bot.errors import OursError
from bot.mail import headers

Resolve = Callable[[str], bytes | None]  # name of a TXT record → its text; may raise OursError

MAX_AGE = timedelta(days=7)
CLOCKS = timedelta(hours=1)  # by which clocks may differ
TRIED = 3  # signatures of a mail that are looked at
SIZE = 2 * 1024 * 1024  # bytes of a mail; no command needs more
FIELD = 8192  # bytes of one DKIM-Signature
NAMES = 100  # header names in one h=
RUN = 256  # blanks in a row: dkimpy's regular expressions are quadratic in them
KEY = 2048  # bytes of a key record; RSA of 4096 bits takes some 750
MIN_BITS = 1024  # RFC 8301, 3.2
COVERED = ("from", "date", "to", "cc", "in-reply-to", "references")
ONCE = (*COVERED, "subject", "message-id", "content-type", "content-transfer-encoding")
# may be left unsigned, and how a body is to be read hangs on some of them
FORM = ("content-type", "content-transfer-encoding", "mime-version", "subject")
# rsa-sha1 proves nothing (RFC 8301, 3.1); who signs with ed25519 signs with RSA as well
ALGORITHMS = (b"rsa-sha256",)
_BLANKS = re.compile(rb"\s{64}")
_DOMAIN = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,200}[A-Za-z0-9_])?")
# the plainest ways to write an address: what several readers cannot read differently
_FROM = re.compile(
    r"\s*(?:(?:\"(?:[^\"\\<>]|\\.)*\"|[^\"<>@,:;\\]*)\s*<)?"
    r"([A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253})>?\s*"
)


@dataclass(frozen=True)
class Signed:
    """A mail that its sender's domain vouches for."""

    address: str  # in From, lower case
    domain: str  # that signed
    fingerprint: str  # of what decides and of the body: equal for every copy of one mail
    form: str  # of further headers, which signers leave out
    subject: bool  # whether the Subject is signed as well


@dataclass(frozen=True)
class Unsigned:
    """A mail that nobody vouches for; ``reason`` is half a sentence for the operator."""

    reason: str
    temporary: bool = False  # it could not be told; the same mail may be judged again later


@dataclass(frozen=True)
class Seen:
    """A mail that was verified before."""

    message_id: str
    form: str


class _NoProofError(ValueError):
    """A signature, or a mail, does not count; its text is the reason."""

    temporary = False


class _NotYetError(_NoProofError):
    """It may count later: this machine's clock may be behind."""

    temporary = True


def check(
    raw: bytes, resolve: Resolve, now: datetime | None = None, max_age: timedelta = MAX_AGE
) -> Signed | Unsigned:
    """Say whether the domain in From signed a raw mail; never fails.

    ``now`` is when the mail is judged (timezone-aware; default: the clock). Takes at most
    TRIED lookups.
    """
    moment = now or datetime.now(UTC)
    try:
        mail = _Mail(raw)
        mail.check_date(moment, max_age)
    except _NoProofError as no:
        return Unsigned(str(no), no.temporary)
    except (dkim.DKIMException, IndexError, ValueError):
        return Unsigned("its headers cannot be read")
    wrong: list[Unsigned] = []
    for place in mail.candidates()[:TRIED]:
        try:
            return mail.verified(place, resolve, moment, max_age)
        except _NoProofError as no:
            wrong.append(Unsigned(str(no), no.temporary))
        except OursError as error:
            wrong.append(Unsigned(str(error), temporary=True))
    wrong.append(Unsigned(f"there is no DKIM signature of {mail.domain}"))
    return next((one for one in wrong if one.temporary), wrong[0])


def replayed(signed: Signed, message_id: str, seen: Mapping[str, Seen]) -> str | None:
    """Return as half a sentence why a verified mail is an old one sent again, None if it is not.

    ``seen`` has what was verified before, by fingerprint. A list's copy of a mail is the same
    mail: it has the same Message-ID, and a body to be read in the same way.
    """
    before = seen.get(signed.fingerprint)
    if before is None:
        return None
    if before.message_id != message_id:
        return f"it is <{before.message_id}> sent again under another Message-ID"
    if before.form != signed.form:
        return f"it is <{before.message_id}> sent again with other MIME headers"
    return None


class _Mail:
    """A mail as dkimpy reads it, once it is known that the rest of stackhog reads it alike."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) > SIZE:
            raise _NoProofError(f"it is larger than {SIZE >> 20} MiB")
        self._raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        head = self._raw.partition(b"\r\n\r\n")[0]
        if len(head) > headers.LIST_LIMIT:
            raise _NoProofError("its headers are too long")
        if b" " * RUN in self._raw.replace(b"\t", b" "):
            raise _NoProofError(f"it has more than {RUN} blanks in a row")
        if b"\0" in head or b"\r" in head.replace(b"\r\n", b""):
            raise _NoProofError("there are control characters in its headers")
        self._dkim = dkim.DKIM(self._raw, minkey=MIN_BITS)
        self._fields = [(name.decode().lower(), value) for name, value in self._dkim.headers]
        self._check_readers(head)
        self._check_counts()
        self.address = self._sender()
        self.domain = self.address.rpartition("@")[2]

    def _check_readers(self, head: bytes) -> None:
        """Refuse what the standard library, which the rest of stackhog uses, reads differently."""
        ours = BytesHeaderParser(policy=compat32).parsebytes(head + b"\r\n\r\n")
        names = [name.lower() for name, _ in ours.raw_items()]
        if names != [name for name, _ in self._fields]:
            raise _NoProofError("its headers can be read in two ways")

    def _check_counts(self) -> None:
        counts = Counter(name for name, _ in self._fields)
        twice = [name for name in ONCE if counts[name] > 1]
        if twice:
            raise _NoProofError(f"there are {counts[twice[0]]} headers {twice[0].title()}")
        if not counts["from"] or not counts["date"]:
            raise _NoProofError("there is no From, or no Date")

    def _value(self, name: str) -> bytes:
        return next((value for key, value in self._fields if key == name), b"")

    def _sender(self) -> str:
        value = headers.as_text(self._value("from")).replace("\r\n", "")
        found = _FROM.fullmatch(value) if len(value) <= headers.LINE_LIMIT else None
        whole = ("<" in value) == value.rstrip().endswith(">")
        others = [one.email for one in headers.parse_addresses(value)]
        if found is None or not whole or others != [found[1]]:
            raise _NoProofError("From does not hold one plain address")
        return found[1].lower()

    def check_date(self, now: datetime, max_age: timedelta) -> None:
        """Refuse a mail that is too old, or from the future."""
        when = headers.parse_date(headers.as_text(self._value("date")).strip())
        if when is None:
            raise _NoProofError("its Date cannot be read")
        _check_time(when, now, max_age)

    def candidates(self) -> list[int]:
        """Return the places of the signatures whose domain may speak for From."""
        found = [value for name, value in self._fields if name == "dkim-signature"]
        tags = [_tags(value) for value in found]
        return [n for n, one in enumerate(tags) if self._speaks(_text(one.get(b"d", b"")))]

    def _speaks(self, domain: str) -> bool:
        owner = domain == self.domain or self.domain.endswith("." + domain)
        return owner and _DOMAIN.fullmatch(domain) is not None

    def verified(self, place: int, resolve: Resolve, now: datetime, max_age: timedelta) -> Signed:
        """Return the proof that one signature gives.

        Raises _NoProofError when it gives none, OursError when that cannot be told now.
        """
        field = [value for name, value in self._fields if name == "dkim-signature"][place]
        tags = _tags(field)
        domain, covered = _text(tags[b"d"]), self._covered(tags)
        _check_times(tags, now, max_age)
        selector = tags.get(b"s", b"").decode("ascii", "replace")
        if not _SELECTOR.fullmatch(selector):
            raise _NoProofError(f"the signature of {domain} names no key")
        record = resolve(f"{selector}._domainkey.{domain}")
        _check_key(record, f"{selector}._domainkey.{domain}", tags)
        self._verify(place, record or b"", tags, domain)
        return Signed(
            address=self.address, domain=domain, fingerprint=self._digest(COVERED, body=True),
            form=self._digest(FORM, body=False), subject="subject" in covered,
        )  # fmt: skip

    def _covered(self, tags: Mapping[bytes, bytes]) -> frozenset[str]:
        """Return the headers that a signature covers.

        Raises _NoProofError when it leaves out one that decides, or a part of the body.
        """
        algorithm = tags.get(b"a", b"").lower()
        if algorithm not in ALGORITHMS:
            used = headers.printable(_text(algorithm))[:40]
            raise _NoProofError(f"it is signed with {used}, not with rsa-sha256")
        if b"l" in tags:
            raise _NoProofError("only a part of its body is signed (l=)")
        named = _text(tags.get(b"h", b"")).split(":")
        if len(named) > NAMES:
            raise _NoProofError("its signature names too many headers")
        covered = frozenset(name.strip() for name in named)
        there = {name for name, _ in self._fields}
        for name in COVERED:
            if name in there and name not in covered:
                raise _NoProofError(f"its signature leaves out {name.title()}")
        return covered

    def _verify(self, place: int, record: bytes, tags: Mapping[bytes, bytes], domain: str) -> None:
        try:
            valid = self._dkim.verify(idx=place, dnsfunc=lambda _name, **_: record)
            valid = valid and _canonical(tags, self._dkim.pk)
        except Exception as error:  # dkimpy and its reader of ASN.1 raise whatever happens there
            said = headers.printable(str(error))[:100] or type(error).__name__
            raise _NoProofError(f"the signature of {domain} is not valid ({said})") from error
        if not valid:
            raise _NoProofError(f"the signature of {domain} is not valid")

    def _digest(self, names: tuple[str, ...], *, body: bool) -> str:
        """Return the hash of some headers, and of the body, spelt in the one relaxed way.

        It is taken over what is signed, not over the signature: one mail may have several, and
        the same mail is the same whichever of them a replay leaves in.
        """
        found = hashlib.sha256()
        plain = Relaxed.canonicalize_headers([(name.encode(), self._value(name)) for name in names])
        found.update(b"".join(name + b":" + value for name, value in plain))
        if body:
            found.update(b"\r\n" + Relaxed.canonicalize_body(self._dkim.body))
        return found.hexdigest()


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip().lower()


def _tags(field: bytes) -> dict[bytes, bytes]:
    if len(field) > FIELD or _BLANKS.search(field):
        return {}
    try:
        found: dict[bytes, bytes] = parse_tag_value(field)
    except InvalidTagValueList:
        return {}
    return found


def _check_times(tags: Mapping[bytes, bytes], now: datetime, max_age: timedelta) -> None:
    for tag in (b"t", b"x"):
        if tag in tags and not re.fullmatch(rb"\d{1,12}", tags[tag]):
            raise _NoProofError(f"{tag.decode()}= of its signature is no time")
    if b"t" in tags:
        _check_time(_moment(tags[b"t"]), now, max_age)
    if b"x" in tags and _moment(tags[b"x"]) < now:
        raise _NoProofError("its signature has expired (x=)")


def _moment(seconds: bytes) -> datetime:
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _NoProofError("its signature has an impossible time") from error


def _check_time(when: datetime, now: datetime, max_age: timedelta) -> None:
    if when > now + CLOCKS:
        kind = _NotYetError if when <= now + max_age else _NoProofError
        raise kind("it is from the future")
    if when < now - max_age:
        raise _NoProofError(f"it is older than {max_age.days} days")


def _check_key(record: bytes | None, name: str, signature: Mapping[bytes, bytes]) -> None:
    """Refuse a record that dkimpy would take, and should not (RFC 6376, 3.6.1)."""
    if record is None:
        raise _NoProofError(f"there is no key {name}")
    tags = _tags(record) if len(record) <= KEY else {}
    if not tags.get(b"p"):
        raise _NoProofError(
            f"the key {name} cannot be read" if record.strip() else f"there is no key {name}"
        )
    flags = [flag.strip() for flag in tags.get(b"t", b"").lower().split(b":")]
    if b"y" in flags:
        raise _NoProofError(f"the key {name} is only on trial (t=y)")
    hashes = [one.strip() for one in tags.get(b"h", b"sha256").lower().split(b":")]
    if b"sha256" not in hashes:
        raise _NoProofError(f"the key {name} is not for sha256 (h=)")
    user = _text(signature.get(b"i", b"@" + signature[b"d"])).rpartition("@")[2]
    if b"s" in flags and user != _text(signature[b"d"]):
        raise _NoProofError(f"the key {name} is not for {headers.printable(user)[:100]} (t=s)")


def _canonical(tags: Mapping[bytes, bytes], key: object) -> bool:
    """Tell whether b= is the one way to write the signature (RFC 8017, 8.2.2, step 1).

    dkimpy takes s + n for s as well, and any number of zeros before it.
    """
    if not isinstance(key, dict):
        return False
    try:
        signature = base64.b64decode(re.sub(rb"\s+", b"", tags[b"b"]), validate=True)
    except binascii.Error:
        return False
    modulus = int(key["modulus"])
    length = (modulus.bit_length() + 7) // 8
    return len(signature) == length and int.from_bytes(signature, "big") < modulus
