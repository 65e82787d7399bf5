"""Finds the assignments that switch symbols on; runs inside the sandbox, on its own.

Usage: kconfig_solver.py --srctree DIR --config FILE [--env NAME=VALUE]... -- REQUEST...

A request is ways separated by "|", a way is literals separated by ",", a literal is a
symbol without CONFIG_ that must be y, or "!SYMBOL" that must be n. Prints one line of
JSON: {"answers": [{"request": …, "assignments": ["CONFIG_X=y", …], "reason": ""}, …]}.
Reading Kconfig runs shell commands, hence the sandbox. Needs only kconfiglib beside it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

MODULES = re.compile(r"(?m)^\s+modules\s*$")
DEPTH = 12  # of dependencies that are followed
ROUNDS = 8  # of assignments until a symbol is on


def load(srctree: str, config: str) -> Any:  # noqa: ANN401 - kconfiglib ships no types
    """Read the Kconfig files of a tree and a configuration."""
    import kconfiglib  # noqa: PLC0415 - lies beside this file, in the sandbox only

    class Kernel(kconfiglib.Kconfig):  # type: ignore[misc] # untyped
        """Knows the bare `modules` attribute, which kconfig has since Linux 5.14 (6dd85ff178cd)."""

        def _open(self, filename: str, mode: str) -> Any:  # noqa: ANN401
            file = super()._open(filename, mode)
            if mode != "r":
                return file
            with file:
                return io.StringIO(MODULES.sub("\toption modules", file.read()))

    os.environ["srctree"] = srctree  # noqa: SIM112 - kconfig spells it so
    kernel = Kernel("Kconfig", warn=False)
    kernel.load_config(config)
    return kernel


class Solver:
    """Finds assignments on top of a loaded configuration."""

    def __init__(self, kernel: Any) -> None:  # noqa: ANN401
        import kconfiglib  # noqa: PLC0415

        self.lib, self.kernel = kconfiglib, kernel

    def solve(self, request: str) -> dict[str, Any]:
        """Return the answer to one request; the first way that works is taken."""
        reason = ""
        for way in request.split("|"):
            wanted: dict[str, str] = {}
            problem = ""
            for literal in way.split(","):
                value = "n" if literal.startswith("!") else "y"
                problem = problem or self._want(literal.lstrip("!"), value, wanted, 0)
            problem = problem or self._verify(way, wanted)
            if not problem:
                lines = sorted(f"CONFIG_{name}={value}" for name, value in wanted.items())
                return {"request": request, "assignments": lines, "reason": ""}
            reason = reason or problem
        return {"request": request, "assignments": [], "reason": reason}

    def _want(  # noqa: PLR0911 - one return per rule
        self, name: str, value: str, wanted: dict[str, str], depth: int
    ) -> str:
        """Add what gives a symbol the value; return why that cannot be, or nothing."""
        symbol = self.kernel.syms.get(name)
        if symbol is None or not symbol.nodes:
            return "" if value == "n" else f"CONFIG_{name} is in no Kconfig file of the tree"
        if symbol.str_value == value or wanted.get(name) == value:
            return ""
        if name in wanted or depth > DEPTH:
            return f"CONFIG_{name} would have to be both on and off"
        if value == "n":
            wanted[name] = "n"
            return ""
        if not any(node.prompt for node in symbol.nodes):
            return self._selected(symbol, wanted, depth)
        wanted[name] = "y"
        problem = self._depend(symbol.direct_dep, wanted, depth + 1)
        if problem:
            del wanted[name]
            return f"CONFIG_{name} cannot be switched on: {problem}"
        return ""

    def _selected(self, symbol: Any, wanted: dict[str, str], depth: int) -> str:  # noqa: ANN401
        """Switch a symbol without prompt on through the cheapest symbol that selects it."""
        best: dict[str, str] | None = None
        for selector in self._selectors(symbol):
            attempt = dict(wanted)
            if self._want(selector.name, "y", attempt, depth + 1) == "" and (
                best is None or len(attempt) < len(best)
            ):
                best = attempt
        if best is None:
            return f"CONFIG_{symbol.name} has no prompt and nothing that can be on selects it"
        wanted.update(best)
        return ""

    def _selectors(self, symbol: Any) -> Iterator[Any]:  # noqa: ANN401
        found = {
            one.name: one
            for one in self.lib.expr_items(symbol.rev_dep)
            if isinstance(one, self.lib.Symbol) and not one.is_constant and one.nodes
        }
        for name in sorted(found):
            selects = {target.name for target, _, _ in found[name].selects}
            if symbol.name in selects:
                yield found[name]

    def _depend(  # noqa: PLR0911 - one return per operator
        self,
        expression: Any,  # noqa: ANN401
        wanted: dict[str, str],
        depth: int,
    ) -> str:
        """Make a dependency hold; return why that cannot be, or nothing."""
        lib = self.lib
        if lib.expr_value(expression) == 2 and not self._touches(expression, wanted):  # noqa: PLR2004
            return ""
        if isinstance(expression, lib.Symbol):
            if expression.is_constant:
                return "" if expression.str_value != "n" else "it depends on n"
            return self._want(expression.name, "y", wanted, depth)
        if not isinstance(expression, tuple):
            return "it is one of a choice"
        operator, *operands = expression
        if operator is lib.AND:
            problems = [self._depend(one, wanted, depth) for one in operands]
            return next((one for one in problems if one), "")
        if operator is lib.OR:
            return self._either(operands, wanted, depth)
        if operator is lib.NOT and isinstance(operands[0], lib.Symbol):
            return self._want(operands[0].name, "n", wanted, depth)
        return f"it depends on {lib.expr_str(expression)}"

    def _either(self, operands: Sequence[Any], wanted: dict[str, str], depth: int) -> str:
        attempts = []
        for one in operands:
            attempt = dict(wanted)
            problem = self._depend(one, attempt, depth)
            attempts.append((bool(problem), len(attempt), problem, attempt))
        failed, _, problem, attempt = min(attempts, key=lambda a: a[:2])
        if not failed:
            wanted.update(attempt)
        return problem

    def _touches(self, expression: Any, wanted: dict[str, str]) -> bool:  # noqa: ANN401
        names = {getattr(item, "name", None) for item in self.lib.expr_items(expression)}
        return any(wanted.get(name) == "n" for name in names if name)

    def _verify(self, way: str, wanted: dict[str, str]) -> str:
        """Assign, look at the result as olddefconfig would give it, and take it back."""
        before = {name: self.kernel.syms[name].user_value for name in wanted}
        order = sorted(wanted)
        for _ in range(ROUNDS):
            for name in order:
                self.kernel.syms[name].set_value(wanted[name])
        problem = ""
        for literal in way.split(","):
            name, value = literal.lstrip("!"), "n" if literal.startswith("!") else "y"
            symbol = self.kernel.syms.get(name)
            if symbol is not None and symbol.str_value != value:
                needs = self.lib.expr_str(symbol.direct_dep)
                problem = problem or f"CONFIG_{name} stays off; it depends on {needs[:200]}"
        for name, value in before.items():
            symbol = self.kernel.syms[name]
            if value is None:
                symbol.unset_value()
            else:
                symbol.set_value(value)
        return problem


def main() -> None:
    """Read the command line, print the answers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--srctree", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("requests", nargs="*")
    args = parser.parse_args()
    for setting in args.env:
        name, _, value = setting.partition("=")
        os.environ[name] = value
    solver = Solver(load(args.srctree, args.config))
    answers = [solver.solve(request) for request in args.requests]
    sys.stdout.write(json.dumps({"answers": answers}) + "\n")


if __name__ == "__main__":
    main()
