"""Stack facts: side files read, packed, compared."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bot.contract import FactsAfter, StackRequest
from workers.stack import answer, compare, facts, pack

NODE = 'node: {{ title: "{title}" label: "{name}\\n/build/src/{file}:{line}:5\\n{size} bytes ({kind})\\n0 dynamic objects" }}\n'  # noqa: E501 - as gcc writes it
EDGE = 'edge: {{ sourcename: "{0}" targetname: "{1}" label: "/build/src/mm/a.c:{2}:3" }}\n'


def ci(*parts: str) -> bytes:
    return ('graph: { title: "/build/src/mm/a.c"\n' + "".join(parts) + "}\n").encode()


def node(name: str, size: int, line: int = 10, kind: str = "static", file: str = "mm/a.c") -> str:
    return NODE.format(title=name, name=name, file=file, line=line, size=size, kind=kind)


def test_a_call_graph_is_read() -> None:
    text = ci(
        NODE.format(title="/build/src/mm/a.c:f", name="f", file="mm/a.c", line=10, size=48,
                    kind="static"),
        'node: { title: "g" label: "g\\ninclude/x.h:3:1" shape : ellipse }\n',
        EDGE.format("/build/src/mm/a.c:f", "g", 12),
        EDGE.format("/build/src/mm/a.c:f", "__fentry__", 10),
        EDGE.format("/build/src/mm/a.c:f", "__indirect_call", 13),
    )  # fmt: skip
    found = facts.parse(text, "mm/a.ci")
    (function,) = found.functions.values()
    assert (function.name, function.file, function.line, function.bytes) == ("f", "mm/a.c", 10, 48)
    assert sorted(callee for _, callee in found.calls) == ["g", "indirect call"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("f", "f"), ("f.isra.0", "f"), ("f.constprop.0.isra.1", "f"), ("f.cold", "f"),
        ("f.part.0", "f.part"), ("f.part.0.isra.0", "f.part"), ("f.isra.0.cold", "f"),
        ("isra", "isra"), ("part", "part"), ("constprop.f", "constprop.f"),
    ],
)  # fmt: skip
def test_clones_are_named_after_their_function(name: str, expected: str) -> None:
    assert facts.plain(name) == expected


@pytest.mark.parametrize(
    "text", [b"", b"graph", b"graph: { title", b"\x7fELF", ci(node("f", 1))[:-3]]
)
def test_what_gcc_did_not_write_is_refused_by_name(text: bytes) -> None:
    with pytest.raises(facts.FactsError, match=r"mm/a\.ci"):
        facts.parse(text, "mm/a.ci")


def test_renumbered_clones_are_the_same() -> None:
    before = compare.read({"a.ci": ci(node("f.isra.0", 48))})
    after = compare.read({"a.ci": ci(node("f.isra.1", 48))})
    assert compare.compare(before, [(1, after)]).frames == ()


def test_other_link_units_are_left_out() -> None:
    files = {"arch/x86/boot/a.ci": ci(), "arch/x86/entry/vdso/a.ci": ci(), "mm/a.ci": ci()}
    assert list(compare.read(files)) == ["mm/a.o"]


def test_an_inline_function_of_many_objects_is_told_once() -> None:
    def both(size: int) -> dict[str, facts.ObjectFacts]:
        text = ci(node("f", size, file="include/linux/mm.h"))
        return compare.read({"mm/a.ci": text, "mm/b.ci": text})

    (frame,) = compare.compare(both(16), [(1, both(400))]).frames
    assert (frame.object, frame.file) == ("mm/a.o", "include/linux/mm.h")


def test_a_pack_is_the_same_for_the_same_files() -> None:
    files = {"b.ci": b"2", "a.ci": b"1"}
    assert pack.pack(files) == pack.pack(dict(reversed(files.items())))
    assert pack.unpack(pack.pack(files)) == files


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"x" * 100])
def test_what_is_no_pack_is_refused(data: bytes) -> None:
    with pytest.raises(pack.PackError):
        pack.unpack(data)


def test_a_pack_beyond_all_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MAX_BYTES", 10)
    with pytest.raises(pack.PackError, match="larger than any honest"):
        pack.unpack(pack.pack({"a": b"x" * 11}))


def test_a_request_is_answered_from_artifacts() -> None:
    store = {
        "base": pack.pack({"mm/a.ci": ci(node("f", 48))}),
        "one": pack.pack({"mm/a.ci": ci(node("f", 560))}),
    }
    request = StackRequest(base_facts="base", after=(FactsAfter(index=1, facts="one"),))
    (frame,) = answer.answer(request, store.__getitem__).frames
    assert (frame.before, frame.after) == (48, 560)


def test_the_answer_does_not_hang_on_the_hash_seed() -> None:
    program = (
        "from tests.unit.test_stack import *\n"
        "names = [f'f{n}' for n in range(40)]\n"
        "def of(k): return compare.read({'mm/a.ci': ci(*(node(n, 48 + k * i, 10 * i)"
        " for i, n in enumerate(names)), *(EDGE.format(n, f'{n}x{k}', 5) for n in names))})\n"
        "print(compare.compare(of(0), [(1, of(1)), (2, of(2))]).model_dump_json())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "4711")
    }  # fmt: skip
    assert len(outputs) == 1
    assert len(outputs.pop()) > 5000
