"""Configurations read back, answers of the solver read, and what compiles which file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gitmail import MINIATURE
from workers import kbuild, kbuild_cmd, kconfig

DOT_CONFIG = """\
# Automatically generated file; DO NOT EDIT.
CONFIG_A=y
CONFIG_HZ=250
CONFIG_NAME="x y"
# CONFIG_OFF is not set
"""


def test_a_configuration_is_read() -> None:
    assert kconfig.parse(DOT_CONFIG) == {"A": "y", "HZ": "250", "NAME": '"x y"', "OFF": "n"}


@pytest.mark.parametrize(
    ("wanted", "dropped"),
    [
        (["CONFIG_A=y"], ()), (["CONFIG_HZ=250"], ()), (["# CONFIG_OFF is not set"], ()),
        (["# CONFIG_NEVER_HEARD_OF is not set"], ()), (["CONFIG_B=y"], ("CONFIG_B=y",)),
        (["CONFIG_A=m"], ("CONFIG_A=m",)), (["CONFIG_HZ=100"], ("CONFIG_HZ=100",)),
        (["# CONFIG_A is not set"], ("# CONFIG_A is not set",)),
        (["CONFIG_OFF=y"], ("CONFIG_OFF=y",)),
    ],
)  # fmt: skip
def test_dropped_options_are_found(wanted: list[str], dropped: tuple[str, ...]) -> None:
    assert kconfig.dropped(wanted, DOT_CONFIG) == dropped


def test_a_dropped_option_is_an_error_that_names_it() -> None:
    with pytest.raises(kconfig.DroppedOptionsError, match="CONFIG_B=y") as caught:
        kconfig.check(["CONFIG_A=y", "CONFIG_B=y"], DOT_CONFIG)
    assert caught.value.options == ("CONFIG_B=y",)


def answer(**fields: object) -> bytes:
    one = {"request": "A", "assignments": ["CONFIG_A=y", "CONFIG_B=n"], "reason": "", **fields}
    return b"noise\n" + json.dumps({"answers": [one]}).encode()


def test_the_solvers_answer_is_read() -> None:
    (found,) = kconfig.read_answers(answer(), ["A"])
    assert found.options == ("CONFIG_A=y", "# CONFIG_B is not set")


@pytest.mark.parametrize(
    "output",
    [b"", b"Traceback", b"{}", b"[]", b'{"answers": 3}', answer(assignments=["rm -rf /"]),
     answer(assignments=["CONFIG_A=y\nCONFIG_B=y"]), answer(request="B"), answer(more=1),
     b"[" * 100_000],
)  # fmt: skip
def test_an_answer_that_is_none_is_refused(output: bytes) -> None:
    with pytest.raises(kconfig.SolverFailedError):
        kconfig.read_answers(output, ["A"])


def solve(tmp_path: Path, *requests: str) -> list[dict[str, object]]:
    """Run the solver as the sandbox runs it, on the Kconfig of the kernel in miniature."""
    for path in (kconfig.SOLVER, kconfig.KCONFIGLIB):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / ".config").write_text("CONFIG_CORE=y\n")
    script = str(tmp_path / kconfig.SOLVER.name)
    command = kconfig.solver_command(
        script, str(MINIATURE), str(tmp_path / ".config"), requests,
        kconfig.environment("x86_64", "gcc"),
    )  # fmt: skip
    done = subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True)
    found = kconfig.read_answers(done.stdout, requests)
    return [one.model_dump() for one in found]


def test_symbols_are_switched_on_with_what_they_depend_on(tmp_path: Path) -> None:
    mini, other = solve(tmp_path, "MINI_FS", "OTHER_FS")
    assert mini["assignments"] == ("CONFIG_MINI_FS=y",)
    assert other["assignments"] == ("CONFIG_MISC_FILESYSTEMS=y", "CONFIG_OTHER_FS=y")


def test_what_cannot_be_switched_on_has_a_reason(tmp_path: Path) -> None:
    alien, unknown = solve(tmp_path, "ALIEN", "NOWHERE")
    assert alien["assignments"] == unknown["assignments"] == ()
    assert "ALIEN" in str(alien["reason"])
    assert unknown["reason"] == "CONFIG_NOWHERE is in no Kconfig file of the tree"


def test_the_first_way_that_works_is_taken(tmp_path: Path) -> None:
    (found,) = solve(tmp_path, "ALIEN|MINI_FS")
    assert found["assignments"] == ("CONFIG_MINI_FS=y",)


@pytest.mark.parametrize(
    ("file", "request_"),
    [
        ("mm/vmscan.c", ""), ("fs/minifs/inode.c", "MINI_FS"), ("fs/otherfs/inode.c", "OTHER_FS"),
        ("fs/alien.c", "ALIEN"),
    ],
)  # fmt: skip
def test_what_compiles_a_file_is_read_off_the_makefiles(file: str, request_: str) -> None:
    found = kbuild.gates(MINIATURE, file)
    assert (found.request, found.reason) == (request_, "")
    assert found.object == file.replace(".c", ".o")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("arch/arm64/mm/fault.c", "arm64"), ("Documentation/x.rst", "documentation"),
        ("tools/perf/x.c", "build machine"), ("mm/nobody.c", "no Makefile"), ("../x.c", "inside"),
        ("mm/README", "not a C or assembly file"),
    ],
)  # fmt: skip
def test_a_file_that_is_never_compiled_has_a_reason(file: str, words: str) -> None:
    assert words in kbuild.gates(MINIATURE, file).reason


@pytest.mark.parametrize(
    ("makefile", "request_"),
    [
        ("obj-y += a.o\n", ""), ("obj-$(CONFIG_X) += a.o\n", "X"),
        ("obj-$(CONFIG_X) += b.o \\\n\ta.o\n", "X"),
        ("obj-$(CONFIG_X) += c.o\nc-y := b.o a.o\n", "X"),
        ("obj-$(CONFIG_X) += c.o\nc-objs := a.o\n", "X"),
        ("obj-$(CONFIG_X) += c.o\nc-$(CONFIG_Y) += a.o\n", "X,Y"),
        ("obj-$(CONFIG_X) += a.o\nobj-$(CONFIG_Y) += a.o\n", "X|Y"),
    ],
)  # fmt: skip
def test_makefiles_are_read_as_kbuild_reads_them(
    tmp_path: Path, makefile: str, request_: str
) -> None:
    (tmp_path / "mm").mkdir()
    (tmp_path / "Kbuild").write_text("obj-y += mm/\n")
    (tmp_path / "mm" / "Makefile").write_text(makefile)
    assert kbuild.gates(tmp_path, "mm/a.c").request == request_


@pytest.fixture
def objects(tmp_path: Path) -> tuple[Path, Path]:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    for layer, name in ((upper, "a"), (lower, "b")):
        (layer / "mm").mkdir(parents=True)
        (layer / "mm" / f".{name}.o.cmd").write_text(
            f"source_mm/{name}.o := /build/src/mm/{name}.c\n\ndeps_mm/{name}.o := \\\n"
            f"  /build/src/include/{name}.h \\\n  /build/src/include/both.h \\\n"
            "    $(wildcard include/config/X) \\\n"
        )
    return upper, lower


def test_compiled_files_and_included_headers_are_found(objects: tuple[Path, Path]) -> None:
    files = ["mm/a.c", "mm/b.c", "mm/c.c", "include/a.h", "include/both.h", "include/none.h", "mm/a.h"]  # noqa: E501 # fmt: skip
    found = kbuild_cmd.not_compiled(objects, files, "/build/src")
    assert found == ("include/none.h", "mm/a.h", "mm/c.c")
    assert kbuild_cmd.not_compiled(objects[:1], ["mm/b.c", "include/b.h"], "/build/src") == (
        "include/b.h", "mm/b.c",
    )  # fmt: skip
