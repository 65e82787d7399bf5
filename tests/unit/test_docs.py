"""The docs name everything that there is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bot.cli import VERBS, cli
from bot.contract import FindingKind, Outcome
from bot.settings import Settings

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
DOCS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^()\s]+)\)")


def text(name: str) -> str:
    return (ROOT / name).read_text()


def targets() -> list[str]:
    phony = re.search(r"(?m)^\.PHONY: (.+)$", text("Makefile"))
    assert phony is not None
    return phony[1].split()


def gate_keys() -> Iterator[str]:
    """Yield every key of gates.toml but the reasons: ``frame.note_bytes``, ``call.callee``."""
    for room, content in tomllib.loads(text("policies/gates.toml")).items():
        tables = content if isinstance(content, list) else [content]
        keys = {key for table in tables for key in table if "reason" not in key}
        yield from (f"{room}.{key}" for key in sorted(keys))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_readme(verb: str) -> None:
    assert f"**`stackhog {verb}`**" in text("README.md")


@pytest.mark.parametrize("verb", VERBS)
def test_the_readme_shows_no_option_that_a_verb_lacks(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    commands = [command]
    if isinstance(command, click.Group):
        commands = list(command.commands.values())
    known = {option for one in commands for param in one.params for option in param.opts}
    examples = re.findall(rf"(?m)^stackhog {verb}\b.*$", text("README.md"))
    assert examples
    assert set(re.findall(r"--[a-z]+", "\n".join(examples))) <= known


@pytest.mark.parametrize("target", targets())
def test_every_target_is_in_the_readme(target: str) -> None:
    assert re.search(rf"(?m)^(\| `)?make {target}\b", text("README.md"))
    assert re.search(rf"(?m)^{target}:", text("Makefile"))


def test_the_readme_names_no_target_that_is_not_there() -> None:
    assert set(re.findall(r"`make (\w+)`", text("README.md"))) <= set(targets())


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_operators_guide(name: str) -> None:
    assert f"| `{name}` |" in text("docs/operators.md")


def test_every_variable_in_the_docs_is_a_setting() -> None:
    known = {f"STACKHOG_{name.upper()}" for name in Settings.model_fields}
    known |= {"STACKHOG_CONFIG", "STACKHOG_NAME"}
    for path in DOCS:
        assert set(re.findall(r"STACKHOG_[A-Z_]+", path.read_text())) <= known, path


@pytest.mark.parametrize("kind", list(FindingKind))
def test_every_finding_is_in_the_authors_guide(kind: FindingKind) -> None:
    assert f"| `{kind}` |" in text("docs/patch-authors.md")


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_is_in_the_architecture(outcome: Outcome) -> None:
    assert f"`{outcome}`" in text("docs/ARCHITECTURE.md")


@pytest.mark.parametrize("key", list(gate_keys()))
def test_every_gate_is_in_the_maintainers_guide(key: str) -> None:
    assert f"| `{key}` |" in text("docs/maintainers.md")


def test_modules_named_in_the_architecture_are_there() -> None:
    for path in re.findall(
        r"`((?:bot|workers|policies|tests)/[\w/.]+)`", text("docs/ARCHITECTURE.md")
    ):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_says_why_what_and_what_follows(path: Path) -> None:
    found = re.findall(r"(?m)^\*\*(Context|Decision|Consequence)\.\*\* \S", path.read_text())
    assert found == ["Context", "Decision", "Consequence"]
    assert f"(decisions/{path.name})" in text("docs/ARCHITECTURE.md")


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(path.read_text()):
        if "://" not in link:
            assert (path.parent / link.partition("#")[0]).exists(), link


def test_ci_runs_the_readmes_test_command() -> None:
    assert "exec make test\n" in text(".ci/run")
