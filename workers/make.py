"""The make command lines of a kernel build, and what its output says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bot.contract import KernelConfig
from workers.sandbox import OBJ, SRC

# what the stack analysis reads; see gcc(1). The reply prints the same flags.
KCFLAGS = "-g1 -fstack-usage -fcallgraph-info=su,da"
# what writes the facts of the stack analysis; the same path in every cell, since kbuild
# compiles anew what it would compile with another command line
PLUGIN = "/build/plugin/stackhog.so"
# the first of these lines says that every object is compiled (scripts/link-vmlinux.sh
# and the vmlinux.a rule of the top Makefile run after all of $(KBUILD_VMLINUX_OBJS))
OBJECTS_DONE = re.compile(r"\s+(?:AR|LD)\s+(?:vmlinux\.[ao]|\.tmp_vmlinux\S*)$")
STEP = re.compile(r"  [A-Z][A-Z0-9_]*(?: \[M\])? +\S")
COMPILED = re.compile(r"  CC(?: \[M\])? +(\S+\.o)$")
DIAGNOSTIC = re.compile(
    r"(?P<file>[^\s:][^:]*):(?P<line>\d+):(?:(?P<column>\d+):)? "
    r"(?P<kind>warning|error|fatal error): (?P<text>.*?)(?: \[(?P<flag>-W[^\]]+)\])?$"
)
LEAD = re.compile(r"(?:In file included from |\s+from )|.*: (?:In function |At top level)")
FATAL = re.compile(r"undefined reference|multiple definition|\*\*\*|^ld: |error:|No rule to make")
MAX_LINES = 40  # of one error, as it may go into a mail
MAX_KEPT = 20_000  # lines of one build's output


def configure(config: KernelConfig, *targets: str) -> list[str]:
    """Return the make command that makes a configuration in the object tree."""
    return ["make", "-C", SRC, f"O={OBJ}", f"ARCH={config.arch}", f"CC={config.compiler}", *targets]


def build(config: KernelConfig, parallel: int, *targets: str) -> list[str]:
    """Return the make command that builds targets in a configured object tree."""
    return [
        "make", "-C", OBJ, f"-j{parallel}", "--output-sync=line", "--no-print-directory",
        f"ARCH={config.arch}", f"CC={config.compiler}", f"KCFLAGS={KCFLAGS} -fplugin={PLUGIN}",
        *(targets or (config.target,)),
    ]  # fmt: skip


def relative(path: str) -> str:
    """Return a path of the cell as one of the tree: /build/src/mm/vmscan.c is mm/vmscan.c."""
    for prefix in (f"{SRC}/", f"{OBJ}/", "../src/", "./"):
        path = path.removeprefix(prefix)
    return path


@dataclass(frozen=True)
class Diagnostic:
    """One message of gcc with the lines that belong to it."""

    object: str  # what was being compiled
    file: str
    line: int
    kind: str  # "warning", "error", "fatal error"
    text: str
    flag: str
    lines: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays equal when code above it moves."""
        return self.file, self.flag, self.text


@dataclass
class Output:
    """Reads a make run line by line."""

    objects: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    objects_done: bool = False
    cut: bool = False

    def feed(self, line: str) -> None:
        """Take one line of output."""
        self.objects_done = self.objects_done or bool(OBJECTS_DONE.match(line))
        compiled = COMPILED.match(line)
        if compiled and not self.objects_done:
            self.objects.append(compiled[1])
        if len(self.lines) < MAX_KEPT:
            self.lines.append(line[:2000])
        else:
            self.cut = True

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Return gcc's messages in order of appearance."""
        return tuple(_diagnostics(self.lines))

    def failure(self) -> tuple[str, ...]:
        """Return the lines that say why the build broke, gcc's or the linker's own."""
        for found in self.diagnostics():
            if found.kind != "warning":
                return found.lines[:MAX_LINES]
        said = [line for line in self.lines if not STEP.match(line)]
        first = next((n for n, line in enumerate(said) if FATAL.search(line)), None)
        if first is None:
            return tuple(said[-5:])
        return tuple(shortened(line) for line in said[first : first + 8])


def shortened(line: str) -> str:
    """Return a line of output without the paths of the cell."""
    return line.replace(f"{SRC}/", "").replace(f"{OBJ}/", "")


def _diagnostics(lines: Sequence[str]) -> Iterable[Diagnostic]:
    compiling, lead, number = "", list[str](), 0
    while number < len(lines):
        line = lines[number]
        number += 1
        compiled = COMPILED.match(line)
        if compiled:
            compiling, lead = compiled[1], []
        elif LEAD.match(line):
            lead.append(line)
        elif found := DIAGNOSTIC.match(line):
            body = [line]
            while number < len(lines) and _belongs(lines[number]):
                body.append(lines[number])
                number += 1
            yield Diagnostic(
                compiling, relative(found["file"]), int(found["line"]), found["kind"],
                found["text"], found["flag"] or "", tuple(map(shortened, [*lead, *body])),
            )  # fmt: skip
            lead = []
        else:
            lead = []


def _belongs(line: str) -> bool:
    """Whether a line continues the message before it: source lines, carets, notes."""
    return (line.startswith(" ") and not STEP.match(line)) or ": note: " in line
