from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.mail.message import parse
from bot.mail.series import assemble
from bot.review.scope import scope
from policies import stress
from policies.schema import PolicyError
from policies.scope import Inside, Outside, load
from policies.stress import Filesystem
from tests.letters import letter

DOCS = (Path(__file__).parents[2] / "docs" / "maintainers.md").read_text()
SECTION = DOCS.partition("\n## Scope\n")[2].partition("\n## ")[0]
INSIDE = '[[inside]]\nname = "abc"\nreason = "long enough"\n'
OUTSIDE = '[[outside]]\nname = "xyz"\nreason = "long enough"\n'


@pytest.mark.parametrize("rule", [*load().outside, *load().inside], ids=lambda rule: rule.name)
def test_every_rule_is_in_the_maintainers_guide(rule: Inside | Outside) -> None:
    row = next(line for line in SECTION.splitlines() if line.startswith(f"| {rule.name} |"))
    assert row.endswith(f"{rule.reason} |")


@pytest.mark.parametrize("key", sorted({*Inside.model_fields, *Outside.model_fields}))
def test_every_key_is_in_the_maintainers_guide(key: str) -> None:
    assert f"| `{key}` |" in SECTION


@pytest.mark.parametrize("rule", load().inside, ids=lambda rule: rule.name)
def test_the_profiles_of_a_rule_can_be_run_on_its_filesystems(rule: Inside) -> None:
    assert rule.profiles
    wanted = set(rule.filesystems or (Filesystem.EXT4,))
    for name in rule.profiles:
        assert set(stress.load(name).filesystems) & wanted, name


def test_the_rules_are_read_once() -> None:
    assert load() is load()


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (INSIDE, "inside.0", "a rule has a path"),
        (INSIDE + 'function = "x"\n', "inside.0", "a rule has a path"),
        (INSIDE + 'lists = "x"\n', "inside.0", "a rule has a path"),
        (INSIDE + 'text = "x"\ncounted = "y"\n', "inside.0", "one of text, counted and added"),
        (INSIDE + 'path = "x"\nprofiles = ["none"]\n', "inside.0.profiles", "no stress profile"),
        (INSIDE + 'path = "x"\nfilesystems = ["zfs"]\n', "inside.0.filesystems.0", "'ext4'"),
        (INSIDE + 'path = "("\n', "inside.0.path", "no regular expression"),
        (INSIDE + 'path = "x"\nwhat = "y"\n', "inside.0.what", "not permitted"),
        (INSIDE.replace("long enough", "short") + 'path = "x"\n', "inside.0.reason", "at least 10"),
        ((INSIDE + 'path = "x"\n') * 2, "", "two rules have the name abc"),
        (OUTSIDE + INSIDE + 'path = "x"\n', "outside.0", "has tags, lists or paths"),
        ("inside = []\n", "inside", "at least 1"),
        ("[[inside]\n", "", "Expected"),
    ],
)
def test_a_bad_policy_is_refused_with_file_and_key(
    tmp_path: Path, text: str, key: str, problem: str
) -> None:
    file = tmp_path / "scope.toml"
    file.write_text(text if "outside" in text else "outside = []\n" + text)
    with pytest.raises(PolicyError, match=re.escape(problem)) as raised:
        load(file)
    assert raised.value.key == key
    assert str(raised.value).startswith(f"{file}: {key}")


def test_a_rule_can_be_that_of_a_list(tmp_path: Path) -> None:
    file = tmp_path / "scope.toml"
    file.write_text("outside = []\n" + INSIDE + 'path = "mm/.*"\nlists = "linux-x@.*"\n')
    for to, inside in (("linux-x@example.org", True), ("linux-y@example.org", False)):
        mail = letter("[PATCH] p", id="1", headers=f"To: y@z.org\nCc: {to}\n")
        (one,) = assemble([parse(mail)])
        assert scope(one, load(file)).inside is inside
