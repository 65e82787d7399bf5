"""DKIM, with keys made here: what proves who sent a mail, and all that looks as if it did."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.errors import OursError
from bot.mail import signed
from bot.mail.signed import Seen, Signed, Unsigned, check, replayed

NOW = datetime.now(UTC)  # dkimpy signs by the clock
HEADERS = [b"from", b"date", b"to", b"cc", b"subject", b"in-reply-to", b"references", b"message-id"]


def pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )  # fmt: skip


def record(key: rsa.RSAPrivateKey, more: str = "") -> bytes:
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return f"v=DKIM1; k=rsa; {more}p={base64.b64encode(public).decode()}".encode()


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS = {
    "key._domainkey.example.org": record(KEY), "key._domainkey.evil.org": record(OTHER),
    "trial._domainkey.example.org": record(KEY, "t=y; "), "key._domainkey.org": record(KEY),
    "gone._domainkey.example.org": b"v=DKIM1; p=",
}  # fmt: skip


def resolve(name: str) -> bytes | None:
    return KEYS.get(name.rstrip("."))


def mail(sender: str = "Jane <jane@example.org>", date: datetime = NOW, more: str = "") -> bytes:
    lines = (
        f"From: {sender}\nTo: bot@x.org\nCc: list@x.org\nDate: {format_datetime(date)}\n"
        f"Subject: Re: x\nMessage-ID: <m@x>\nIn-Reply-To: <p@x>\nReferences: <p@x>\n{more}\n"
        "/test\n"
    )
    return lines.replace("\n", "\r\n").encode()


def sign(
    raw: bytes, domain: bytes = b"example.org", selector: bytes = b"key",
    headers: list[bytes] = HEADERS, key: rsa.RSAPrivateKey = KEY, *, length: bool = False,
) -> bytes:  # fmt: skip
    made = dkim.sign(raw, selector, domain, pem(key), include_headers=headers, length=length)
    return bytes(made) + raw


def judged(raw: bytes, find: Callable[[str], bytes | None] = resolve) -> Signed | Unsigned:
    return check(raw, find, NOW)


def why(raw: bytes) -> str:
    found = judged(raw)
    assert isinstance(found, Unsigned)
    assert not found.temporary
    return found.reason


def test_the_sender_s_own_domain_vouches() -> None:
    found = judged(sign(mail()))
    assert isinstance(found, Signed)
    assert (found.address, found.domain, found.subject) == ("jane@example.org", "example.org", True)


def test_line_ends_are_those_of_an_archive() -> None:
    assert isinstance(judged(sign(mail()).replace(b"\r\n", b"\n")), Signed)


def test_a_domain_above_may_vouch_and_one_below_or_beside_may_not() -> None:
    assert isinstance(judged(sign(mail("J <j@mail.example.org>"))), Signed)
    for sender in ("J <j@org>", "J <j@badexample.org>", "J <j@example.com>"):
        assert isinstance(judged(sign(mail(sender))), Unsigned)
    assert isinstance(judged(sign(mail(), domain=b"org")), Unsigned)


def test_a_list_that_signs_for_itself_says_nothing_of_the_person() -> None:
    raw = sign(mail(), domain=b"evil.org", key=OTHER)
    assert "no signature" in why(raw) or "signature" in why(raw)
    rewritten = mail("Jane via list <list@evil.org>", more="X-Original-From: Jane <jane@example.org>\n")  # noqa: E501 # fmt: skip
    found = judged(sign(rewritten, domain=b"evil.org", key=OTHER))
    assert isinstance(found, Signed)
    assert found.address == "list@evil.org"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"/test", b"/test stack"), (b"Cc: list@x.org", b"Cc: bot@x.org"),
        (b"In-Reply-To: <p@x>", b"In-Reply-To: <q@x>"), (b"jane@", b"mary@"),
        (b"Subject: Re: x", b"Subject: Re: y"),
    ],
)  # fmt: skip
def test_what_was_changed_is_not_valid(old: bytes, new: bytes) -> None:
    raw = sign(mail())
    head, _, rest = raw.partition(b"\r\nFrom: ")
    changed = head + b"\r\nFrom: " + rest.replace(old, new)
    assert changed != raw
    assert "is not valid" in why(changed)


@pytest.mark.parametrize("name", ["from", "date", "to", "cc", "in-reply-to", "references"])
def test_what_decides_must_be_signed(name: str) -> None:
    left = [one for one in HEADERS if one != name.encode()]
    if name == "from":
        with pytest.raises(dkim.ParameterError):
            sign(mail(), headers=left)
        return
    assert why(sign(mail(), headers=left)) == f"its signature leaves out {name.title()}"


@pytest.mark.parametrize("name", ["From", "To", "Cc", "Date", "Subject", "In-Reply-To"])
def test_a_header_that_was_put_on_top_is_seen(name: str) -> None:
    raw = f"{name}: evil@x.org\r\n".encode() + sign(mail())
    assert why(raw) == f"there are 2 headers {name}"


def test_a_part_of_the_body_is_not_enough() -> None:
    assert why(sign(mail(), length=True)) == "only a part of its body is signed (l=)"


@pytest.mark.parametrize(
    ("sender", "reason"),
    [
        ("Jane <jane@example.org>, Eve <eve@evil.org>", "From does not hold one plain address"),
        ('"jane@example.org" <eve@evil.org', "From does not hold one plain address"),
        ("undisclosed", "From does not hold one plain address"),
    ],
)
def test_from_holds_one_address(sender: str, reason: str) -> None:
    assert why(sign(mail(sender))) == reason


def test_times_are_looked_at() -> None:
    assert why(sign(mail(date=NOW - timedelta(days=9)))) == "it is older than 7 days"
    assert why(sign(mail(date=NOW + timedelta(days=9)))) == "it is from the future"
    soon = judged(sign(mail(date=NOW + timedelta(days=2))))
    assert soon == Unsigned("it is from the future", temporary=True)  # our clock may be behind
    late = check(sign(mail()), resolve, NOW + timedelta(days=8))
    assert isinstance(late, Unsigned)
    assert late.reason == "it is older than 7 days"


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        (b"trial", "the key trial._domainkey.example.org is only on trial (t=y)"),
        (b"gone", "the key gone._domainkey.example.org cannot be read"),
        (b"none", "there is no key none._domainkey.example.org"),
    ],
)
def test_a_key_must_be_there_and_in_use(selector: bytes, reason: str) -> None:
    assert why(sign(mail(), selector=selector)) == reason


def test_another_key_does_not_fit() -> None:
    assert "is not valid" in why(sign(mail(), key=OTHER))


def test_without_a_signature_nothing_is_proven() -> None:
    assert "signature" in why(mail())


def test_dns_that_does_not_answer_is_no_refusal_for_ever() -> None:
    def down(name: str) -> bytes | None:
        raise OursError(f"no answer for {name}")

    found = judged(sign(mail()), down)
    assert isinstance(found, Unsigned)
    assert found.temporary


def test_a_mail_sent_again_under_another_id_is_a_replay() -> None:
    unnamed = [one for one in HEADERS if one != b"message-id"]
    first = judged(sign(mail(), headers=unnamed))
    again = judged(sign(mail(), headers=unnamed).replace(b"<m@x>", b"<other@x>"))
    assert isinstance(first, Signed)
    assert isinstance(again, Signed)
    assert first.fingerprint == again.fingerprint
    seen = {first.fingerprint: Seen("m@x", first.form)}
    assert replayed(first, "m@x", seen) is None
    assert replayed(again, "other@x", seen) == "it is <m@x> sent again under another Message-ID"
    assert replayed(again, "other@x", {}) is None


def test_many_signatures_are_not_all_tried() -> None:
    asked: list[str] = []

    def counting(name: str) -> bytes | None:
        asked.append(name)
        return KEYS["key._domainkey.evil.org"]

    raw = mail()
    heads = b"".join(sign(raw)[: -len(raw)] for _ in range(20))
    assert isinstance(judged(heads + raw, counting), Unsigned)
    assert 0 < len(asked) <= 3


def respelt(raw: bytes, change: Callable[[int, int], int], zeros: int = 0) -> bytes:
    """Return a mail whose signature is another number, with zeros before it."""
    before, _, rest = raw.partition(b" b=")
    field, end, after = rest.partition(b"\r\nFrom:")
    value = int.from_bytes(base64.b64decode(b"".join(field.split())), "big")
    numbers = KEY.public_key().public_numbers()
    other = change(value, numbers.n)
    size = max(256, (other.bit_length() + 7) // 8) + zeros
    return before + b" b=" + base64.b64encode(other.to_bytes(size, "big")) + end + after


def test_a_signature_has_one_spelling() -> None:
    raw = sign(mail())
    assert isinstance(judged(respelt(raw, lambda value, _: value)), Signed)
    assert "is not valid" in why(respelt(raw, lambda value, n: value + n))
    assert "is not valid" in why(respelt(raw, lambda value, _: value, zeros=3))


def test_a_mail_is_the_same_whichever_of_its_signatures_is_left() -> None:
    raw = mail()
    first, second = sign(raw)[: -len(raw)], sign(raw, headers=[*HEADERS, b"from"])[: -len(raw)]
    found = [judged(heads + raw) for heads in (first + second, first, second)]
    assert all(isinstance(one, Signed) for one in found)
    assert found[0] == found[1] == found[2]


def test_a_mail_sent_again_to_be_read_in_another_way_is_a_replay() -> None:
    raw = sign(mail(), headers=HEADERS)
    first, again = judged(raw), judged(b"Content-Type: text/html\r\n" + raw)
    assert isinstance(first, Signed)
    assert isinstance(again, Signed)
    seen = {first.fingerprint: Seen("m@x", first.form)}
    assert replayed(again, "m@x", seen) == "it is <m@x> sent again with other MIME headers"


def test_a_copy_of_a_list_is_no_replay() -> None:
    raw = sign(mail())
    copy = judged(b"List-Id: <linux-mm.kvack.org>\r\nPrecedence: bulk\r\n" + raw)
    assert isinstance(copy, Signed)
    assert replayed(copy, "m@x", {copy.fingerprint: Seen("m@x", copy.form)}) is None
    assert copy == judged(raw)


def test_a_signer_may_leave_out_the_subject() -> None:
    found = judged(sign(mail(), headers=[one for one in HEADERS if one != b"subject"]))
    assert isinstance(found, Signed)
    assert not found.subject


@pytest.mark.parametrize(
    "head",
    [
        b"X-Junk: a\rFrom: Eve <eve@evil.org>\r\n",  # the standard library sees two headers
        b"X-Junk: a\r\rFrom: Eve <eve@evil.org>\r\n",  # and here the end of the headers
        b"X-Junk: a\0b\r\n",
        b"X Junk: a\r\n",
        b" From: Eve <eve@evil.org>\r\n",
        b":From: Eve <eve@evil.org>\r\n",
    ],
)
def test_headers_that_two_readers_read_differently_prove_nothing(head: bytes) -> None:
    assert "headers" in why(head + sign(mail()))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("t=s; ", None),
        ("h=sha1; ", "the key k._domainkey.example.org is not for sha256 (h=)"),
        ("n=" + "x" * 2048 + "; ", "the key k._domainkey.example.org cannot be read"),
        ("s=other; ", "is not valid"),
    ],
)
def test_what_a_key_is_for(more: str, reason: str | None) -> None:
    found = judged(sign(mail(), selector=b"k"), lambda _: record(KEY, more))
    if reason is None:
        assert isinstance(found, Signed)
    else:
        assert isinstance(found, Unsigned)
        assert reason in found.reason


def test_a_key_may_be_for_its_own_domain_alone() -> None:
    raw = mail("J <j@mail.example.org>")
    made = dkim.sign(
        raw, b"k", b"example.org", pem(KEY), identity=b"@mail.example.org", include_headers=HEADERS
    )
    found = judged(bytes(made) + raw, lambda _: record(KEY, "t=s; "))
    assert found == Unsigned("the key k._domainkey.example.org is not for mail.example.org (t=s)")


def test_a_short_key_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert signed.MIN_BITS == 1024
    monkeypatch.setattr(signed, "MIN_BITS", 2049)
    assert why(sign(mail())) == "the signature of example.org is not valid (public key too small: 2048)"  # noqa: E501 # fmt: skip


def test_sha1_proves_nothing() -> None:
    made = dkim.sign(
        mail(), b"key", b"example.org", pem(KEY), include_headers=HEADERS,
        signature_algorithm=b"rsa-sha1",
    )  # fmt: skip
    assert why(bytes(made) + mail()) == "it is signed with rsa-sha1, not with rsa-sha256"


def test_a_signature_may_expire_and_its_time_be_wrong() -> None:
    for tag, reason in {
        b"x=1000000000": "its signature has expired (x=)",
        b"x=soon": "x= of its signature is no time",
        b"x=999999999999": "its signature has an impossible time",
    }.items():
        assert why(sign(mail()).replace(b"d=example.org;", b"d=example.org; " + tag + b";", 1)) == reason  # noqa: E501 # fmt: skip


def test_a_body_that_costs_too_much_is_not_looked_at() -> None:
    assert why(mail() + b" " * 300) == "it has more than 256 blanks in a row"
    assert why(mail() + b"x\r\n" * (1 << 20)) == "it is larger than 2 MiB"
    assert why(b"X: " + b"x" * (1 << 18) + b"\r\n" + mail()) == "its headers are too long"


def test_it_is_told_later_while_one_of_several_keys_is_out_of_reach() -> None:
    def half(name: str) -> bytes | None:
        if name.startswith("none"):
            return None
        raise OursError("no answer")

    raw = mail()
    found = judged(sign(raw, selector=b"none")[: -len(raw)] + sign(raw), half)
    assert found == Unsigned("no answer", temporary=True)


def test_a_second_signature_may_prove_what_the_first_does_not() -> None:
    raw = mail()
    broken = sign(raw, key=OTHER)[: -len(raw)]
    assert isinstance(judged(broken + sign(raw)), Signed)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 100,
        b"From: a@b.c\n\n",
        b"DKIM-Signature: " + b" " * 100000 + b"\nFrom: a@b.c\n\n",
    ],
)
def test_no_mail_is_too_odd(raw: bytes) -> None:
    assert isinstance(judged(raw), Unsigned)
