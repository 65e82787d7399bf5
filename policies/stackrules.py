"""The shape of policies/stack/*.toml: what the stack analysis may leave out, and why.

``rules.toml`` holds what is true of every path, ``machines.toml`` what an architecture
gives, and each other file one *profile*: the waypoints of a path and what holds between
them. Patterns of functions are those of fnmatch(3); in patterns of files a star stays
within its directory, two cross it. A rule that matches nothing in a kernel is an error,
since gcc may have inlined the name it relies on, unless none of what it ``needs`` is in
that kernel.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

HERE = Path(__file__).with_name("stack")
SHARED = ("rules.toml", "machines.toml")

Reason = Annotated[str, Field(min_length=15)]
Patterns = tuple[str, ...]
Model = TypeVar("Model", bound=BaseModel)


class StackPolicyError(ValueError):
    """A stack policy that cannot be used: which file, which line, 1-based (0: the whole file)."""

    def __init__(self, file: Path, line: int, problem: str) -> None:
        self.file, self.line, self.problem = file, line, problem
        super().__init__(f"{file}:{line}: {problem}" if line else f"{file}: {problem}")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Placed(_Frozen):
    """A table of a policy file that knows where it stands."""

    file: Path = Path()
    line: int = 0


class Barrier(Placed):
    """Calls that are followed no further than the callee's own frame.

    ``cost`` bytes come on top of it. All that is given must hold for one call: its caller,
    its callee (by name, inlined or not), the record field it goes through, the source file
    of the callee.
    """

    callers: Patterns = ()
    callees: Patterns = ()
    fields: Patterns = ()
    files: Patterns = ()
    cost: int = Field(default=0, ge=0)  # bytes
    needs: Patterns = ()  # functions or files: without any of them the rule is void
    reason: Reason

    @model_validator(mode="after")
    def _says_something(self) -> Barrier:
        if not (self.callers or self.callees or self.fields or self.files):
            raise ValueError("a barrier names callers, callees, fields or files")
        return self


class Exclusive(Placed):
    """Of the directories below ``parent``, a chain stays in the one its waypoint led into."""

    parent: str
    shared: Patterns  # directories below it that serve all others
    reason: Reason


class Scope(Placed):
    """Source files between two waypoints; calls of what lies outside are cut and counted."""

    name: str
    files: Patterns = Field(min_length=1)
    reason: Reason


class Assembly(Placed):
    """What a function without C source puts on the stack, in bytes, return address included."""

    functions: Patterns = Field(min_length=1)
    bytes: int = Field(ge=0)
    source: str
    needs: Patterns = ()


class Fact(_Frozen):
    """The value that a tested condition has from a waypoint on."""

    test: str  # as the guards spell it, e.g. "current_is_kswapd()"
    value: bool
    reason: Reason


class Waypoint(Placed):
    """A place that every chain of the profile passes."""

    name: str
    functions: Patterns = ()
    field: str = ""  # or: whatever is called through this record field
    skip: Patterns = ()  # functions that match and are not meant
    entered: bool = False  # from outside of C: the machine's entry comes on top
    branch: bool = False  # a chain for each function, not one for the deepest
    scope: Patterns = ()  # names of scopes that the way here may use
    facts: tuple[Fact, ...] = ()
    reason: Reason

    @model_validator(mode="after")
    def _one_kind(self) -> Waypoint:
        if bool(self.functions) == bool(self.field):
            raise ValueError("a waypoint has either functions or a field")
        return self


class Tail(Placed):
    """What may follow the last waypoint."""

    scope: Patterns = Field(min_length=1)
    reason: Reason


class Said(_Frozen):
    """A number with the place that it was read from."""

    value: int
    source: str = Field(min_length=8)


class Machine(Placed):
    """What an architecture gives and takes, each fact with the kernel file it comes from."""

    name: str
    detect: str  # the line of .config that tells it
    stack: Said  # bytes of a kernel stack
    entry: Said  # bytes that a system call takes before its function is entered
    interrupt: Said  # bytes that an interrupt takes on the stack of what it interrupts
    interrupt_stack: bool  # whether handlers run on a stack of their own
    interrupt_source: str = Field(min_length=8)


class OldMachine(_Frozen):
    """What a profile says of the machine instead: the 2010 scenario."""

    stack: Said
    interrupt_stack: bool
    interrupt_source: str = Field(min_length=8)


class Profile(Placed):
    """A path through the kernel, from waypoint to waypoint."""

    name: str
    reason: Reason
    waypoint: tuple[Waypoint, ...] = Field(min_length=2)
    tail: Tail | None = None
    machine: OldMachine | None = None
    needs: Patterns = ()


class Handlers(Placed):
    """Where an interrupt begins, for machines whose handlers run on the interrupted stack."""

    functions: Patterns = Field(min_length=1)
    scope: Patterns = Field(min_length=1)
    reason: Reason


class NoReturn(Placed):
    """Whether calls of functions that never return are followed."""

    follow: bool
    reason: Reason


class Rules(_Frozen):
    """rules.toml."""

    file: Path = Path()
    no_return: NoReturn
    handlers: Handlers
    scope: tuple[Scope, ...]
    barrier: tuple[Barrier, ...]
    exclusive: tuple[Exclusive, ...] = ()
    assembly: tuple[Assembly, ...] = ()

    def scope_files(self, names: Patterns) -> Patterns:
        """Return the file patterns of scopes; raises KeyError with the name of an unknown one."""
        known = {scope.name: scope.files for scope in self.scope}
        return tuple(pattern for name in names for pattern in known[name])


class StackPolicy(_Frozen):
    """All of policies/stack."""

    rules: Rules
    machines: tuple[Machine, ...]
    profiles: tuple[Profile, ...]

    def profile(self, name: str) -> Profile | None:
        """Return a profile by its name."""
        return next((one for one in self.profiles if one.name == name), None)


@cache
def load(directory: Path = HERE) -> StackPolicy:
    """Return the policy in a directory.

    Raises StackPolicyError with file and line.
    """
    rules = _read(directory / "rules.toml", Rules)
    machines = _read(directory / "machines.toml", _Machines).machine
    paths = sorted(path for path in directory.glob("*.toml") if path.name not in SHARED)
    profiles = tuple(_read(path, Profile) for path in paths)
    for profile in profiles:
        _check_scopes(rules, profile)
    return StackPolicy(rules=rules, machines=machines, profiles=profiles)


class _Machines(_Frozen):
    file: Path = Path()
    machine: tuple[Machine, ...]


def _check_scopes(rules: Rules, profile: Profile) -> None:
    tables: list[Waypoint | Tail] = [*profile.waypoint]
    tables += [profile.tail] if profile.tail else []
    for table in tables:
        try:
            rules.scope_files(table.scope)
        except KeyError as error:
            raise StackPolicyError(table.file, table.line, f"no scope named {error}") from error


def _read(path: Path, model: type[Model]) -> Model:
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise StackPolicyError(path, 0, f"cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise StackPolicyError(path, 0, f"not TOML: {error}") from error
    lines = _lines(text)
    try:
        return model.model_validate(_placed(content, path, lines, ""))
    except ValidationError as error:
        first = error.errors()[0]
        where = [one for one in first["loc"] if one not in {"file", "line"}]
        line = _line_of(where, lines)
        raise StackPolicyError(
            path, line, f"{'.'.join(map(str, where))}: {first['msg']}"
        ) from error


def _lines(text: str) -> dict[str, list[int]]:
    """Return where the tables stand: name → lines of its headers, in order."""
    found: dict[str, list[int]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("["):
            found.setdefault(line.strip().strip("[]").strip(), []).append(number)
    return found


def _placed(content: dict[str, Any], path: Path, lines: dict[str, list[int]], at: str) -> Any:  # noqa: ANN401 - what TOML holds
    placed: dict[str, Any] = {"file": path} if not at else {}
    if not at and "waypoint" in content:
        placed["line"] = 1
    for key, value in content.items():
        where = lines.get(key, []) if not at else []
        if isinstance(value, list) and value and isinstance(value[0], dict) and where:
            placed[key] = [
                {"file": path, "line": line, **one} for line, one in zip(where, value, strict=True)
            ]
        elif isinstance(value, dict) and where and key in {"no_return", "handlers", "tail"}:
            placed[key] = {"file": path, "line": where[0], **value}
        else:
            placed[key] = value
    return placed


def _line_of(where: list[Any], lines: dict[str, list[int]]) -> int:
    tables = lines.get(str(where[0]), []) if where else []
    number = where[1] if len(where) > 1 and isinstance(where[1], int) else 0
    return tables[number] if number < len(tables) else 0
