"""The docs name everything that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from bot.cli import VERBS
from bot.contract import FindingKind
from bot.settings import Settings
from policies import schema

ROOT = Path(__file__).parents[2]
DOCS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def text(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_readme(verb: str) -> None:
    assert f"stackhog {verb}" in text("README.md")


@pytest.mark.parametrize("target", ["demo", "test", "check", "bench"])
def test_every_target_is_in_the_readme(target: str) -> None:
    assert f"make {target}" in text("README.md")
    assert re.search(rf"(?m)^{target}:", text("Makefile"))


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_operators_guide(name: str) -> None:
    assert f"| `{name}` |" in text("docs/operators.md")


@pytest.mark.parametrize("kind", list(FindingKind))
def test_every_finding_is_in_the_authors_guide(kind: FindingKind) -> None:
    assert f"| `{kind}` |" in text("docs/patch-authors.md")


def test_every_gate_is_in_the_maintainers_guide() -> None:
    models: dict[str, type[BaseModel]] = {
        "frame": schema.FrameGate,
        "warning": schema.WarningGate,
        "reply": schema.ReplyGate,
    }
    for room, model in models.items():
        for key in model.model_fields:
            if "reason" not in key:
                assert f"| `{room}.{key}` |" in text("docs/maintainers.md")
    assert "| `call` |" in text("docs/maintainers.md")


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_ci_runs_the_readmes_test_command() -> None:
    assert "exec make test\n" in text(".ci/run")
