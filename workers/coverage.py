"""Sees to it that what a series touches is compiled, or says why it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bot.contract import Enabled, KernelConfig, NotCompiled
from workers import kbuild, kbuild_cmd, kconfig, sandbox
from workers.baseline import Baseline
from workers.sandbox import SRC, Cell

COMPILABLE = (".c", ".S", ".h")
TOOLS = "/build/tools"


@dataclass(frozen=True)
class Coverage:
    """What has to be switched on for a series, and what that cannot help."""

    wanted: tuple[tuple[str, tuple[str, ...]], ...]  # (touched file, options it needs)
    reasons: Mapping[str, str]  # touched file → why no option compiles it

    def config(self, default: KernelConfig) -> KernelConfig:
        """Return the configuration with the options laid over it."""
        more = {option: None for _, options in self.wanted for option in options}
        return default.model_copy(update={"options": (*default.options, *more)})

    def without(self, dropped: Sequence[str]) -> Coverage:
        """Return what is left after kconfig dropped some options: files that need none of them."""
        lost = {file for file, options in self.wanted if set(options) & set(dropped)}
        why = "the unpatched tree does not take the options that compile it"
        return Coverage(
            tuple((file, options) for file, options in self.wanted if file not in lost),
            {**self.reasons, **dict.fromkeys(sorted(lost), why)},
        )

    def enabled(self) -> tuple[Enabled, ...]:
        """Return the symbols that are switched on, with the file that needs each first."""
        found: dict[str, str] = {}
        for file, options in self.wanted:
            for option in options:
                if option.endswith("=y"):
                    found.setdefault(option.removeprefix("CONFIG_").removesuffix("=y"), file)
        return tuple(Enabled(symbol=symbol, file=file) for symbol, file in sorted(found.items()))


def find(cell: Cell, first: Baseline, source: Sequence[Path], touched: Sequence[str]) -> Coverage:
    """Return what must be switched on so that the touched files are compiled.

    ``source`` are the layers of the patched source, topmost first; ``cell`` has them and the
    baseline's objects, because Kconfig files run shell commands when they are read.
    """
    missing = _missing(first.objects, touched)
    gates = [kbuild.gates(source, file, first.config.arch) for file in missing]
    reasons = {gate.file: gate.reason for gate in gates if gate.reason}
    asked = [gate for gate in gates if not gate.reason and gate.request]
    wanted = []
    for gate, answer in zip(asked, _solve(cell, first, asked), strict=True):
        if answer.reason:
            reasons[gate.file] = answer.reason
        elif answer.options:
            wanted.append((gate.file, answer.options))
    return Coverage(tuple(wanted), reasons)


def _solve(cell: Cell, first: Baseline, gates: Sequence[kbuild.Gate]) -> tuple[kconfig.Answer, ...]:
    if not gates:
        return ()
    requests = tuple(gate.request for gate in gates)
    shown = (kconfig.SOLVER, kconfig.KCONFIGLIB)
    with_tools = replace(cell, shown=tuple((path, f"{TOOLS}/{path.name}") for path in shown))
    environment = kconfig.environment(first.config.arch, first.config.compiler)
    command = kconfig.solver_command(
        f"{TOOLS}/{kconfig.SOLVER.name}", SRC, ".config", requests, environment
    )
    return kconfig.read_answers(sandbox.run(with_tools, command).output, requests)


def not_compiled(
    coverage: Coverage, objects: Sequence[Path], touched: Sequence[str]
) -> tuple[NotCompiled, ...]:
    """Return the touched C, assembly and header files that no object was made from."""
    return tuple(
        NotCompiled(file=file, reason=coverage.reasons.get(file) or _why_not(file))
        for file in _missing(objects, touched)
    )


def _missing(objects: Sequence[Path], touched: Sequence[str]) -> tuple[str, ...]:
    compilable = [file for file in touched if file.endswith(COMPILABLE)]
    return kbuild_cmd.not_compiled(objects, compilable, SRC)


def _why_not(file: str) -> str:
    if file.endswith(".h"):
        return "no file that is compiled includes it"
    return "it was not compiled although its options are on"
