"""The shape of policies/scope.toml: which series stackhog looks at, and why."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from policies import stress
from policies.schema import Pattern, PolicyError, Reason
from policies.stress import Filesystem

FILE = Path(__file__).with_name("scope.toml")
Name = Annotated[str, Field(min_length=3, max_length=40)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Rule(_Frozen):
    name: Name
    reason: Reason


class Outside(_Rule):
    """Series that are left alone; all that is given holds for the series."""

    tags: Pattern = ""  # one tag of the subject
    lists: Pattern = ""  # the address that it was sent to first
    paths: Pattern = ""  # every file that it touches

    @model_validator(mode="after")
    def _says_something(self) -> Outside:
        if not (self.tags or self.lists or self.paths):
            raise ValueError("a rule of what is left alone has tags, lists or paths")
        return self

    def has_tag(self, tag: str) -> bool:
        """Whether a tag of the subject is meant."""
        return re.fullmatch(self.tags, tag, re.IGNORECASE) is not None

    def has_list(self, address: str) -> bool:
        """Whether the address that a series was sent to first is meant."""
        return re.fullmatch(self.lists, address, re.IGNORECASE) is not None

    def has_path(self, path: str) -> bool:
        """Whether a file is meant."""
        return re.fullmatch(self.paths, path) is not None


class Inside(_Rule):
    """Series that are looked at; all that is given holds for one hunk."""

    lists: Pattern = ""  # the series was sent to one of these
    path: Pattern = ""
    near: Pattern = ""  # anywhere in the hunk or its header, context included
    function: Pattern = ""  # of the changed line, as a whole
    unless: Pattern = ""  # functions that are not meant, as a whole
    text: Pattern = ""  # in a line that is added or removed
    counted: Pattern = ""  # words that are added more or less often than they are removed
    added: Pattern = ""  # in a line that is added, its white space kept
    profiles: tuple[str, ...] = ()
    filesystems: tuple[Filesystem, ...] = ()  # besides those of filesystems.toml

    @field_validator("profiles")
    @classmethod
    def _exist(cls, profiles: tuple[str, ...]) -> tuple[str, ...]:
        missing = sorted(set(profiles) - set(stress.list_names()))
        if missing:
            raise ValueError(f"there is no stress profile {missing[0]}")
        return profiles

    @model_validator(mode="after")
    def _says_something(self) -> Inside:
        words = [one for one in (self.text, self.counted, self.added) if one]
        if len(words) > 1:
            raise ValueError("a rule has one of text, counted and added")
        if not (self.path or self.near or words):  # a list or a name alone is no reason
            raise ValueError("a rule has a path, near, text, counted or added")
        return self

    @property
    def is_of_files(self) -> bool:
        """Whether any change of the files is meant, so that their names say enough."""
        return not (
            self.near or self.function or self.unless or self.text or self.counted or self.added
        )


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
