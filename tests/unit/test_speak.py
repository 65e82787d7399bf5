from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from bot.mail.headers import Address
from bot.mail.message import parse
from bot.mail.outrules import Rules
from bot.mail.series import Series, assemble
from bot.review.speak import Audience, Occasion, audience
from policies.lists import ListRule, Lists, People, Speak, load
from policies.schema import PolicyError, load_gates
from tests.letters import PATCH, letter

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


def occasion(*, found: bool = True, asker: Address | None = None, tested: bool = True) -> Occasion:
    return Occasion(found, asker, (Address("R. Reviewer", "r@example.org"),), OWN, tested)


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


@pytest.mark.parametrize("speak", ["asked", "findings", "never"])
def test_an_author_who_opted_in_hears_without_the_lists(tmp_path: Path, speak: str) -> None:
    people = '[people]\nopted_in = ["jane@*"]\nreason = "long enough"\n'
    rules = policy(tmp_path, DEFAULT.format(speak, "all"), people)
    said = audience(series(MM), occasion(found=False), rules, GATE)
    assert said.speaks is (speak != "never")
    assert told(said) == ((["jane@example.org"], []) if said.speaks else ([], []))


def test_a_maintainer_who_opted_in_hears_in_private_or_with_the_others(tmp_path: Path) -> None:
    people = '[people]\nopted_in = ["r@*"]\nreason = "long enough"\n'
    quiet = policy(tmp_path, DEFAULT.format("asked", "lists"), people)
    said = audience(series(MM), occasion(), quiet, GATE)
    assert (said.reason, told(said)) == (
        "r@example.org wants to hear of each series", (["r@example.org"], []),
    )  # fmt: skip
    loud = policy(tmp_path, DEFAULT.format("findings", "lists"), people)
    said = audience(series(MM), occasion(), loud, GATE)
    assert told(said) == (["jane@example.org"], [MM, "r@example.org"])


def test_what_was_not_tested_goes_to_no_list(tmp_path: Path) -> None:
    rules = policy(tmp_path, DEFAULT.format("always", "all"), PEOPLE)
    asked = audience(series(MM), occasion(asker=ASKER, tested=False), rules, GATE)
    assert told(asked) == (["m@example.org"], ["jane@example.org"])
    refused = audience(series(MM), occasion(tested=False), rules, GATE)
    assert told(refused) == (["jane@example.org"], [])
    said = audience(series(MM), occasion(found=False, tested=False), rules, GATE)
    assert (said.speaks, said.reason) == (False, "nothing was tested")


def test_a_list_is_known_by_its_list_id_too(tmp_path: Path) -> None:
    rules = policy(
        tmp_path, DEFAULT.format("always", "lists"), RULE.format("secret@.*", "never", "none", 0),
        PEOPLE,
    )  # fmt: skip
    head = f"To: {MM}\nList-Id: Not for all <secret.lists.example.org>\n"
    (hidden,) = assemble([parse(letter("[PATCH] p", id="1", headers=head))])
    assert not audience(hidden, occasion(), rules, GATE).speaks
    (same,) = assemble([parse(letter("[PATCH] p", id="1", headers=f"To: {MM}\nList-Id: <{MM.replace('@', '.')}>\n"))])  # noqa: E501 # fmt: skip
    assert told(audience(same, occasion(), rules, GATE)) == (["jane@example.org"], [MM])


def test_a_rule_makes_an_address_a_list_wherever_it_is_kept(tmp_path: Path) -> None:
    rules = policy(
        tmp_path, DEFAULT.format("asked", "lists"),
        RULE.format("p@example.org", "findings", "lists", 0), PEOPLE,
    )  # fmt: skip
    assert told(audience(series(), occasion(), rules, GATE)) == (
        ["jane@example.org"], ["p@example.org"],
    )  # fmt: skip


def test_of_several_rules_for_a_list_each_key_is_the_strictest(tmp_path: Path) -> None:
    capped = RULE.replace("reason", "daily_cap = {}\nreason")
    rules = policy(
        tmp_path, DEFAULT.format("always", "all"),
        capped.format("linux-mm@.*", "always", "none", 5, 3),
        capped.format(".*@kvack.org", "findings", "all", 1, 9), PEOPLE,
    )  # fmt: skip
    rule = rules.rule(MM)
    assert (rule.speak, rule.cc, rule.embargo_hours, rule.daily_cap) == (Speak.FINDINGS, "none", 5, 3)  # noqa: E501 # fmt: skip
    said = audience(series(MM), occasion(), rules, GATE)
    assert (told(said), said.embargo, said.cap) == (
        (["jane@example.org"], []), timedelta(hours=5), None,
    )  # fmt: skip
    asked = audience(series(MM, FS), occasion(asker=ASKER), rules, GATE)
    assert (asked.cap, told(asked)[1]) == (None, ["jane@example.org", FS])


def test_the_cap_of_a_list_that_hears_comes_along(tmp_path: Path) -> None:
    capped = RULE.replace("reason", "daily_cap = 4\nreason").format(".*", "always", "lists", 0)
    rules = policy(tmp_path, DEFAULT.format("asked", "lists"), capped, PEOPLE)
    assert audience(series(MM), occasion(), rules, GATE).cap == 4


def test_the_smaller_of_two_caps_holds() -> None:
    rules = Rules(list_cap=20, person_cap=10, is_list=GATE.is_list, own_cap={MM: 4, FS: 30}.get)
    assert [rules.cap(one) for one in (MM, FS, ALL, "p@example.org")] == [4, 20, 20, 10]


def test_a_list_that_put_itself_into_from_is_not_the_author() -> None:
    mail = letter(
        "[PATCH] p", "From: Jane Doe <jane@example.org>\n\n" + PATCH, id="1",
        sender=f"Jane via mm <{MM}>", headers=f"To: {MM}\n",
    )  # fmt: skip
    (found,) = assemble([parse(mail)])
    said = audience(found, occasion(asker=ASKER, tested=False), load(), GATE)
    assert told(said) == (["m@example.org"], ["jane@example.org"])
    (nobody,) = assemble([parse(letter("[PATCH] p", id="1", sender=MM, headers=f"To: {MM}\n"))])
    said = audience(nobody, occasion(asker=ASKER, tested=False), load(), GATE)
    assert told(said) == (["m@example.org"], [])


def test_reply_to_is_not_followed() -> None:
    head = f"To: {MM}\nReply-To: stranger@example.com\nMail-Followup-To: {FS}\n"
    (found,) = assemble([parse(letter("[PATCH] p", id="1", headers=head))])
    said = audience(found, occasion(asker=ASKER), load(), GATE)
    assert told(said) == (["m@example.org"], ["jane@example.org", MM])


def test_an_author_who_asks_is_written_to_once() -> None:
    jane = Address("Jane", "JANE@example.org")
    said = audience(series(MM), occasion(asker=jane), load(), GATE)
    assert told(said) == (["JANE@example.org"], [MM])


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
        (DEFAULT.format("asked", "lists") + "daily_cap = 0\n" + PEOPLE, "default.daily_cap"),
        (
            DEFAULT.format("asked", "lists") + RULE.format("(", "asked", "lists", 0) + PEOPLE,
            "list.0.address",
        ),
        (DEFAULT.format("asked", "lists") + "loud = 1\n" + PEOPLE, "default.loud"),
        ("[default\n", "Expected"),
    ],
)
def test_a_bad_policy_is_refused_with_its_file(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(problem)):
        policy(tmp_path, text)
    assert Speak.NEVER < Speak.ASKED < Speak.FINDINGS < Speak.ALWAYS


KEYS = sorted((ListRule.model_fields.keys() | People.model_fields.keys()) - {"reason"})


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_in_the_maintainers_guide(key: str) -> None:
    guide = Path(__file__).parents[2] / "docs" / "maintainers.md"
    assert f"| `{key}` |" in guide.read_text()
