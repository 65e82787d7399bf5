"""Kernel configurations read back, and the talk with workers/kconfig_solver.py.

``make olddefconfig`` drops an option whose dependencies are not met without a word, so
what came out is compared with what was asked for (`check`). Which options a touched file
needs is worked out by a script inside the sandbox, because reading Kconfig files runs
shell commands that they hold (``$(shell,…)``): its answer is checked like any input.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import kconfiglib
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bot.contract import OursError

LINE = re.compile(r"CONFIG_(\w+)=(.*)|# CONFIG_(\w+) is not set", re.ASCII)
SRCARCH = {"x86_64": "x86", "i386": "x86"}  # ARCH= and its directory, as the top Makefile maps them
SOLVER = Path(__file__).with_name("kconfig_solver.py")
KCONFIGLIB = Path(kconfiglib.__file__)  # to be laid beside the solver
# what Kconfig files ask the environment for; the tools are only asked for their version
TOOLS = {
    "LD": "ld", "AR": "ar", "NM": "nm", "OBJCOPY": "objcopy", "HOSTCC": "gcc", "HOSTCXX": "g++",
    "RUSTC": "rustc", "BINDGEN": "bindgen", "PAHOLE": "pahole", "HOSTPKG_CONFIG": "pkg-config",
    "CLANG_FLAGS": "",
}  # fmt: skip


class DroppedOptionsError(OursError):
    """olddefconfig did not keep options that the configuration asks for."""

    def __init__(self, options: Sequence[str], reasons: Mapping[str, str] | None = None) -> None:
        self.options = tuple(options)  # as they were asked for
        self.reasons = dict(reasons or {})  # symbol, without CONFIG_: why, where it is known
        told = ", ".join(self._told(option) for option in self.options)
        super().__init__(
            f"this kernel's Kconfig does not take {told}: "
            "mend or drop these options in the configuration's fragments"
        )

    def _told(self, option: str) -> str:
        why = next((self.reasons[symbol] for symbol in parse(option) if symbol in self.reasons), "")
        return f"{option} ({why})" if why else option


class SolverFailedError(OursError):
    """The solver's output is not an answer."""


class Answer(BaseModel):
    """What one request needs: assignments on top of the configuration, or why it cannot be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: str
    assignments: tuple[
        Annotated[str, StringConstraints(pattern=r"^CONFIG_[A-Za-z0-9_]{1,128}=[yn]$")], ...
    ] = Field(default=(), max_length=500)
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""  # "" when it can be

    @property
    def options(self) -> tuple[str, ...]:
        """The assignments as options of a KernelConfig."""
        return tuple(
            f"# {line[:-2]} is not set" if line.endswith("=n") else line
            for line in self.assignments
        )


class _Answers(BaseModel):
    answers: tuple[Answer, ...]


def parse(text: str) -> dict[str, str]:
    """Return symbol → value of configuration text; "n" where it says "is not set".

    Symbols come without CONFIG_, strings keep their quotes, the last line of a symbol
    counts (as in scripts/kconfig/confdata.c), lines that are no option are passed over.
    """
    found = (LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {line[1] or line[3]: line[2] if line[1] else "n" for line in found if line}


def dropped(wanted: Sequence[str], got: str) -> tuple[str, ...]:
    """Return the wanted options, in order, that the configuration text does not hold.

    An option that is not mentioned counts as "is not set".
    """
    have = parse(got)
    asked: dict[str, tuple[str, str]] = {}
    for line in wanted:
        asked.update({symbol: (line, value) for symbol, value in parse(line).items()})
    return tuple(line for symbol, (line, value) in asked.items() if have.get(symbol, "n") != value)


def check(wanted: Sequence[str], got: str, reasons: Mapping[str, str] | None = None) -> None:
    """Compare what was asked for with the .config that came out.

    Raises DroppedOptionsError naming each option that is missing or has another value.
    """
    if lost := dropped(wanted, got):
        raise DroppedOptionsError(lost, reasons)


def environment(arch: str, compiler: str) -> dict[str, str]:
    """Return the variables that Kconfig files read, as the top Makefile exports them."""
    return {
        **TOOLS, "ARCH": arch, "SRCARCH": SRCARCH.get(arch, arch), "CC": compiler,
        "CC_VERSION_TEXT": compiler, "KERNELVERSION": "0",
    }  # fmt: skip


def solver_command(
    script: str, srctree: str, config: str, requests: Sequence[str], env: Mapping[str, str]
) -> list[str]:
    """Return the command line of the solver; all paths as the sandbox sees them.

    kconfiglib.py (KCONFIGLIB) must lie beside ``script`` (SOLVER). A request is that of
    kbuild.Gate.request: "A,!B|C" is A and not B, or C.
    """
    argv = ["/usr/bin/python3", "-B", script, "--srctree", srctree, "--config", config]
    argv += [word for name in sorted(env) for word in ("--env", f"{name}={env[name]}")]
    return [*argv, "--", *requests]


def read_answers(output: bytes, requests: Sequence[str]) -> tuple[Answer, ...]:
    """Return the solver's answers, one for each request in the same order.

    Standard error may be mixed in before the last line. Raises SolverFailedError.
    """
    lines = output.splitlines() or [b""]
    try:
        answers = _Answers.model_validate(json.loads(lines[-1])).answers
    except (ValueError, ValidationError, RecursionError) as error:
        said = lines[-1][:200].decode(errors="replace")
        raise SolverFailedError(f"Kconfig could not be read for this series: {said}") from error
    if [answer.request for answer in answers] != list(requests):
        raise SolverFailedError("the Kconfig solver answered something that was not asked")
    return answers
