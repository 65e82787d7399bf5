"""The shape of policies/scope.toml: which series stackhog looks at, and why."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from policies import stress
from policies.schema import Pattern, PolicyError, Reason

FILE = Path(__file__).with_name("scope.toml")
Name = Annotated[str, Field(min_length=3, max_length=40)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Rule(_Frozen):
    name: Name
    reason: Reason


class Outside(_Rule):
    """Series that are left alone: by a tag, by whom they were sent to first, or by all files."""

    tags: Pattern = ""
    lists: Pattern = ""
    paths: Pattern = ""

    @model_validator(mode="after")
    def _says_something(self) -> Outside:
        if [bool(self.tags), bool(self.lists), bool(self.paths)].count(True) != 1:
            raise ValueError("a rule of what is left alone has either tags, lists or paths")
        return self

    def has_tag(self, tag: str) -> bool:
        """Whether a tag of the subject is meant."""
        return bool(self.tags) and re.fullmatch(self.tags, tag, re.IGNORECASE) is not None

    def has_list(self, address: str) -> bool:
        """Whether the address that a series was sent to first is meant."""
        return bool(self.lists) and re.fullmatch(self.lists, address, re.IGNORECASE) is not None

    def has_path(self, path: str) -> bool:
        """Whether a file is meant."""
        return bool(self.paths) and re.fullmatch(self.paths, path) is not None


class Inside(_Rule):
    """Series that are looked at; all that is given holds for one hunk."""

    lists: Pattern = ""  # the series was sent to one of these
    path: Pattern = ""
    function: Pattern = ""
    text: Pattern = ""  # in a line that is added or removed
    added: Pattern = ""  # in a line that is added, its white space kept
    profiles: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Inside:
        if not (self.path or self.text or self.added):
            raise ValueError("a rule has a path, a text, or both")  # a list alone is no reason
        missing = sorted(set(self.profiles) - set(stress.list_names()))
        if missing:
            raise ValueError(f"there is no stress profile {missing[0]}")
        return self


class ScopePolicy(_Frozen):
    """All of policies/scope.toml."""

    outside: tuple[Outside, ...]
    inside: tuple[Inside, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_once(self) -> ScopePolicy:
        rules: tuple[_Rule, ...] = (*self.outside, *self.inside)
        names = [one.name for one in rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules have the name {twice[0]}")
        return self


@cache
def load(path: Path = FILE) -> ScopePolicy:
    """Read and check the rules.

    Raises PolicyError with file and key.
    """
    try:
        return ScopePolicy.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PolicyError(path, "", str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise PolicyError(path, ".".join(map(str, first["loc"])), first["msg"]) from error
