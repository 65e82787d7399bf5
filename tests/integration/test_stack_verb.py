"""`stackhog stack` as a maintainer runs it: what is wrong with a directory is one sentence."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, STACKHOG, one_line
from workers.stack import plugin

SOURCE = "int sink(int); int f(int x) { char b[64]; return sink(b[x & 7]) + 1; }\n"


@pytest.fixture(scope="session")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [
        "-O2", "-fstack-usage", "-fcallgraph-info=su,da",
        f"-fplugin={plugin.ensure(tmp_path_factory.mktemp('plugin'), 'gcc')}",
    ]  # fmt: skip


@pytest.fixture
def objects(tmp_path: Path, flags: list[str]) -> Path:
    """Return a directory that looks like a kernel's, with two objects in it."""
    made = tmp_path / "build"
    (made / "mm").mkdir(parents=True)
    (made / ".config").write_text("CONFIG_64BIT=y\nCONFIG_X86_64=y\n")
    (made / "vmlinux").write_bytes(b"")
    for name in ("one", "two"):
        compile_(made, name, SOURCE.replace("f(", f"{name}("), *flags)
    return made


def compile_(made: Path, name: str, source: str, *flags: str) -> None:
    (made / "mm" / f"{name}.c").write_text(source)
    argv = ["gcc", *flags, "-c", f"mm/{name}.c", "-o", f"mm/{name}.o"]
    subprocess.run(argv, cwd=made, check=True)


def stack(*words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [*STACKHOG, "stack", *map(str, words)]
    return subprocess.run(argv, cwd=ROOT, check=False, text=True, capture_output=True)


def refused(*words: str | Path) -> str:
    done = stack(*words)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    return one_line(done.stderr)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    assert "is not a directory" in refused(tmp_path / "nowhere")


def test_no_directory_at_all() -> None:
    done = stack()
    assert done.returncode == 2
    assert "Missing argument 'OBJDIR'" in done.stderr


def test_objects_that_were_built_without_our_flags(objects: Path, flags: list[str]) -> None:
    compile_(objects, "one", SOURCE, "-O2")
    for name in ("one.hog", "two.hog", "one.su", "two.su"):
        (objects / "mm" / name).unlink()
    assert "build the kernel with the flags that `stackhog stack --flags` prints" in refused(
        objects
    )
    compile_(objects, "two", SOURCE, *flags)
    compile_(objects, "one", SOURCE, "-O2", "-fstack-usage")
    assert "mm/one.o was compiled without the plugin" in refused(objects)


def test_half_a_build(objects: Path) -> None:
    (objects / "vmlinux").unlink()
    assert "half a build" in refused(objects)


def test_objects_of_two_compilers(objects: Path) -> None:
    path = objects / "mm/one.hog"
    head, _, rest = path.read_text().partition("\n")
    fields = head.split("\t")
    fields[2] = "4.9.0"
    path.write_text("\t".join(fields) + "\n" + rest)
    assert "different builds" in refused(objects)


@pytest.mark.parametrize("left", [0.0, 0.5, 0.98])
def test_a_facts_file_that_was_cut_short(objects: Path, left: float) -> None:
    path = objects / "mm/one.hog"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * left)])
    assert "mm/one.hog" in refused(objects)


@pytest.mark.parametrize(
    "line",
    [
        "x\ty", "F\tf", "c\td", "I\t0:1:1", "F\tf\t0:1:1\t-5\ts\t\t00\t0",
        "F\tf\t9:1:1\t5\ts\t\t00\t0",
    ],
)  # fmt: skip
def test_a_facts_file_with_a_wrong_line(objects: Path, line: str) -> None:
    path = objects / "mm/one.hog"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:-2], line, *lines[-2:]]))
    assert "mm/one.hog is damaged: build the object again" in refused(objects)


def test_a_facts_file_with_control_characters(objects: Path) -> None:
    path = objects / "mm/one.hog"
    path.write_text(path.read_text().replace("sink", "si\x1b[31mnk"))
    assert "\x1b" not in refused(objects)


def test_an_architecture_of_which_nothing_is_known(objects: Path) -> None:
    (objects / ".config").write_text("CONFIG_MIPS=y\n")
    said = refused(objects)
    assert "nothing is known of the stack of this architecture" in said
    assert "x86_64" in said


def test_a_directory_without_configuration(objects: Path) -> None:
    (objects / ".config").unlink()
    assert "has no .config" in refused(objects)


def test_a_profile_that_is_not_there(objects: Path) -> None:
    said = refused(objects, "--profile", "nothing")
    assert "no profile is called nothing" in said
    assert "direct-reclaim-writepage" in said


def test_a_kernel_without_reclaim(objects: Path) -> None:
    assert "does not have what" in refused(objects)


def test_a_base_that_is_of_another_architecture(objects: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["cp", "-a", objects, other], check=True)  # noqa: S607
    (other / ".config").write_text("CONFIG_ARM64=y\n")
    assert "different architectures" in refused(objects, "--base", other)


def test_dumps_are_held_against_the_graph(objects: Path, tmp_path: Path) -> None:
    dump = tmp_path / "stack_trace"
    dump.write_text("  0)  100  8  sink+0x1/0x2\n  1)  92  80  one+0x1/0x9\n")
    done = stack(objects, "--observed", dump, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["edges"], found["direct"], found["missing"]) == (1, 1, [])
    dump.write_text("  0)  100  8  two+0x1/0x2\n  1)  92  80  one+0x1/0x9\n")
    assert "missing: one() -> two() (1 times)" in stack(objects, "--observed", dump).stdout
    dump.write_text("hello\n")
    assert "line 1 is not what ftrace" in refused(objects, "--observed", dump)


def test_the_flags_build_what_the_verb_reads(tmp_path: Path) -> None:
    printed = stack("--flags").stdout.split()
    (tmp_path / "mm").mkdir()
    compile_(tmp_path, "one", SOURCE, "-O2", *printed)
    assert (tmp_path / "mm/one.hog").exists()
    assert (tmp_path / "mm/one.ci").exists()
