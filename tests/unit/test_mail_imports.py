"""No two modules of the mail room import one another, not even inside a function."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

from bot import mail

ROOM = Path(mail.__file__).parent


def imports(path: Path) -> set[str]:
    """Return the modules of the room that one of them imports anywhere."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if hasattr(node, "names")]
    names = {
        f"{getattr(node, 'module', '')}.{alias.name}" for node in nodes for alias in node.names
        if isinstance(alias, ast.alias)
    }  # fmt: skip
    return {name.split(".")[2] for name in names if name.startswith("bot.mail.")}


def test_there_is_no_cycle() -> None:
    graph = {path.stem: imports(path) for path in ROOM.glob("*.py")}
    assert graph["sources"]
    TopologicalSorter(graph).prepare()  # raises CycleError
