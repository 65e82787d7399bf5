"""Kernel configurations as policy: a TOML file and the fragments that it names.

``policies/kconfig/NAME.toml`` says what is built and which fragments are laid over the
base, in order. A fragment is plain kernel configuration text in which a comment line
``# reason: …`` stands right above each option, so that nobody has to guess later why an
option is there or whether it may go.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

HERE = Path(__file__).with_name("kconfig")
OPTION = re.compile(
    r'CONFIG_(?P<set>\w+)=(?:[ymn]|-?\d+|0[xX][0-9a-fA-F]+|"(?:[^"\\]|\\.)*")'
    r"|# CONFIG_(?P<unset>\w+) is not set",
    re.ASCII,
)
REASON = re.compile(r"#\s*reason:\s*(?P<text>\S.*)")

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$", max_length=64)]
FragmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][\w-]*\.config$")]


class KernelPolicyError(ValueError):
    """A kernel configuration that cannot be used: which file, which line (0: the whole file)."""

    def __init__(self, file: Path, line: int, problem: str) -> None:
        self.file, self.line, self.problem = file, line, problem
        super().__init__(f"{file}:{line}: {problem}" if line else f"{file}: {problem}")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Option(_Frozen):
    """One option of a fragment with the reason why it is there."""

    text: str  # "CONFIG_X=y" or "# CONFIG_X is not set"
    symbol: str  # without CONFIG_
    reason: str
    file: str  # the fragment's name
    line: int  # 1-based


class KernelFile(_Frozen):
    """A kernel configuration as its TOML file spells it."""

    name: Word
    arch: Word  # the kernel's ARCH= spelling
    base: Word  # make target that the fragments are laid over
    target: Word  # make target of a full build
    compiler: Word  # CC=
    stress: Word = "quick"  # the profile that its kernels are booted under
    about_objects: int = Field(gt=0)  # how many objects a build has, for progress only
    fragments: tuple[FragmentName, ...] = Field(min_length=1)  # beside the TOML file, in order


class KernelPolicy(KernelFile):
    """A kernel configuration with the options of all its fragments, in order."""

    options: tuple[Option, ...]


def list_names() -> tuple[str, ...]:
    """Return the names of the configurations that come with stackhog, sorted."""
    return tuple(sorted(path.stem for path in HERE.glob("*.toml")))


def load(name_or_path: str | Path) -> KernelPolicy:
    """Return a configuration by name, or by path when that ends in ``.toml``.

    Raises KernelPolicyError with file and line.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        if str(name_or_path) not in list_names():
            known = ", ".join(list_names())
            raise KernelPolicyError(path, 0, f"no such kernel configuration; there are: {known}")
        path = HERE / f"{name_or_path}.toml"
    file = _read(path)
    options = [option for name in file.fragments for option in fragment(path.with_name(name))]
    _refuse_twice(path, options)
    return KernelPolicy(**file.model_dump(), options=tuple(options))


def fragment(path: Path) -> Iterator[Option]:
    """Yield the options of a fragment; each must have its reason on the line above it.

    Raises KernelPolicyError with file and line.
    """
    reason = ""
    for number, text in enumerate(_text(path).splitlines(), start=1):
        line = text.strip()
        if found := OPTION.fullmatch(line):
            if not reason:
                raise KernelPolicyError(path, number, f"no `# reason: …` line above {line}")
            symbol = found["set"] or found["unset"]
            yield Option(text=line, symbol=symbol, reason=reason, file=path.name, line=number)
            reason = ""
        elif line and not line.startswith("#"):
            raise KernelPolicyError(path, number, f"not a configuration option: {line}")
        else:
            said = REASON.fullmatch(line)
            reason = said["text"] if said else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise KernelPolicyError(path, 0, f"cannot be read: {why}") from error


def _read(path: Path) -> KernelFile:
    try:
        return KernelFile.model_validate(tomllib.loads(_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise KernelPolicyError(path, 0, f"not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise KernelPolicyError(path, 0, f"{key}: {first['msg']}") from error


def _refuse_twice(path: Path, options: list[Option]) -> None:
    seen: dict[str, Option] = {}
    for option in options:
        first = seen.setdefault(option.symbol, option)
        if first is not option:
            problem = f"CONFIG_{option.symbol} is set in {first.file}:{first.line} already"
            raise KernelPolicyError(path.with_name(option.file), option.line, problem)
