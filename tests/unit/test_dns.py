"""Keys out of a file; the resolver itself is tried against a server in the integration tests."""

from __future__ import annotations

import json

import pytest

from bot.mail.dns import BadKeysError, from_text

LINES = """\
# keys of the tests
one._domainkey.example.org v=DKIM1; k=rsa; p=AAAA
two._domainkey.example.org.\tv=DKIM1; p=BBBB

three._domainkey.Example.org  IN TXT "v=DKIM1; " "p=CC" "CC"
"""
NAMES = {
    "one._domainkey.example.org": b"v=DKIM1; k=rsa; p=AAAA",
    "TWO._domainkey.example.org": b"v=DKIM1; p=BBBB",
    "three._domainkey.example.org.": b"v=DKIM1; p=CCCC",
    "four._domainkey.example.org": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_key_is_found_by_its_name(name: str) -> None:
    assert from_text(LINES)(name) == NAMES[name]


def test_keys_may_be_an_object() -> None:
    find = from_text("\ufeff " + json.dumps({"a.example.org.": "v=DKIM1; p=AAAA"}))
    assert find("A.example.org") == b"v=DKIM1; p=AAAA"
    assert find("b.example.org") is None


def test_no_keys_are_no_error() -> None:
    assert from_text("")("a.example.org") is None


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "lonely\n", "{" * 100_000])
def test_what_are_no_keys_is_refused(text: str) -> None:
    with pytest.raises(BadKeysError, match=r"keys?\b.*: (mend|give|write) "):
        from_text(text)
