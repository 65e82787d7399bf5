from __future__ import annotations

import pytest

from workers.stack import observed
from workers.stack.observed import Dump, DumpError, Entry
from workers.stack.program import Program
from workers.stack.unit import CallSite, Function, Unit

DUMP = """\
        Depth    Size   Location    (4 entries)
        -----    ----   --------
  0)      232      32   leaf+0x1/0x10
  1)      200      48   middle+0xbc/0x4ac
  2)      152      64   top.isra.0+0x31/0x1f1
  3)       88      88   entry_SYSCALL_64_after_hwframe+0x63/0xcd
"""


def program() -> Program:
    """Return top -> middle -> (tail) between -> leaf, and lonely, in one object."""
    unit = Unit("a.o", "12.2.0", 8, files=["a.c"])
    made = {
        "top.isra.0@a.o": (64, [("d", "middle")]),
        "middle": (48, [("d", "between@a.o")]),
        "between@a.o": (16, [("t", "leaf")]),
        "leaf": (32, []),
        "lonely": (8, []),
    }
    for name, (frame, calls) in made.items():
        made_of = Function(name, "a.o", "a.c", 1, frame, "s", weak=False, no_return=False, type="t")
        unit.functions.append(made_of)
        unit.calls[name] = [CallSite(kind, callee, "0:1:1", "") for kind, callee in calls]
    return Program([unit])


def test_a_dump_is_read() -> None:
    (dump,) = observed.parse(DUMP)
    assert dump.entries[0] == Entry("leaf", 232, 32)
    assert len(dump.entries) == 4


def test_many_dumps_and_what_a_console_adds_are_read() -> None:
    console = DUMP.replace("  1)", "[   12.345678]   1)").replace("\n", "\r\n")
    assert observed.parse(DUMP + DUMP + console) == observed.parse(DUMP) * 3


def test_dumps_without_headers_part_at_the_entry_0() -> None:
    lines = "".join(DUMP.splitlines(keepends=True)[2:])
    assert observed.parse(lines * 2) == observed.parse(DUMP) * 2


@pytest.mark.parametrize("line", ["hello", "  1) 12 middle+0x1/0x2", "  x) 1 1 f+0x1/0x2"])
def test_another_text_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(DumpError, match="line 7 is not what ftrace"):
        observed.parse(DUMP + line + "\n")


def test_edges_are_found_directly_through_tail_calls_and_by_reason() -> None:
    found = observed.check(program(), observed.parse(DUMP))
    assert (found.edges, found.direct) == (3, 1)
    (tail,) = found.by_tail_calls
    assert (tail.caller, tail.callee, tail.via) == ("middle", "leaf", ("between",))
    (entry,) = found.explained
    assert entry.caller == "entry_SYSCALL_64_after_hwframe"
    assert found.missing == ()


def test_a_call_that_the_graph_lacks_is_missing() -> None:
    wrong = DUMP.replace("leaf+", "lonely+")
    (missing,) = observed.check(program(), observed.parse(wrong * 3)).missing
    assert (missing.caller, missing.callee, missing.times) == ("middle", "lonely", 3)


def test_frames_are_compared_but_for_the_deepest() -> None:
    found = observed.check(program(), observed.parse(DUMP))
    assert (found.frames, found.frames_equal, found.frames_unknown) == (2, 2, 1)
    other = DUMP.replace("     48   middle", "     56   middle").replace("32   leaf", "99   leaf")
    (off,) = observed.check(program(), observed.parse(other)).frames_off
    assert (off.function, off.seen, off.expected) == ("middle", 56, (48,))


def test_what_is_said_names_every_miss() -> None:
    wrong = DUMP.replace("leaf+", "lonely+").replace("     64   top", "     72   top")
    text = "\n".join(observed.as_text(observed.check(program(), observed.parse(wrong))))
    assert "missing: middle() -> lonely() (1 times)" in text
    assert "frame of top.isra.0(): seen 72, expected 64" in text


def test_no_dumps_say_nothing() -> None:
    assert observed.check(program(), [Dump(())]).edges == 0
