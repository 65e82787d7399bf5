"""The reader of facts files: what it makes of a good one, and of everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.stack import unit
from workers.stack.unit import CallSite, FactsError, Guard, IndirectSource, MixedBuildError

HEAD = "stackhog\t1\t12.2.0\t8\t/build/src/mm/vmscan.c"
BODY = (
    "N\t/build/src/mm/vmscan.c",
    "N\t/build/src/include/linux/mm.h",
    "Y\tc1babc5ab096\ts32(s32)",
    "F\tpageout~\t0:10:1\t96\ts\ta\tc1babc5ab096\t0",
    "c\td\tsubmit_bio\t0:12:3\twrite~,0:11:2",
    "c\ti\t\t0:13:3\t",
    "F\tkswapd\t0:20:1\t48\td\tgwnr\tc1babc5ab096\t8",
    "c\tt\tpageout~\t1:7:2\t",
    "A\tother\tpageout~",
    "D\tR:ops.get\tpageout~\ttable~",
    "G\tpageout~\t0:13:3\t*\t!look()|gfp/0x40&current_is_kswapd()",
    "I\t0:13:3\tc1babc5ab096\tR:ops.get",
    "X\tV:at~\tP:pageout~#0",
    "end\t10",
)

FUNCTION = BODY[3]


def facts(*lines: str, head: str = HEAD) -> bytes:
    return "".join(f"{line}\n" for line in (head, *(lines or BODY))).encode()


def test_every_kind_of_line_is_read() -> None:
    found = unit.parse(facts(), "mm/vmscan.o")
    assert (found.object, found.compiler, found.pointer_bytes) == ("mm/vmscan.o", "12.2.0", 8)
    assert found.files == ["mm/vmscan.c", "include/linux/mm.h"]
    assert found.types == {"c1babc5ab096": "s32(s32)"}
    pageout, kswapd = found.functions
    assert pageout == unit.Function(
        id="pageout@mm/vmscan.o", object="mm/vmscan.o", file="mm/vmscan.c", line=10, frame=96,
        kind="s", weak=False, no_return=False, type="c1babc5ab096", transient=0, aligned=False,
    )  # fmt: skip
    assert (kswapd.id, kswapd.kind, kswapd.transient) == ("kswapd", "d", 8)
    assert (kswapd.weak, kswapd.no_return, kswapd.aligned) == (True, True, True)
    assert found.calls == {
        "pageout@mm/vmscan.o": [
            CallSite("d", "submit_bio", "0:12:3", "write@mm/vmscan.o,0:11:2"),
            CallSite("i", "", "0:13:3", ""),
        ],
        "kswapd": [CallSite("t", "pageout@mm/vmscan.o", "1:7:2", "")],
    }
    assert found.aliases == [("other", "pageout@mm/vmscan.o")]
    assert found.values == [("R:ops.get", "pageout@mm/vmscan.o", "table@mm/vmscan.o")]
    assert found.flows == [("V:at@mm/vmscan.o", "P:pageout@mm/vmscan.o#0")]
    assert found.sources == [IndirectSource("0:13:3", "c1babc5ab096", "R:ops.get")]
    assert found.guards == [
        Guard("pageout@mm/vmscan.o", "0:13:3", "*", "!look()|gfp/0x40&current_is_kswapd()")
    ]
    assert found.at("1:7:2") == ("include/linux/mm.h", 7)
    assert found.at("") == ("", 0)


@pytest.mark.parametrize(
    ("flags", "means"),
    [
        ("", (False, False, False)), ("ga", (False, False, False)), ("w", (True, False, False)),
        ("n", (False, True, False)), ("r", (False, False, True)),
    ],
)  # fmt: skip
def test_every_flag_means_one_thing(flags: str, means: tuple[bool, bool, bool]) -> None:
    (found,) = unit.parse(
        facts(BODY[0], FUNCTION.replace("\ta\t", f"\t{flags}\t"), "end\t1"), "mm/vmscan.o"
    ).functions
    assert (found.weak, found.no_return, found.aligned) == means


@pytest.mark.parametrize(
    ("main", "path", "file"),
    [
        ("/build/src/mm/vmscan.c", "/build/src/mm/vmscan.c", "mm/vmscan.c"),
        ("mm/vmscan.c", "./include/linux/mm.h", "include/linux/mm.h"),
        ("../src/mm/vmscan.c", "../src/include/linux/mm.h", "include/linux/mm.h"),
        ("/build/src/mm/vmscan.c", "/usr/include/stdarg.h", "/usr/include/stdarg.h"),
        ("/build/src/mm/other.c", "/build/src/mm/vmscan.c", "/build/src/mm/vmscan.c"),
    ],
)  # fmt: skip
def test_files_are_relative_to_the_tree(main: str, path: str, file: str) -> None:
    head = f"stackhog\t1\t12.2.0\t8\t{main}"
    found = unit.parse(facts(f"N\t{path}", "end\t0", head=head), "mm/vmscan.o")
    assert found.files == [file]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not a facts file of this version of stackhog"),
        (b"\n", "is not a facts file of this version of stackhog"),
        (b"\x7fELF\x02\x01\x01\x00", "has characters that no facts file has"),
        (b"\xff\xfe", "is not text"),
        (facts()[:-1], "is cut short"),
        (facts()[: len(facts()) // 2], "is cut short"),
        (facts(*BODY[:-1]), "is cut short"),
        (facts(*BODY, "N\tlate.c"), "is cut short"),
        (facts() + b"X", "is cut short"),
        (facts().replace(b"hog\t1\t", b"hog\t2\t"), "is not a facts file of this version"),
        (facts().replace(b"stackhog\t1", b"1\tstackhog"), "is not a facts file of this version"),
        (facts().replace(b"12.2.0\t8\t", b"12.2.0\t"), "is not a facts file of this version"),
        (facts().replace(b"12.2.0\t8\t", b"12.2.0\teight\t"), "is damaged"),
        (facts().replace(b"write", b"wr\x1bte"), "has characters that no facts file has"),
        (facts().replace(b"write", "wr\u202ete".encode()), "has characters that no facts file has"),
        (facts().replace(b"\n", b"\r\n"), "has characters that no facts file has"),
        (facts(FUNCTION.replace("\t96\t", "\t-1\t"), "end\t1"), "is damaged"),
        (facts(BODY[0], FUNCTION.replace("\t96\t", "\t-96\t"), "end\t1"), "is damaged"),
        (facts(BODY[0], FUNCTION.replace("\t0", "\t-8"), "end\t1"), "is damaged"),
        (facts(BODY[0], FUNCTION.replace("\t96\t", f"\t{2**31}\t"), "end\t1"), "is damaged"),
        (facts(BODY[0], FUNCTION.replace("\t96\t", "\t9e1\t"), "end\t1"), "is damaged"),
        (facts(BODY[0], FUNCTION.replace("\ts\t", "\tx\t"), "end\t1"), "is damaged"),
        (facts(BODY[0], FUNCTION.replace("0:10:1", "7:10:1"), "end\t1"), "is damaged"),
        (facts(BODY[0], FUNCTION.rpartition("\t")[0], "end\t1"), "is damaged"),
        (facts(BODY[0], FUNCTION + "\t1", "end\t1"), "is damaged"),
        (facts("c\td\tsubmit_bio", "end\t1"), "is damaged"),
        (facts("X\tV:at", "end\t1"), "is damaged"),
        (facts("Q\twhat", "end\t1"), "is damaged"),
        (facts("", "end\t1"), "is damaged"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_with_the_files_name(data: bytes, words: str) -> None:
    with pytest.raises(FactsError) as caught:
        unit.parse(data, "mm/vmscan.o")
    assert str(caught.value).startswith(f"mm/vmscan.hog {words}")
    assert str(caught.value).endswith(": build the object again")
    assert "\n" not in str(caught.value)
    assert caught.value.file == "mm/vmscan.hog"


def other(old: str, new: str) -> bytes:
    assert old.encode() in facts()
    return facts().replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (other("12.2.0", "13.1.0"), "b/b.o by gcc 13.1.0 for 64 bits"),
        (other("12.2.0\t8", "12.2.0\t4"), "b/b.o by gcc 12.2.0 for 32 bits"),
    ],
)
def test_objects_of_two_builds_are_refused(second: bytes, words: str) -> None:
    files = {"a/a.hog": facts(), "b/b.hog": second, "c/c.hog": facts()}
    with pytest.raises(MixedBuildError) as caught:
        unit.read(files)
    assert str(caught.value) == (
        "the objects come from different builds (a/a.o by gcc 12.2.0 for 64 bits, "
        f"{words}): make clean first"
    )


def test_only_the_running_kernel_is_read() -> None:
    others = ["arch/x86/boot/a", "scripts/b", "arch/x86/entry/vdso/c", "tools/d", "usr/e"]
    files = {f"{name}.hog": other("12.2.0", "9.1.0") for name in others}
    files |= {"mm/b.hog": facts(), "mm/a.hog": facts(), "mm/a.o": b"\x7fELF", "mm/a.su": b""}
    assert [one.object for one in unit.read(files)] == ["mm/a.o", "mm/b.o"]


PIECES = st.sampled_from(
    [
        "\t",
        "\n",
        "~",
        "@",
        ":",
        "0",
        "-1",
        "99:1:1",
        "end\t0\n",
        "F\t",
        "c\t",
        "N\t",
        "\x00",
        "é",
        "",
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a good file with some of its bytes replaced, put in or taken out."""
    data = facts()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.integers(0, 12)))
        put = draw(PIECES.map(str.encode) | st.binary(max_size=6))
        data = data[:at] + put + data[to:]
    return data


@given(mutated() | st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_nothing_else_is_ever_raised(data: bytes) -> None:
    try:
        found = unit.parse(data, "mm/vmscan.o")
    except FactsError:
        return
    assert all(0 <= size <= unit.MAX_FRAME for one in found.functions for size in (one.frame,))
    assert all(0 <= one.transient <= unit.MAX_FRAME for one in found.functions)
    assert all(len(call) == len(CallSite._fields) for some in found.calls.values() for call in some)


@pytest.mark.parametrize(
    "data",
    [
        facts(BODY[0], FUNCTION, "c\td\tg\t9:1:1\t", "end\t2"),
        facts(BODY[0], FUNCTION, "c\td\tg\tx:1:1\t", "end\t2"),
        facts(BODY[0], FUNCTION, "c\td\tg\t0:x:1\t", "end\t2"),
        facts(BODY[0], FUNCTION, "c\td\tg\t-1:1:1\t", "end\t2"),
        facts(BODY[0], FUNCTION, "c\tz\tg\t0:1:1\t", "end\t2"),
        facts("X\tV:at\t", "end\t1"),
        facts("X\t\tf:at", "end\t1"),
        facts("I\t0:1:1\ttype\t", "end\t1"),
        facts(*BODY[:4], *BODY[6:]),
    ],
    ids=["file", "number", "line", "sign", "kind", "from", "to", "source", "lines missing"],
)
@pytest.mark.xfail(strict=True, reason="places, nodes and the number of lines are not looked at")
def test_what_would_only_fail_later_is_damage(data: bytes) -> None:
    with pytest.raises(FactsError):
        unit.parse(data, "mm/vmscan.o")
