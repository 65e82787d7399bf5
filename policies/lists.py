"""The shape of policies/lists.toml: when stackhog speaks, and to whom."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from enum import IntEnum
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from policies.schema import Pattern, PolicyError, Reason

FILE = Path(__file__).with_name("lists.toml")
Cc = Literal["none", "lists", "maintainers", "all"]
STRICTEST_CC = ("none", "maintainers", "lists", "all")


class Speak(IntEnum):
    """When a list hears of a series, the strictest first."""

    NEVER = 0  # not even when it was asked: whoever asked is answered without the list
    ASKED = 1
    FINDINGS = 2
    ALWAYS = 3


def _speak(value: Any) -> Any:  # noqa: ANN401 - what stands in the file
    known = {one.name.lower(): one for one in Speak}
    if value not in known:
        raise ValueError(f"one of {', '.join(known)}")
    return known[value]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Default(_Frozen):
    """What holds where no rule does."""

    speak: Annotated[Speak, BeforeValidator(_speak)]
    cc: Cc
    embargo_hours: float = Field(ge=0, le=24 * 14)
    daily_cap: int | None = Field(None, ge=1)
    reason: Reason


class ListRule(Default):
    """What holds for some lists, by address, matched as a whole."""

    address: Pattern

    def matches(self, address: str) -> bool:
        """Whether a list is meant."""
        return re.fullmatch(self.address, address, re.IGNORECASE) is not None


def strictest(rules: Sequence[Default]) -> Default:
    """Return what is left where several rules hold: of each key the strictest value."""
    first = min(rules, key=lambda one: one.speak)
    caps = [one.daily_cap for one in rules if one.daily_cap is not None]
    return Default.model_construct(
        speak=first.speak,
        cc=min((one.cc for one in rules), key=STRICTEST_CC.index),
        embargo_hours=max(one.embargo_hours for one in rules),
        daily_cap=min(caps, default=None),
        reason=first.reason,
    )


class People(_Frozen):
    """Who wants to hear more or less than the others: addresses, ``*`` for anything."""

    opted_in: tuple[str, ...] = ()
    opted_out: tuple[str, ...] = ()
    robots: tuple[str, ...] = ()
    reason: Reason

    def is_in(self, address: str) -> bool:
        """Whether somebody wants to hear of each series."""
        return _any(self.opted_in, address)

    def is_silent(self, address: str) -> bool:
        """Whether nothing may be sent there: a robot, or somebody who asked for that."""
        return self.why_silent(address) is not None

    def why_silent(self, address: str) -> str | None:
        """Return why nothing may be sent there, as half a sentence; None: it may."""
        if _any(self.opted_out, address):
            return "asked not to get mail"
        return "is a robot" if _any(self.robots, address) else None


def _any(patterns: Iterable[str], address: str) -> bool:
    return any(fnmatchcase(address.lower(), one.lower()) for one in patterns)


class Lists(_Frozen):
    """All of policies/lists.toml."""

    default: Default
    list: tuple[ListRule, ...] = ()
    people: People

    def rule(self, address: str) -> Default:
        """Return the rule of one list: of each key the strictest of those that match."""
        found = [one for one in self.list if one.matches(address)]
        return strictest(found) if found else self.default

    def names(self, address: str) -> bool:
        """Whether a rule is for this address, so that it is a list wherever it is kept."""
        return any(one.matches(address) for one in self.list)


@cache
def load(path: Path = FILE) -> Lists:
    """Read and check the rules.

    Raises PolicyError with file and key.
    """
    try:
        return Lists.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PolicyError(path, "", str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise PolicyError(path, ".".join(map(str, first["loc"])), first["msg"]) from error
