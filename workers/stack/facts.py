"""Reads what gcc writes beside an object with -fstack-usage -fcallgraph-info=su,da.

The ``.ci`` file is VCG text (gcc/toplev.cc, ``dump_final_node_vcg``): a node per
function with its frame in bytes, an edge per call with its place. On x86 the frame
holds the return address. Calls inside inline assembly, static calls and entry code are
not in it; every indirect call goes to one placeholder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bot.contract import OursError

NODE = re.compile(
    rb'^node: \{ title: "(?P<title>[^"]+)" label: "(?P<name>[^"\\]+)'
    rb"\\n(?P<file>[^\"\\]+):(?P<line>\d+):\d+"
    rb"(?:\\n(?P<bytes>\d+) bytes \((?P<kind>[a-z,]+)\))?",
    re.MULTILINE,
)
EDGE = re.compile(
    rb'^edge: \{ sourcename: "(?P<caller>[^"]+)" targetname: "(?P<callee>[^"]+)"'
    rb'(?: label: "(?P<file>[^"]*):(?P<line>\d+):\d+")?',
    re.MULTILINE,
)
CLONE = re.compile(r"\.(?:isra|constprop|cold|lto_priv)(?:\.\d+)?|(?<=\.part)\.\d+")
INDIRECT = "__indirect_call"
PREFIXES = ("/build/src/", "/build/obj/", "../src/", "./")
# calls that the compiler adds everywhere and that say nothing of the patch
NOISE = re.compile(
    r"__fentry__|mcount|__stack_chk_fail|__(?:sanitizer|asan|ubsan|kcsan|tsan)_\w+"
    r"|__x86_(?:return|indirect)_thunk\w*|__cfi_\w+"
)


class FactsError(OursError):
    """A side file is not what gcc writes; carries its name."""

    def __init__(self, file: str) -> None:
        self.file = file
        super().__init__(f"{file} is not a call graph as gcc writes it: build the object again")


@dataclass(frozen=True)
class Function:
    """A function with a frame of its own."""

    name: str  # without the suffixes of gcc's clones
    file: str  # relative to the tree
    line: int
    bytes: int
    dynamic: bool  # part of the frame has no size known at compile time

    @property
    def key(self) -> tuple[str, str]:
        """What two functions of equal name in one object differ in."""
        return self.file, self.name


@dataclass(frozen=True)
class CallSite:
    """A call: caller's key, callee's name ("indirect call" for the placeholder), place."""

    caller: tuple[str, str]
    callee: str
    file: str
    line: int


@dataclass(frozen=True)
class ObjectFacts:
    """What is known of one object."""

    functions: Mapping[tuple[str, str], Function]
    calls: Mapping[tuple[tuple[str, str], str], CallSite]  # (caller, callee) → its first place


def relative(path: str) -> str:
    """Return a path as the tree spells it; builds see it below /build."""
    for prefix in PREFIXES:
        path = path.removeprefix(prefix)
    return path


def plain(name: str) -> str:
    """Return a function's name without what gcc adds to clones: foo.isra.0 is foo.

    The outlined part of a split function stays its own (foo.part): it has its own frame.
    """
    return CLONE.sub("", name)


def parse(ci: bytes, name: str) -> ObjectFacts:
    """Read the text of a ``.ci`` file called ``name``.

    Of several clones the largest frame counts. Raises FactsError.
    """
    if not ci.startswith(b"graph: {") or not ci.endswith(b"\n}\n"):
        raise FactsError(name)
    functions: dict[tuple[str, str], Function] = {}
    titles: dict[str, tuple[str, str]] = {}
    for node in NODE.finditer(ci):
        if node["bytes"] is None:
            continue
        # statics are titled "file:name"; the label holds the source's name, the title the clone's
        title = node["title"].decode(errors="replace")
        found = Function(
            plain(title.rpartition(":")[2]),
            relative(node["file"].decode(errors="replace")),
            int(node["line"]),
            int(node["bytes"]),
            node["kind"] not in (b"static", b"dynamic,bounded"),
        )
        titles[title] = found.key
        known = functions.get(found.key)
        if known is None or found.bytes > known.bytes:
            functions[found.key] = found
    return ObjectFacts(functions, _calls(ci, titles))


def _calls(
    ci: bytes, titles: Mapping[str, tuple[str, str]]
) -> dict[tuple[tuple[str, str], str], CallSite]:
    calls: dict[tuple[tuple[str, str], str], CallSite] = {}
    for edge in EDGE.finditer(ci):
        caller = titles.get(edge["caller"].decode(errors="replace"))
        callee = plain(edge["callee"].decode(errors="replace").rpartition(":")[2])
        if caller is None or callee == caller[1] or NOISE.fullmatch(callee):
            continue
        callee = "indirect call" if callee == INDIRECT else callee
        place = relative((edge["file"] or b"").decode(errors="replace"))
        site = CallSite(caller, callee, place, int(edge["line"] or 0))
        known = calls.get((caller, callee))
        if known is None or (site.file, site.line) < (known.file, known.line):
            calls[caller, callee] = site
    return calls
