"""The shape of policies/trees.toml: which tree a series is meant for, by list and tag."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from policies.schema import PolicyError, Reason

FILE = Path(__file__).with_name("trees.toml")
# as workers/trees.py takes it
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Address = Annotated[str, StringConstraints(pattern=r"^[^\s<>@]+@[^\s<>@]+$", to_lower=True)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Where(_Frozen):
    """Where a tree is kept: what may be cloned under another name, and which branch counts."""

    url: Annotated[str, Field(min_length=1)]
    branch: Annotated[str, Field(min_length=1)]


class TagRule(_Frozen):
    """A tag of the subject that means trees of another name."""

    tag: Annotated[str, Field(min_length=1)]
    trees: Names
    reason: Reason


class ListRule(_Frozen):
    """The trees of a mailing list, in the order in which they are taken."""

    address: Address
    trees: Names
    reason: Reason


class Last(_Frozen):
    """The trees that are taken where nothing says more, in order."""

    trees: Names
    reason: Reason


class Trees(_Frozen):
    """All of policies/trees.toml."""

    tree: dict[Name, Where]
    tag: tuple[TagRule, ...] = ()
    list: tuple[ListRule, ...] = ()
    last: Last

    def unknown(self) -> Iterator[tuple[str, str]]:
        """Yield the keys under which there are names of trees that are nowhere, and those."""
        rules = [("last", self.last.trees)]
        rules += [(f"tag.{n}", rule.trees) for n, rule in enumerate(self.tag)]
        rules += [(f"list.{n}", rule.trees) for n, rule in enumerate(self.list)]
        for key, names in rules:
            yield from ((f"{key}.trees", name) for name in names if name not in self.tree)


def load(path: Path = FILE) -> Trees:
    """Read and check the trees.

    Raises PolicyError with file and key.
    """
    try:
        found = Trees.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PolicyError(path, "", str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise PolicyError(path, ".".join(map(str, first["loc"])), first["msg"]) from error
    for key, name in found.unknown():
        raise PolicyError(path, key, f"there is no [tree.{name}]")
    return found
