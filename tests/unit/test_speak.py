from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from bot.mail.headers import Address
from bot.mail.message import parse
from bot.mail.series import Series, assemble
from bot.review.speak import Audience, Occasion, audience
from policies.lists import Lists, Speak, load
from policies.schema import PolicyError, load_gates
from tests.letters import letter

GATE = load_gates().reply
MM, FS, ALL = "linux-mm@kvack.org", "linux-fsdevel@vger.kernel.org", "linux-kernel@vger.kernel.org"
ASKER = Address("M. Maintainer", "m@example.org")
OWN = ("bot@stackhog.example.org",)
DEFAULT = '[default]\nspeak = "{}"\ncc = "{}"\nembargo_hours = 0\nreason = "long enough"\n'
PEOPLE = '[people]\nreason = "long enough"\n'
RULE = '[[list]]\naddress = \'{}\'\nspeak = "{}"\ncc = "{}"\nembargo_hours = {}\nreason = "long enough"\n'  # noqa: E501 # fmt: skip


def series(*lists: str, cc: str = "P. Person <p@example.org>") -> Series:
    head = f"To: {', '.join(lists)}\nCc: {cc}\n"
    (found,) = assemble([parse(letter("[PATCH] p", id="1", headers=head))])
    return found


def policy(tmp_path: Path, *tables: str) -> Lists:
    file = tmp_path / f"lists{len(list(tmp_path.iterdir()))}.toml"
    file.write_text("".join(tables))
    return load(file)


def told(found: Audience) -> tuple[list[str], list[str]]:
    return [one.email for one in found.to], [one.email for one in found.cc]


def occasion(*, found: bool = True, asker: Address | None = None) -> Occasion:
    return Occasion(found, asker, (Address("R. Reviewer", "r@example.org"),), OWN)


def test_of_its_own_accord_it_says_nothing() -> None:
    said = audience(series(MM), occasion(), load(), GATE)
    assert (said.speaks, said.reason) == (False, "nobody asked for it")


def test_whoever_asked_is_answered_in_the_thread_also_without_findings() -> None:
    said = audience(series(MM), occasion(found=False, asker=ASKER), load(), GATE)
    assert (said.speaks, said.reason) == (True, "m@example.org asked for it")
    assert told(said) == (["m@example.org"], ["jane@example.org", MM])


@pytest.mark.parametrize(
    ("speak", "found", "speaks"),
    [
        ("never", True, False), ("asked", True, False), ("findings", True, True),
        ("findings", False, False), ("always", False, True),
    ],
)  # fmt: skip
def test_a_list_says_when_it_wants_to_hear(
    tmp_path: Path, speak: str, *, found: bool, speaks: bool
) -> None:
    rules = policy(tmp_path, DEFAULT.format(speak, "lists"), PEOPLE)
    assert audience(series(MM), occasion(found=found), rules, GATE).speaks is speaks


def test_the_strictest_of_several_lists_counts(tmp_path: Path) -> None:
    rules = policy(
        tmp_path, DEFAULT.format("asked", "lists"), RULE.format("linux-mm@.*", "always", "all", 1),
        RULE.format("linux-fs.*", "findings", "lists", 5), PEOPLE,
    )  # fmt: skip
    assert audience(series(MM), occasion(found=False), rules, GATE).speaks
    assert not audience(series(MM, FS), occasion(found=False), rules, GATE).speaks
    both = audience(series(MM, FS), occasion(), rules, GATE)
    assert (both.speaks, both.embargo) == (True, timedelta(hours=5))
    assert told(both) == (["jane@example.org"], [MM, FS])
    assert not audience(series(MM, "linux-other@vger.kernel.org"), occasion(), rules, GATE).speaks


def test_a_list_that_must_never_hear_is_left_out_of_what_was_asked(tmp_path: Path) -> None:
    rules = policy(
        tmp_path, DEFAULT.format("asked", "lists"), RULE.format("linux-mm@.*", "never", "lists", 0),
        PEOPLE,
    )  # fmt: skip
    said = audience(series(MM, FS), occasion(asker=ASKER), rules, GATE)
    assert told(said) == (["m@example.org"], ["jane@example.org", FS])
    assert said.embargo == timedelta()


def test_the_list_of_everything_gets_no_copy() -> None:
    said = audience(series(MM, ALL), occasion(asker=ASKER), load(), GATE)
    assert told(said)[1] == ["jane@example.org", MM]


@pytest.mark.parametrize(
    ("cc", "copies"),
    [
        ("none", []), ("lists", [MM]), ("maintainers", ["r@example.org"]),
        ("all", [MM, "p@example.org", "r@example.org"]),
    ],
)  # fmt: skip
def test_who_gets_a_copy(tmp_path: Path, cc: str, copies: list[str]) -> None:
    rules = policy(tmp_path, DEFAULT.format("findings", cc), PEOPLE)
    said = audience(series(MM), occasion(), rules, GATE)
    assert told(said) == (["jane@example.org"], copies)


def test_robots_and_who_asked_for_silence_get_nothing(tmp_path: Path) -> None:
    people = '[people]\nopted_out = ["p@*"]\nrobots = ["*-bot@*"]\nreason = "long enough"\n'
    rules = policy(tmp_path, DEFAULT.format("findings", "all"), people)
    copied = series(MM, cc="p@example.org, kernel-bot@x.org, bot@stackhog.example.org")
    assert told(audience(copied, occasion(), rules, GATE)) == (
        ["jane@example.org"], [MM, "r@example.org"],
    )  # fmt: skip


def test_an_author_who_asked_for_silence_leaves_the_list(tmp_path: Path) -> None:
    people = '[people]\nopted_out = ["jane@*"]\nreason = "long enough"\n'
    rules = policy(tmp_path, DEFAULT.format("findings", "lists"), people)
    assert told(audience(series(MM), occasion(), rules, GATE)) == ([MM], [])
    alone = policy(tmp_path, DEFAULT.format("findings", "none"), people)
    said = audience(series(MM), occasion(), alone, GATE)
    assert (said.speaks, said.reason) == (False, "nobody is left whom it may be sent to")


def test_an_author_who_opted_in_hears_of_each_series(tmp_path: Path) -> None:
    people = '[people]\nopted_in = ["jane@example.org"]\nreason = "long enough"\n'
    rules = policy(tmp_path, DEFAULT.format("asked", "none"), people)
    said = audience(series(MM), occasion(found=False), rules, GATE)
    assert (said.speaks, told(said)) == (True, (["jane@example.org"], []))


@pytest.mark.parametrize(
    ("address", "silent"),
    [
        ("lkp@intel.com", True), ("syzbot+1a2b@syzkaller.appspotmail.com", True),
        ("patchwork-bot+x@kernel.org", True), ("abbot@example.org", False),
        ("robothesis@example.org", False), ("noreply@github.com", True),
    ],
)  # fmt: skip
def test_known_robots_and_people_who_are_none(address: str, *, silent: bool) -> None:
    assert load().people.is_silent(address) is silent


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (DEFAULT.format("sometimes", "lists") + PEOPLE, "one of never, asked, findings, always"),
        (DEFAULT.format("asked", "some") + PEOPLE, "default.cc"),
        (DEFAULT.format("asked", "lists"), "people"),
        ("[default\n", "Expected"),
    ],
)
def test_a_bad_policy_is_refused_with_its_file(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(problem)):
        policy(tmp_path, text)
    assert Speak.NEVER < Speak.ASKED < Speak.FINDINGS < Speak.ALWAYS


KEYS = ("speak", "cc", "embargo_hours", "address", "opted_in", "opted_out", "robots")


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_in_the_maintainers_guide(key: str) -> None:
    guide = Path(__file__).parents[2] / "docs" / "maintainers.md"
    assert f"| `{key}` |" in guide.read_text()
