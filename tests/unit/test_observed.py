from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from workers.stack import observed
from workers.stack.observed import Dump, DumpError, Entry, Observed
from workers.stack.program import Program
from workers.stack.unit import CallSite, Function, Unit

Made = tuple[int, list[tuple[str, str]]]  # frame in bytes, calls as (kind, callee)
DUMP = """\
        Depth    Size   Location    (4 entries)
        -----    ----   --------
  0)      232      32   leaf+0x1/0x10
  1)      200      48   middle+0xbc/0x4ac
  2)      152      64   top.isra.0+0x31/0x1f1
  3)       88      88   entry_SYSCALL_64_after_hwframe+0x63/0xcd
"""


def program(more: Mapping[str, Made] | None = None) -> Program:
    """Return top -> middle -> (tail) between -> leaf, and lonely, in one object."""
    unit = Unit("a.o", "12.2.0", 8, files=["a.c"])
    made: dict[str, Made] = {
        "top.isra.0@a.o": (64, [("d", "middle")]),
        "middle": (48, [("d", "between@a.o")]),
        "between@a.o": (16, [("t", "leaf")]),
        "leaf": (32, []),
        "lonely": (8, []),
        **(more or {}),
    }
    for name, (frame, calls) in made.items():
        made_of = Function(name, "a.o", "a.c", 1, frame, "s", weak=False, no_return=False, type="t")
        unit.functions.append(made_of)
        unit.calls[name] = [CallSite(kind, callee, "0:1:1", "") for kind, callee in calls]
    return Program([unit])


def test_a_dump_is_read() -> None:
    (dump,) = observed.parse(DUMP)
    assert dump.entries[0] == Entry("leaf", 232, 32, 1)
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
    found = observed.check(program(), [Dump(())])
    assert found.edges == 0
    assert "none of those that need an edge" in "\n".join(observed.as_text(found))


def test_a_line_of_a_module_is_read() -> None:
    (dump,) = observed.parse("  0)  1104     48   ext4_map_blocks+0x5/0x6c0 [ext4]\n")
    assert dump.entries == (Entry("ext4_map_blocks", 1104, 48, 5),)


def stack(*entries: tuple[str, int]) -> str:
    """Return the text of a stack of (function, size in bytes), deepest first."""
    depth = sum(size for _, size in entries)
    lines = []
    for number, (function, size) in enumerate(entries):
        name = function if "+" in function else f"{function}+0x9/0x40"
        lines.append(f"{number:3d}) {depth:8d}   {size:5d}   {name}\n")
        depth -= size
    return "".join(lines)


def seen(*entries: tuple[str, int], more: Mapping[str, Made] | None = None) -> Observed:
    return observed.check(program(more), observed.parse(stack(*entries)))


@pytest.mark.parametrize(
    ("caller", "callee"),
    [
        ("asm_exc_page_fault", "middle"),
        ("ret_from_fork", "lonely"),
        ("preempt_schedule_thunk", "middle"),
        ("middle", "asm_sysvec_apic_timer_interrupt"),
        ("clear_user_erms", "asm_exc_page_fault"),
        ("middle", "__put_user_nocheck_4"),
        ("middle", "stack_trace_call"),
        ("middle", "0xffffffffa0000000"),
    ],
)
def test_what_no_compiler_called_is_explained(caller: str, callee: str) -> None:
    (one,) = seen((callee, 48), (caller, 48)).explained
    assert one.reason


@pytest.mark.parametrize("name", ["entry_of_a_list", "asm_like", "error_out"])
def test_a_function_in_c_that_is_named_like_entry_code_is_not_explained(name: str) -> None:
    more: dict[str, Made] = {name: (48, [])}
    assert seen(("lonely", 48), (name, 48), more=more).missing
    assert seen((name, 48), ("middle", 48), more=more).missing


@pytest.mark.parametrize(
    "name", ["trace_clock", "ftrace_now", "function_trace_init", "exc_of_mine"]
)
def test_a_missing_call_of_what_is_named_like_the_tracer_is_missing(name: str) -> None:
    assert seen((name, 48), ("middle", 48)).missing


def test_the_name_behind_a_call_that_does_not_return_is_not_believed() -> None:
    found = seen(("leaf", 48), ("lonely+0x0/0x40", 99), ("top.isra.0", 64))
    assert [one.reason for one in found.explained] == [observed.NO_RETURN] * 2
    assert (found.missing, found.frames_off) == ((), ())
    # where it is seen with another address too, it is a call
    text = stack(("leaf", 48), ("lonely+0x0/0x40", 99)) + stack(("leaf", 48), ("lonely", 8))
    (one,) = observed.check(program(), observed.parse(text)).missing
    assert (one.caller, one.callee, one.times) == ("lonely", "leaf", 2)


def test_a_copy_of_a_return_address_moves_bytes_to_the_next_frame() -> None:
    found = seen(("leaf", 48), ("middle", 8), ("top.isra.0", 104), ("ret_from_fork", 8))
    assert found.frames_off == ()
    assert [(one.function, one.seen) for one in found.frames_explained] == [
        ("middle", 8), ("top.isra.0", 104),
    ]  # fmt: skip
    assert {one.reason for one in found.frames_explained} == {observed.COPY}


@pytest.mark.parametrize(
    "entries",
    [
        (("middle", 8), ("top.isra.0", 112)),
        (("middle", 8), ("top.isra.0", 96)),
        (("middle", 88), ("top.isra.0", 24)),
        (("middle", 8), ("top.isra.0", 64)),
        (("middle", 8), ("asm_exc_page_fault", 104)),
        (("middle", 8),),
    ],
)
def test_bytes_that_the_next_frame_does_not_make_up_for_are_a_miss(
    entries: tuple[tuple[str, int], ...],
) -> None:
    found = seen(("leaf", 48), *entries)
    assert "middle" in {one.function for one in found.frames_off}


def test_a_frame_that_may_vary_explains_no_other() -> None:
    unit = Unit("a.o", "12.2.0", 8, files=["a.c"])
    for name, kind in (("s", "s"), ("b", "b")):
        made = Function(name, "a.o", "a.c", 1, 160, kind, weak=False, no_return=False, type="t")
        unit.functions.append(made)
        unit.calls[name] = [CallSite("d", "x", "0:1:1", "")]
    for sizes in ((("s", 120), ("b", 160)), (("b", 120), ("s", 200)), (("s", 120), ("b", 120))):
        text = stack(("x", 48), *sizes)
        (off,) = observed.check(Program([unit]), observed.parse(text)).frames_off
        assert off.function == "s"
    text = stack(("x", 48), ("b", 8), ("s", 312))  # but there is no frame of 8 bytes in b()
    found = observed.check(Program([unit]), observed.parse(text))
    assert [(one.function, one.reason) for one in found.frames_explained] == [
        ("b", observed.COPY), ("s", observed.COPY),
    ]  # fmt: skip


def test_a_copy_may_lie_in_two_frames() -> None:
    more: dict[str, Made] = {"outer": (80, [("d", "top.isra.0@a.o")])}
    frames = (("leaf", 48), ("middle", 40), ("top.isra.0", 32), ("outer", 120))
    found = seen(*frames, more=more)
    assert [(one.function, one.seen) for one in found.frames_explained] == [
        ("middle", 40), ("outer", 120), ("top.isra.0", 32),
    ]  # fmt: skip


def test_a_miss_outweighs_what_is_explained_elsewhere() -> None:
    text = stack(("leaf", 48), ("middle", 8), ("top.isra.0", 104)) + stack(
        ("leaf", 48), ("middle", 8), ("top.isra.0", 64)
    )
    found = observed.check(program(), observed.parse(text))
    assert [(one.function, one.times) for one in found.frames_off] == [("middle", 1)]
    assert [one.function for one in found.frames_explained] == ["top.isra.0"]
    assert found.frames_equal == found.frames - 2


def test_a_function_that_was_interrupted_shows_what_the_processor_pushed() -> None:
    found = seen(("asm_exc_page_fault", 168), ("middle", 88), ("top.isra.0", 64))
    (one,) = found.frames_explained
    assert (one.function, one.reason) == ("middle", observed.INTERRUPTED)
    assert seen(("asm_exc_page_fault", 168), ("middle", 104)).frames_off


def test_only_dynamic_frames_may_be_larger_and_bounded_ones_smaller() -> None:
    unit = Unit("a.o", "12.2.0", 8, files=["a.c"])
    for name, kind, transient in (("s", "s", 0), ("b", "b", 0), ("d", "d", 0), ("t", "s", 16)):
        made = Function(
            name, "a.o", "a.c", 1, 160, kind, weak=False, no_return=False, type="t",
            transient=transient,
        )  # fmt: skip
        unit.functions.append(made)
        unit.calls[name] = [CallSite("d", "x", "0:1:1", "")]
    graph = Program([unit])

    def fits(name: str, size: int) -> bool:
        text = stack(("x", 48), (name, size))
        return not observed.check(graph, observed.parse(text)).frames_off

    assert [size for size in (88, 96, 152, 160, 168, 176, 400) if fits("s", size)] == [160]
    assert [size for size in (88, 96, 152, 160, 168, 176, 400) if fits("b", size)] == [
        96, 152, 160,
    ]  # fmt: skip
    assert [size for size in (88, 96, 152, 160, 168, 176, 400) if fits("d", size)] == [
        160, 168, 176, 400,
    ]  # fmt: skip
    assert [size for size in (88, 96, 152, 160, 168, 176, 184) if fits("t", size)] == [
        160, 168, 176,
    ]  # fmt: skip


def test_the_text_is_sorted_and_is_the_same_in_any_order() -> None:
    one, two = stack(("lonely", 48), ("middle", 56)), stack(("leaf", 48), ("top.isra.0", 64))
    found = observed.check(program(), observed.parse(one + two))
    assert found == observed.check(program(), observed.parse(two + one))
    assert [edge.caller for edge in found.missing] == ["middle", "top.isra.0"]
    assert (found.dumps, found.different) == (2, 2)


def test_the_json_is_plain_data() -> None:
    data = json.loads(json.dumps(observed.as_json(seen(("leaf", 48), ("middle", 48)))))
    assert data["by_tail_calls"] == [
        {"caller": "middle", "callee": "leaf", "times": 1, "via": ["between"], "reason": ""}
    ]
    assert (data["different"], data["frames_explained"]) == (1, [])
