"""What a make run's output says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from workers import make
from workers.make import Output

WARNING = """\
  CC      mm/swap.o
  CC      mm/vmscan.o
In file included from /build/src/include/linux/mm.h:7,
                 from /build/src/mm/vmscan.c:17:
/build/src/mm/vmscan.c: In function 'pageout':
/build/src/mm/vmscan.c:1173:13: warning: unused variable 'x' [-Wunused-variable]
 1173 |         int x;
      |             ^
/build/src/mm/vmscan.c:1180:2: note: declared here
  AR      mm/built-in.a
"""
ERROR = """\
  CC      fs/ext4/inode.o
/build/src/fs/ext4/inode.c: In function 'ext4_writepage':
/build/src/fs/ext4/inode.c:2000:9: error: 'foo' undeclared (first use in this function)
 2000 |         foo = 1;
      |         ^~~
make[3]: *** [/build/src/scripts/Makefile.build:250: fs/ext4/inode.o] Error 1
make: *** [/build/src/Makefile:2000: .] Error 2
"""
LINK = """\
  AR      vmlinux.a
  LD      vmlinux.o
ld: vmlinux.o: in function `pageout':
vmscan.c:(.text+0x12): undefined reference to `nowhere'
make: *** [/build/src/Makefile:1: vmlinux] Error 1
"""


def fed(*texts: str) -> Output:
    output = Output()
    for text in texts:
        for line in text.splitlines():
            output.feed(line)
    return output


def test_a_warning_is_read_with_its_lines_object_and_relative_path() -> None:
    (found,) = fed(WARNING).diagnostics()
    assert (found.object, found.file, found.line) == ("mm/vmscan.o", "mm/vmscan.c", 1173)
    assert (found.kind, found.flag) == ("warning", "-Wunused-variable")
    assert found.text == "unused variable 'x'"
    assert found.lines[0] == "In file included from include/linux/mm.h:7,"
    assert found.lines[-1] == "mm/vmscan.c:1180:2: note: declared here"
    assert len(found.lines) == 7


def test_a_failure_is_told_in_gccs_own_lines() -> None:
    assert fed(WARNING, ERROR).failure() == (
        "fs/ext4/inode.c: In function 'ext4_writepage':",
        "fs/ext4/inode.c:2000:9: error: 'foo' undeclared (first use in this function)",
        " 2000 |         foo = 1;",
        "      |         ^~~",
    )


def test_a_failing_link_is_told_in_the_linkers_lines() -> None:
    assert fed(WARNING, LINK).failure() == (
        "ld: vmlinux.o: in function `pageout':",
        "vmscan.c:(.text+0x12): undefined reference to `nowhere'",
        "make: *** [Makefile:1: vmlinux] Error 1",
    )


def test_a_failure_without_known_words_gives_the_last_lines() -> None:
    assert fed("  CC      a.o\nKilled\n").failure() == ("Killed",)


@pytest.mark.parametrize(
    "line", ["  AR      vmlinux.a", "  LD      vmlinux.o", "  LD      .tmp_vmlinux.kallsyms1"]
)
def test_the_first_link_line_says_that_the_objects_are_there(line: str) -> None:
    output = fed("  CC      mm/a.o\n")
    assert not output.objects_done
    output.feed(line)
    output.feed("  CC      init/version-timestamp.o")
    assert output.objects_done
    assert output.objects == ["mm/a.o"]


@pytest.mark.parametrize(
    "line",
    ["  AR      mm/built-in.a", "  AR      built-in.a", "  LD      fs/ext4/ext4.o", "vmlinux.o",
     "  CC      vmlinux.o", "  LDS     arch/x86/kernel/vmlinux.lds", "  LD      xvmlinux.o"],
)  # fmt: skip
def test_other_lines_do_not(line: str) -> None:
    assert not fed(line).objects_done


@pytest.mark.parametrize(
    ("line", "objects"),
    [
        ("  CC      mm/vmscan.o", ["mm/vmscan.o"]),
        ("  CC [M]  fs/ext4/inode.o", ["fs/ext4/inode.o"]),
        ("  HOSTCC  scripts/kallsyms.o", []),
        ("  CC      mm/vmscan.s", []),
        ("CC mm/vmscan.o", []),
        ("  AS      entry.o", []),
    ],
)
def test_compiled_objects_are_counted(line: str, objects: Sequence[str]) -> None:
    assert fed(line).objects == objects


@pytest.mark.parametrize(
    "line",
    ["mm/a.c: warning: no line", "warning: bare", ":1:2: warning: no file", "a.c:x:1: error: y",
     "mm/a.c:1:2: note: aside", "mm/a.c:1:2 error: no colon"],
)  # fmt: skip
def test_what_only_looks_like_a_message_is_none(line: str) -> None:
    assert fed(line).diagnostics() == ()


def test_a_flood_of_output_is_cut() -> None:
    output = Output()
    for _ in range(make.MAX_KEPT + 5):
        output.feed("x" * 5000)
    assert output.cut
    assert len(output.lines) == make.MAX_KEPT
    assert {len(line) for line in output.lines} == {2000}


def test_equal_messages_on_other_lines_have_one_key() -> None:
    moved = WARNING.replace("1173:13", "1200:13")
    (one,), (two,) = fed(WARNING).diagnostics(), fed(moved).diagnostics()
    assert one.key == two.key
    assert one.line != two.line
