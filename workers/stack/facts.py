"""Reads what gcc writes beside an object with -fstack-usage -fcallgraph-info=su,da.

The ``.ci`` file is VCG text (gcc/toplev.cc, ``dump_final_node_vcg``): a node per
function with its frame in bytes, an edge per call with its place. On x86 the frame
holds the return address. Calls inside inline assembly, static calls and entry code are
not in it; every indirect call goes to one placeholder. A function that gcc inlined
everywhere has no node: its calls and its locals are those of its callers.

The ``.su`` file tells the same frames again (equal on all 22,254 functions of a 6.1
kernel, gcc 12.2); it is read to see that nothing is missing.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from bot.contract import OursError

# a build is hostile: no control characters in names, no numbers that int() refuses
NODE = re.compile(
    rb'^node: \{ title: "(?P<title>[^"\x00-\x1f\x7f]+)" label: "(?P<label>[^"\x00-\x1f\x7f]+)"'
    rb"(?P<elsewhere> shape : ellipse)? \}$",
    re.MULTILINE,
)
LABEL = re.compile(
    rb"(?P<su>(?P<name>[^\\]+)\\n(?P<file>[^\\]+):(?P<line>\d{1,9}):\d{1,9}"
    rb"\\n(?P<bytes>\d{1,15}) bytes \((?P<kind>static|dynamic|dynamic,bounded)\))(?:\\n.*)?"
)
EDGE = re.compile(
    rb'^edge: \{ sourcename: "(?P<caller>[^"\x00-\x1f\x7f]+)"'
    rb' targetname: "(?P<callee>[^"\x00-\x1f\x7f]+)"'
    rb'(?: label: "(?P<file>[^"\x00-\x1f\x7f]+):(?P<line>\d{1,9}):\d{1,9}")? \}$',
    re.MULTILINE,
)
FRAME_LINES = 2  # of a .ci: "graph: {" and "}"
CLONE = re.compile(r"\.(?:isra|constprop|cold|lto_priv)(?:\.\d+)?|(?<=\.part)\.\d+")
PLACEHOLDER = "__indirect_call"
INDIRECT = "indirect call"
PREFIXES = ("/build/src/", "/build/obj/", "../src/", "./")
# calls that the compiler adds everywhere: they come and go with the options of the build
# (tracing, stack protector, sanitizers, retpolines, CFI) and say nothing of the patch
NOISE = re.compile(
    r"__fentry__|_?_?mcount|__cyg_profile_func_\w+|__stack_chk_fail"
    r"|__(?:sanitizer|asan|hwasan|ubsan|kcsan|kmsan|msan|tsan)_\w+"
    r"|__x86_(?:return|indirect)_thunk\w*|__cfi_\w+"
)


class FactsError(OursError):
    """A side file is not what gcc writes; carries its name."""

    def __init__(self, file: str, why: str = "is not a call graph as gcc writes it") -> None:
        self.file = file
        super().__init__(f"{file} {why}: build the object again")


@dataclass(frozen=True)
class Function:
    """A function with a frame of its own."""

    name: str  # without the suffixes of gcc's clones
    file: str  # relative to the tree
    line: int
    bytes: int
    dynamic: bool  # part of the frame has no size known at compile time


@dataclass(frozen=True)
class CallSite:
    """A call: caller's name, callee's name (INDIRECT for the placeholder), its place."""

    caller: str
    callee: str
    file: str  # "" where gcc gives no place
    line: int


@dataclass(frozen=True)
class ObjectFacts:
    """What is known of one object; a C file has each function name once."""

    functions: Mapping[str, Function]  # by name
    calls: Mapping[tuple[str, str], CallSite]  # (caller, callee) → its first place

    @cached_property
    def callees(self) -> Mapping[str, tuple[str, ...]]:
        """What each function calls, sorted."""
        return _grouped(self.calls)

    @cached_property
    def callers(self) -> Mapping[str, tuple[str, ...]]:
        """Who calls each function, within this object, sorted."""
        return _grouped((callee, caller) for caller, callee in self.calls)


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    groups = defaultdict(list)
    for one, other in sorted(pairs):
        groups[one].append(other)
    return {one: tuple(others) for one, others in groups.items()}


def relative(path: str) -> str:
    """Return a path as the tree spells it; builds see it below /build.

    A generated file keeps its place in the object tree (include/generated/…).
    """
    for prefix in PREFIXES:
        path = path.removeprefix(prefix)
    return posixpath.normpath(path) if "/../" in path or "/./" in path else path


def plain(name: str) -> str:
    """Return a function's name without what gcc adds to clones: foo.isra.0 is foo.

    The outlined part of a split function stays its own (foo.part): it has its own frame.
    """
    return CLONE.sub("", name)


def parse(ci: bytes, name: str, su: bytes | None = None) -> ObjectFacts:
    """Read the text of a ``.ci`` file called ``name`` and check it with its ``.su``, if given.

    Of several clones the largest frame counts. Raises FactsError when a line is not
    gcc's, when the text is cut off, or when the two files disagree.
    """
    nodes, edges = list(NODE.finditer(ci)), list(EDGE.finditer(ci))
    whole = ci.startswith(b'graph: { title: "') and ci.endswith(b"\n}\n")
    if not whole or len(nodes) + len(edges) + FRAME_LINES != ci.count(b"\n"):
        raise FactsError(name)
    functions: dict[str, Function] = {}
    frames = []
    for node in nodes:
        if node["elsewhere"]:
            continue
        label = LABEL.fullmatch(node["label"])
        if label is None:
            raise FactsError(name)
        frames.append(label["su"])
        found = _function(_name(node["title"]), label)
        known = functions.get(found.name)
        if known is None or _worse(found, known):
            functions[found.name] = found
    if su is not None and sorted(frames) != sorted(_as_labels(su)):
        raise FactsError(name, "does not agree with the .su file beside it")
    return ObjectFacts(functions, _calls(edges))


def _name(title: bytes) -> str:
    """Return the name in a title; statics are titled "main-file:name"."""
    return plain(title.decode(errors="replace").rpartition(":")[2])


def _function(name: str, label: re.Match[bytes]) -> Function:
    return Function(
        name=name,
        file=relative(label["file"].decode(errors="replace")),
        line=int(label["line"]),
        bytes=int(label["bytes"]),
        dynamic=label["kind"] == b"dynamic",
    )


def _worse(one: Function, other: Function) -> bool:
    return (one.dynamic, one.bytes) > (other.dynamic, other.bytes)


def _as_labels(su: bytes) -> Iterator[bytes]:
    r"""Yield the lines of a .su, ``file:line:col:name\tbytes\tkind``, as a .ci labels nodes."""
    for line in su.splitlines():
        where, _, frame = line.partition(b"\t")
        place, _, name = where.rpartition(b":")
        size, _, kind = frame.partition(b"\t")
        yield rb"%b\n%b\n%b bytes (%b)" % (name, place, size, kind)


def _calls(edges: list[re.Match[bytes]]) -> dict[tuple[str, str], CallSite]:
    calls: dict[tuple[str, str], CallSite] = {}
    for edge in edges:
        caller, callee = _name(edge["caller"]), _name(edge["callee"])
        between_clones = caller == callee and edge["caller"] != edge["callee"]
        if between_clones or NOISE.fullmatch(callee):
            continue
        callee = INDIRECT if callee == PLACEHOLDER else callee
        place = relative((edge["file"] or b"").decode(errors="replace"))
        site = CallSite(caller, callee, place, int(edge["line"] or 0))
        known = calls.get((caller, callee))
        if known is None or (site.file, site.line) < (known.file, known.line):
            calls[caller, callee] = site
    return calls
