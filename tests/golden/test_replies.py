"""Whole replies: what went in is in NAME.json, the mail that must come out in NAME.eml.

STACKHOG_REWRITE_GOLDEN=1 writes the mails anew; read the difference like code.
"""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.contract import BuildResult, KernelConfig, StackResult, StressResult
from bot.mail.headers import Address
from bot.mail.message import parse
from bot.mail.patchtext import patch_texts
from bot.mail.reply import Asker, Sender, compose
from bot.mail.series import Series, assemble
from bot.review import fingerprint, jobs, plan
from bot.review.base import Attempt, Base
from bot.review.hints import How
from bot.review.speak import Occasion, audience
from bot.review.told import Before, Folded, Planned, fold
from bot.settings import Settings
from policies.kernels import load as load_kernel
from policies.lists import Lists
from policies.lists import load as load_lists
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


OWN = "stackhog <bot@stackhog.example.org>"
SOURCE = "debian:linux-source-6.1 6.1.192-2"
HEAD = "head of the tree; the series names no base-commit"


def stress_of(data: dict[str, Any]) -> StressResult | None:
    """Return the stress result of a case; its runs name their profile."""
    if "stress" not in data:
        return None
    runs = [
        {**run, "profile": load_profile(run["profile"]).model_dump()}
        for run in data["stress"]["runs"]
    ]
    return StressResult.model_validate(data["stress"] | {"runs": runs})


@dataclass(frozen=True)
class Muted:
    """A finding that somebody asked not to hear of again."""

    fingerprint: str
    reason: str
    by: str


def planned(series: Series, data: dict[str, Any], source: str) -> Planned:
    """Return the plan of a case; "base" has what was found out of its base."""
    base = data.get("base", {})
    needed = [
        patch_texts(series)[0].model_copy(update={"subject": subject, "message_id": message_id})
        for subject, message_id in base.get("below", ())
    ]
    commit = data["build"]["base_commit"]
    found = Base(
        "debian-6.1", commit, base.get("reason", HEAD),
        tuple(Attempt(tree, How(how), None, why) for tree, how, why in base.get("tried", ())),
        tuple(needed),
    )  # fmt: skip
    settings = Settings()  # type: ignore[call-arg] # pydantic-settings fills the fields
    policy = load_kernel("default")
    request = plan.build(settings, found, policy, patch_texts(series))
    request = request.model_copy(update={"config": CONFIG})
    wanted = jobs.Wanted(stack=True)
    return Planned(settings, series, found, source, 1000, load_gates(), request, wanted)


def results(data: dict[str, Any]) -> jobs.Results:
    """Return what the jobs of a case answered."""
    build = BuildResult.model_validate_json(json.dumps(data["build"]))
    stack = StackResult.model_validate(data["stack"]) if data["stack"] else None
    return jobs.Results(build, stack, stress_of(data))


def folded(series: Series, data: dict[str, Any], source: str) -> Folded:
    """Return what the results of a case come to."""
    plan_of, came = planned(series, data, source), results(data)
    found = fold(plan_of, came).found
    mutes = [
        Muted(fingerprint.find(one["name"], found) or "", one["reason"], one["by"])
        for one in data.get("muted", [])
    ]
    before = data.get("before")
    earlier = fold(plan_of, results(before)).found if before else ()
    return fold(plan_of, came, mutes, Before(series.version - 1, earlier))


def sender_of(series: Series, data: dict[str, Any], tested: bool) -> Sender:  # noqa: FBT001
    """Return to whom the reply goes, as policy has it where somebody asked for it by mail."""
    gate = load_gates().reply
    if "asker" not in data and "lists" not in data:
        return Sender(OWN, gate)
    asker = None
    if "asker" in data:
        one = data["asker"]
        address = Address(one["name"], one["email"])
        asker = Asker(address, one["message_id"], tuple(one["references"]), one["subject"])
    lists = Lists.model_validate(data["lists"]) if "lists" in data else load_lists()
    occasion = Occasion(
        found=True, asker=asker.address if asker else None, maintainers=(),
        own=("bot@stackhog.example.org",), tested=tested,
    )  # fmt: skip
    said = audience(series, occasion, lists, gate)
    assert said.speaks
    return Sender(OWN, gate, said.to, said.cc, asker)


def reply(name: str, key: str = "run", source: str = SOURCE) -> bytes:
    series, data = given(name)
    told = folded(series, data, source)
    sender = sender_of(series, data, told.tested)
    return compose(series, replace(told.run, key=key), sender, DATE).as_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_reply_is_the_golden_one(name: str) -> None:
    path = HERE / f"{name}.eml"
    mail = reply(name)
    if os.environ.get("STACKHOG_REWRITE_GOLDEN"):
        path.write_bytes(mail)
    assert mail.decode() == path.read_bytes().decode()


def test_there_are_golden_replies() -> None:
    assert len(NAMES) >= 40


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
    if "asker" not in data and "lists" not in data:
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
