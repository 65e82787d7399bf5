"""Whole replies: what went in is in NAME.json, the mail that must come out in NAME.eml.

STACKHOG_REWRITE_GOLDEN=1 writes the mails anew; read the difference like code.
"""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.contract import BuildResult, Finding, KernelConfig, StackResult, StressResult
from bot.mail.headers import Address
from bot.mail.message import parse
from bot.mail.patchtext import patch_texts
from bot.mail.reply import Asker, Run, Sender, compose
from bot.mail.series import Series, assemble
from bot.review import fates, findings, fingerprint, stress_words, touched, verdict
from policies.schema import load_gates
from policies.stress import load as load_profile

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.json"))
DATE = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)
CONFIG = KernelConfig(
    name="default", arch="x86_64", target="bzImage", compiler="gcc", base="tinyconfig",
    options=("CONFIG_BUG=y", "CONFIG_SLUB=y", "# CONFIG_SLOB is not set", "CONFIG_HZ=250"),
)  # fmt: skip


def given(name: str) -> tuple[Series, dict[str, Any]]:
    data = json.loads((HERE / f"{name}.json").read_text())
    mails = ["\n".join(lines).encode() + b"\n" for lines in data["mails"]]
    (series,) = assemble(parse(mail) for mail in mails)
    return series, data


SOURCE = "debian:linux-source-6.1 6.1.192-2"


def stress_of(data: dict[str, Any]) -> StressResult | None:
    """Return the stress result of a case; its runs name their profile."""
    if "stress" not in data:
        return None
    runs = [
        {**run, "profile": load_profile(run["profile"]).model_dump()}
        for run in data["stress"]["runs"]
    ]
    return StressResult.model_validate(data["stress"] | {"runs": runs})


def told_before(
    data: dict[str, Any], now: Sequence[Finding], tested: fates.Covered
) -> tuple[str, ...]:
    """Return what the reply says of the findings of version 1, if there were some."""
    if "before" not in data:
        return ()
    build = BuildResult.model_validate_json(json.dumps(data["before"]["build"]))
    stack = StackResult.model_validate(data["before"]["stack"])
    found = findings.find(load_gates(), CONFIG, build, stack)
    return fates.sentences(fates.compare(found, now, tested), 1, verdict.brief)


def asked_by(data: dict[str, Any]) -> dict[str, Any]:
    """Return whom the reply goes to when somebody asked for it by mail."""
    if "asker" not in data:
        return {}
    one = dict(data["asker"])
    address = Address(one.pop("name"), one.pop("email"))
    asker = Asker(address, one["message_id"], tuple(one["references"]), one["subject"])
    return {"asker": asker, "to": (address,), "cc": (Address("A. Author", "author@example.org"),)}


def reply(name: str, key: str = "run", source: str = SOURCE) -> bytes:
    series, data = given(name)
    gates = load_gates()
    build = BuildResult.model_validate_json(json.dumps(data["build"]))
    stack = StackResult.model_validate(data["stack"]) if data["stack"] else None
    boots = stress_of(data)
    among = touched.touched(patch_texts(series))
    found = findings.find(gates, CONFIG, build, stack, boots, among)
    words = stress_words.Words(boots, (), build)
    mutes = {fingerprint.find(one["name"], found): one for one in data.get("muted", [])}
    decided = verdict.decide(found, len(series.patches), [one for one in mutes if one])
    run = Run(
        tree="debian-6.1", source=source, config=CONFIG, build=build, stack=stack, key=key,
        base_reason="head of the tree; the series names no base-commit",
        headline=decided.headline, findings=decided.findings, booted=words.sentences(),
        boot_lines=words.commands(), names=fingerprint.names(decided.findings),
        before=told_before(data, found, fates.Covered(build, stack, boots)),
        muted=tuple(
            verdict.muted(one, mutes[fingerprint.fingerprint(one)]["by"],
                          mutes[fingerprint.fingerprint(one)]["reason"])
            for one in decided.muted
        ),
    )  # fmt: skip
    sender = Sender("stackhog <bot@stackhog.example.org>", gates.reply, **asked_by(data))
    return compose(series, run, sender, DATE).as_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_reply_is_the_golden_one(name: str) -> None:
    path = HERE / f"{name}.eml"
    mail = reply(name)
    if os.environ.get("STACKHOG_REWRITE_GOLDEN"):
        path.write_bytes(mail)
    assert mail.decode() == path.read_bytes().decode()


def test_there_are_golden_replies() -> None:
    assert len(NAMES) >= 24


@pytest.mark.parametrize("name", NAMES)
def test_our_own_lines_have_72_columns_and_no_review_tags(name: str) -> None:
    text = reply(name).decode().partition("\n\n")[2]
    for line in text.splitlines():
        if not line.startswith(("> ", "  ")):
            assert len(line) <= 72, line
    assert not re.search(r"(?m)^(Reviewed|Acked|Covered|Signed-off)-by:", text)


@pytest.mark.parametrize("name", NAMES)
def test_the_headers_put_it_into_the_thread(name: str) -> None:
    series, data = given(name)
    mail = email.message_from_bytes(reply(name), policy=email.policy.default)
    parent = data["asker"]["message_id"] if "asker" in data else series.lead.message_id
    assert not mail.defects
    assert mail["In-Reply-To"] == f"<{parent}>"
    assert mail["References"].split()[-1] == mail["In-Reply-To"]
    assert mail["Auto-Submitted"] == "auto-replied"
    assert "author@example.org" in f"{mail['To']} {mail['Cc']}"
    if "asker" not in data:
        assert mail["Cc"] == "linux-mm@lists.example.org, linux-fsdevel@vger.kernel.org"
    assert mail["Bcc"] is None
    assert re.match(r"Re: \[(RFC )?PATCH", mail["Subject"])
    assert len(mail.keys()) == len(set(mail.keys()))


@pytest.mark.parametrize("name", NAMES)
def test_a_retry_is_the_same_mail_and_another_run_another(name: str) -> None:
    assert reply(name) == reply(name)
    ids = {email.message_from_bytes(reply(name, key))["Message-ID"] for key in ("a", "b", "c")}
    assert len(ids) == 3


def test_every_command_can_be_pasted() -> None:
    text = reply("one-frame").decode()
    assert "  make ARCH=x86_64 \\\n    'KCFLAGS=-g1 -fstack-usage -fcallgraph-info=su,da' mm/vmscan.o\n" in text  # noqa: E501 # fmt: skip
    assert "  grep -w pageout mm/vmscan.su\n" in text


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("debian:linux-source-6.1 6.1.192-2", "in Debian's linux-source-6.1 6.1.192-2:"),
        ("https://git.example.org/linux", "https://git.example.org/linux at commit\n3f92005e264f:"),
        ("/home/me/linux", "in a tree of debian-6.1 at commit\n3f92005e264f:"),
    ],
)
def test_the_tree_is_named_so_that_others_find_it(source: str, told: str) -> None:
    text = reply("one-frame", source=source).decode()
    assert told in text
    assert "/home/me" not in text
