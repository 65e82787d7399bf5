"""What gcc writes beside an object, honest and hostile."""

from __future__ import annotations

import io
import zipfile

import pytest

from tests.unit.test_stack import EDGE, ci, node
from workers.stack import facts, pack
from workers.stack.facts import parse

GOOD = ci(node("f", 48), EDGE.format("f", "g", 12))
SU = b"/build/src/mm/a.c:10:5:f\t48\tstatic\n"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/build/src/mm/vmscan.c", "mm/vmscan.c"),
        ("../src/mm/vmscan.c", "mm/vmscan.c"),
        ("/build/src/./include/linux/mm.h", "include/linux/mm.h"),
        ("../src/fs/xfs/../iomap/trace.h", "fs/iomap/trace.h"),
        ("include/generated/bounds.h", "include/generated/bounds.h"),
        ("./include/generated/bounds.h", "include/generated/bounds.h"),
        ("mm/build/src/a.c", "mm/build/src/a.c"),
        ("<built-in>", "<built-in>"),
        ("", ""),
    ],
)
def test_a_path_is_told_as_the_tree_spells_it(path: str, expected: str) -> None:
    assert facts.relative(path) == expected


@pytest.mark.parametrize(
    "name",
    ["__stack_chk_fail", "__fentry__", "mcount", "_mcount", "__sanitizer_cov_trace_pc",
     "__asan_load8_noabort", "__ubsan_handle_out_of_bounds", "__tsan_func_entry",
     "__x86_indirect_thunk_rax", "__cyg_profile_func_enter", "__cfi_slowpath"],
)  # fmt: skip
def test_what_the_compiler_calls_everywhere_is_no_call(name: str) -> None:
    assert parse(ci(node("f", 48), EDGE.format("f", name, 12)), "a.ci").calls == {}


@pytest.mark.parametrize("name", ["__warn_printk", "stack_chk_fail", "mcounted", "my__fentry__"])
def test_what_looks_like_it_is_a_call(name: str) -> None:
    assert list(parse(ci(node("f", 48), EDGE.format("f", name, 12)), "a.ci").calls) == [("f", name)]


@pytest.mark.parametrize(
    ("kind", "dynamic"), [("static", False), ("dynamic,bounded", False), ("dynamic", True)]
)
def test_only_an_unbounded_frame_is_dynamic(kind: str, dynamic: bool) -> None:  # noqa: FBT001
    assert parse(ci(node("f", 48, kind=kind)), "a.ci").functions["f"].dynamic is dynamic


def test_a_call_between_clones_is_none_and_one_of_itself_is_one() -> None:
    clones = ci(node("f", 8), node("f.part.0", 8), EDGE.format("f", "f.constprop.0", 3))
    assert parse(clones, "a.ci").calls == {}
    assert ("f", "f") in parse(ci(node("f", 8), EDGE.format("f", "f", 3)), "a.ci").calls


def test_of_clones_the_worst_frame_counts() -> None:
    clones = [node("f", 48), node("f.isra.0", 64), node("f.cold", 16)]
    for text in (ci(*clones), ci(*reversed(clones))):
        found = parse(text, "a.ci").functions
        assert [(function.name, function.bytes) for function in found.values()] == [("f", 64)]


def test_of_equal_calls_the_first_place_is_told() -> None:
    edges = [EDGE.format("f", "g", line) for line in (14, 12, 13)]
    (site,) = parse(ci(node("f", 48), *edges), "a.ci").calls.values()
    assert (site.file, site.line) == ("mm/a.c", 12)


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace(b"node: {", b"nodes: {"),
        GOOD.replace(b" (static)", b""),
        GOOD.replace(b"48 bytes", b"-48 bytes"),
        GOOD.replace(b"48 bytes", b"9" * 5000 + b" bytes"),  # more digits than int() takes
        GOOD.replace(b":10:5", b":" + b"1" * 5000 + b":5"),
        GOOD.replace(b"static", b"elastic"),
        GOOD.replace(b'title: "f"', b'title: "f\x1b[2J"'),
        GOOD.replace(b'targetname: "g"', b'targetname: "g\nnode: {"'),
        GOOD[: GOOD.index(b"edge")] + GOOD[GOOD.index(b"edge") + 9 :],
        GOOD[:-20] + b"\n}\n",
        GOOD + GOOD,
        GOOD + b"\0",
    ],
)
def test_a_line_that_gcc_did_not_write_is_refused(text: bytes) -> None:
    assert text != GOOD
    with pytest.raises(facts.FactsError, match=r"mm/a\.ci is not a call graph") as caught:
        parse(text, "mm/a.ci")
    assert caught.value.file == "mm/a.ci"


def test_the_su_beside_must_agree() -> None:
    assert parse(GOOD, "a.ci", SU) == parse(GOOD, "a.ci")


@pytest.mark.parametrize(
    "su", [b"", SU + SU, SU.replace(b"48", b"49"), SU[:-12], b"\t\t\n", b"\xff\n", b":"]
)
def test_a_su_that_does_not_agree_is_refused(su: bytes) -> None:
    with pytest.raises(facts.FactsError, match="does not agree"):
        parse(GOOD, "a.ci", su)


def test_packing_has_the_bounds_of_unpacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MAX_FILES", 1)
    assert pack.unpack(pack.pack({"a": b""})) == {"a": b""}
    with pytest.raises(pack.PackError, match="2 files, 0 bytes"):
        pack.pack({"a": b"", "b": b""})


def test_a_damaged_pack_is_refused() -> None:
    good = pack.pack({"a": b"stackhog" * 9})
    for place in range(len(good)):  # also makes it encrypted, or packed by another method
        damaged = good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :]
        try:
            pack.unpack(damaged)  # a time stamp may change unseen
        except pack.PackError as error:
            assert "cannot be unpacked" in str(error) or "larger than any" in str(error)  # noqa: PT017


def test_an_entry_that_lies_about_its_size_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * 1_000_000)
    lying = out.getvalue().replace((1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    with pytest.raises(pack.PackError):
        pack.unpack(lying)
