"""The shape of policies/gates.toml: what a finding must be worth to be said or to fail."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

HERE = Path(__file__).parent


class PolicyError(ValueError):
    """A policy file that cannot be used: which, and which key is wrong."""

    def __init__(self, file: Path, key: str, problem: str) -> None:
        self.file, self.key, self.problem = file, key, problem
        super().__init__(f"{file}: {key}: {problem}")


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]
Reason = Annotated[str, Field(min_length=10)]
Bytes = Annotated[int, Field(gt=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FrameGate(_Frozen):
    """When a stack frame is worth a word, and when it fails."""

    reason: Reason
    note_bytes: Bytes
    fail_bytes: Bytes
    large_bytes: Bytes
    large_reason: Reason
    new_bytes: Bytes


class WarningGate(_Frozen):
    """Whether a new compiler warning fails."""

    fails: bool
    reason: Reason


class CallGate(_Frozen):
    """A new call that is worth a word: callee and source file, both matched whole."""

    callee: Pattern
    file: Pattern
    reason: Reason

    def matches(self, callee: str, file: str) -> bool:
        """Whether a call to ``callee`` from ``file`` is meant."""
        return bool(re.fullmatch(self.callee, callee) and re.fullmatch(self.file, file))


class ChainGate(_Frozen):
    """When the deepest stack of a whole path is worth a word, and when it fails."""

    reason: Reason
    note_bytes: Bytes
    fail_bytes: Bytes
    reached_fails: bool
    reached_reason: Reason


class GuardGate(_Frozen):
    """Whether a call that lost a condition about reclaim fails, and which calls are meant."""

    callee: Pattern
    fails: bool
    reason: Reason

    def matches(self, callee: str) -> bool:
        """Whether calls of this function are meant; "*" is an indirect call."""
        return bool(re.fullmatch(self.callee, callee))


class TargetGate(_Frozen):
    """A record field, matched whole, whose new functions are worth a word."""

    field: Pattern
    reason: Reason

    def matches(self, field: str) -> bool:
        """Whether this field is meant."""
        return bool(re.fullmatch(self.field, field))


class ReplyGate(_Frozen):
    """Who besides the author gets the reply."""

    cc: Literal["lists", "all", "none"]
    reason: Reason
    list_hosts: tuple[Pattern, ...]

    def is_list(self, address: str) -> bool:
        """Whether an address is that of a mailing list, by its host."""
        host = address.rpartition("@")[2].lower()
        return any(re.fullmatch(pattern, host) for pattern in self.list_hosts)


class Gates(_Frozen):
    """All gates."""

    frame: FrameGate
    warning: WarningGate
    call: tuple[CallGate, ...]
    chain: ChainGate
    guard: GuardGate
    target: tuple[TargetGate, ...]
    reply: ReplyGate


def load_gates(path: Path = HERE / "gates.toml") -> Gates:
    """Read and check the gates.

    Raises PolicyError with file and key.
    """
    try:
        return Gates.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise PolicyError(path, "", str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise PolicyError(path, ".".join(map(str, first["loc"])), first["msg"]) from error
