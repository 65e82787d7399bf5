from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dkim
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.cli import cli
from tests.letters import NOON, letter, mbox, sending

BOT = "stackhog@localhost.localdomain"
HEADERS = [b"from", b"date", b"to", b"cc", b"subject", b"in-reply-to", b"references", b"message-id"]
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.NoEncryption(),
)  # fmt: skip
PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)
LATE = (datetime.now(UTC) - NOON) / timedelta(minutes=1) - 5  # dkimpy signs by the clock
MAINTAINERS = "MM\nM:\tM. Maintainer <m@example.org>\nF:\tmm/\n"


def command(body: str, sender: str, name: str, to: str = BOT) -> bytes:
    raw = letter(
        "Re: [PATCH 1/2] patch 1", body, id=name, parents=["a-0", "a-1"], sender=sender,
        minutes=LATE, headers=f"To: {to}\n",
    ).replace(b"\n", b"\r\n")  # fmt: skip
    signed = bytes(dkim.sign(raw, b"key", b"example.org", PEM, include_headers=HEADERS))
    return (signed + raw).replace(b"\r\n", b"\n")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Return the arguments that name mail, keys and MAINTAINERS."""
    text = "v=DKIM1; k=rsa; p=" + base64.b64encode(PUBLIC).decode()
    (tmp_path / "keys").write_text(f"key._domainkey.example.org {text}\n")
    (tmp_path / "MAINTAINERS").write_text(MAINTAINERS)
    mails = [
        *sending("a", 2),
        command("/test build\n", "M. Maintainer <m@example.org>", "c-1"),
        command("/test\n/mute 6f81cfe it goes\n", "B. Body <b@example.org>", "c-2"),
        command("/test\n", "M. Maintainer <m@example.org>", "c-3", to="list@x.org"),
        letter("Re: [PATCH 1/2] patch 1", "/cancel\n", id="c-4", parents=["a-1"],
               headers=f"To: {BOT}\n"),
    ]  # fmt: skip
    (tmp_path / "box").write_bytes(mbox(mails))
    names = ("box", "keys", "MAINTAINERS")
    box, keys, owners = (str(tmp_path / name) for name in names)
    return [box, "--keys", keys, "--maintainers", owners]


def test_each_command_is_judged_as_when_it_came(files: list[str]) -> None:
    done = CliRunner().invoke(cli, ["commands", *files, "--json"])
    assert done.exit_code == 0, done.output
    found = {(one["message_id"], one["line"]): one for one in json.loads(done.output)}
    assert sorted(found) == [("c-1", 1), ("c-2", 1), ("c-2", 2), ("c-3", 1), ("c-4", 1)]
    assert found["c-1", 1] == {
        "message_id": "c-1", "from": "M. Maintainer <m@example.org>", "verb": "test",
        "args": {"jobs": ["build"]}, "line": 1, "allowed": True,
        "reason": "m@example.org is maintainer of MM",
    }  # fmt: skip
    assert found["c-2", 2]["args"] == {"finding": "6f81cfe", "reason": "it goes"}
    assert found["c-2", 1]["reason"].startswith("b@example.org is no author of the series")
    assert found["c-3", 1]["reason"] == "the bot is neither in To nor in Cc"
    assert found["c-4", 1]["reason"].startswith("who sent the mail is not proven: ")
    assert [one["allowed"] for one in found.values()].count(True) == 1


def test_an_old_mail_is_judged_by_its_own_time(files: list[str]) -> None:
    done = CliRunner().invoke(cli, ["commands", *files, "--json"])
    (cancel,) = [one for one in json.loads(done.output) if one["verb"] == "cancel"]
    assert "older" not in cancel["reason"]


def test_people_read_lines(files: list[str]) -> None:
    done = CliRunner().invoke(cli, ["commands", *files])
    assert "/test jobs=build  (M. Maintainer)" in done.output
    assert "    allowed: m@example.org is maintainer of MM" in done.output
    assert "    not allowed: the bot is neither in To nor in Cc" in done.output


def test_no_command_is_an_empty_array(tmp_path: Path) -> None:
    (tmp_path / "box").write_bytes(mbox(sending("a", 2)))
    done = CliRunner().invoke(cli, ["commands", str(tmp_path / "box"), "--json"])
    assert (done.exit_code, done.output) == (0, "[]\n")
