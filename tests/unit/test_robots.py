from __future__ import annotations

import pytest

from bot.mail.robots import robot
from tests.letters import letter

ROBOTS = {
    "an automatic answer": "Auto-Submitted: auto-replied\n",
    "made by a program": "Auto-Submitted: auto-generated\n",
    "an answer while away": "X-Autoreply: yes\n",
    "bulk without a list": "Precedence: bulk\n",
    "a bounce": "Return-Path: <>\n",
    "a report": 'Content-Type: multipart/report; report-type=delivery-status; boundary="x"\n',
}
PEOPLE = {
    "nothing special": "",
    "said to be none": "Auto-Submitted: no\n",
    "a list's copy": "Precedence: bulk\nList-Id: <linux-mm.kvack.org>\n",
    "a return path": "Return-Path: <jane@example.org>\n",
}
SENDERS = {
    "lkp@intel.com": True, "syzbot+1a@syzkaller.appspotmail.com": True,
    "MAILER-DAEMON@x.org": True, "postmaster@x.org": True, "noreply@github.com": True,
    "bot@stackhog.example.org": True, "robbot@x.org": False, "jane@example.org": False,
}  # fmt: skip


@pytest.mark.parametrize("name", ROBOTS)
def test_a_machine_is_told(name: str) -> None:
    assert robot(letter("Re: x", "/test\n", headers=ROBOTS[name])) is not None


@pytest.mark.parametrize("name", PEOPLE)
def test_a_person_is_none(name: str) -> None:
    assert robot(letter("Re: x", "/test\n", headers=PEOPLE[name])) is None


@pytest.mark.parametrize("address", SENDERS)
def test_a_machine_is_known_by_its_address(address: str) -> None:
    said = robot(letter("x", sender=f"X <{address}>"), own=["bot@stackhog.example.org"])
    assert (said is not None) is SENDERS[address]


def test_further_robots_may_be_named() -> None:
    raw = letter("x", sender="CI <ci@example.org>")
    assert robot(raw) is None
    assert robot(raw, ["ci@*"]) == "ci@example.org is a robot"
