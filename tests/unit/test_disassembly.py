"""What tests/bench/disassembly.py reads off programs whose answers are known by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.bench.disassembly import Function, Kind, Site, read, stackusage

KERNEL = (
    "-ffreestanding", "-fno-pie", "-fcf-protection=none", "-fno-asynchronous-unwind-tables",
    "-fno-stack-protector", "-fno-stack-clash-protection", "-mno-sse", "-mno-80387",
)  # fmt: skip
WIDE = ("-m64", "-mno-red-zone", "-mpreferred-stack-boundary=3")
NARROW = ("-m32", "-mpreferred-stack-boundary=2", "-mregparm=3")

Build = Callable[..., dict[str, Function]]


def run(*words: str | Path, cwd: Path) -> None:
    done = subprocess.run(words, cwd=cwd, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stderr


def compiled(
    top: Path, sources: dict[str, str] | str, flags: Sequence[str], link: Sequence[str] = ()
) -> dict[str, Function]:
    """Compile sources, name to text, link them as a kernel is linked, and read the program."""
    files = {"all.S": sources} if isinstance(sources, str) else sources
    objects = []
    for name, text in files.items():
        (top / name).write_text(text)
        run("gcc", *KERNEL, *flags, "-c", name, cwd=top)
        objects.append(f"{Path(name).stem}.o")
    machine = "elf_i386" if "-m32" in flags else "elf_x86_64"
    run("ld", "-m", machine, "-e", "0", *link, "-o", "program", *objects, cwd=top)
    return read(top / "program")


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def build(
        sources: dict[str, str] | str, flags: Sequence[str] = WIDE, link: Sequence[str] = ()
    ) -> dict[str, Function]:
        return compiled(tmp_path, sources, flags, link)

    return build


def function(name: str, body: str, section: str = ".text") -> str:
    """Return an assembler function, its instructions separated by semicolons."""
    return (
        f'.section {section}, "ax", @progbits\n.globl {name}\n.type {name}, @function\n'
        f"{name}: {body}\n.size {name}, . - {name}\n"
    )


def kinds(found: Function) -> list[tuple[Kind, tuple[str, ...]]]:
    return [(site.kind, site.targets) for site in found.sites]


Frames = dict[str, tuple[str, int | None, bool]]

FRAMES: Frames = {
    "nothing": ("ret", 8, False),
    "a push": ("push %rbx; pop %rbx; ret", 16, False),
    "sub": ("sub $0x28, %rsp; add $0x28, %rsp; ret", 48, False),
    "a negative add": ("add $-128, %rsp; sub $-128, %rsp; ret", 136, False),
    "lea": ("lea -0x18(%rsp), %rsp; lea 0x18(%rsp), %rsp; ret", 32, False),
    "pushes of values": ("push $1; push 8(%rdi); add $16, %rsp; ret", 24, False),
    "a short push": ("pushw $1; push %ax; add $4, %rsp; ret", 12, False),
    "flags": ("pushf; pop %rax; push %rax; popf; ret", 16, False),
    "popcnt is no pop": ("push %rbx; popcnt %rax, %rax; pop %rbx; ret", 16, False),
    "a frame pointer": (
        ("push %rbp; mov %rsp, %rbp; push %rbx; sub $8, %rsp; lea -8(%rbp), %rsp; pop %rbx; leave;"
         "ret"), 32, False,
    ),
    "leave": ("push %rbp; mov %rsp, %rbp; sub $0x80, %rsp; leave; ret", 144, False),
    "enter": ("enter $0x20, $0; leave; push %rax; pop %rax; ret", 48, False),
    "the pointer restored": (
        "push %rbp; mov %rsp, %rbp; sub $0x10, %rsp; mov %rbp, %rsp; pop %rbp; ret", 32, False,
    ),
    "a pointer elsewhere in the frame": (
        "sub $0x40, %rsp; lea 0x20(%rsp), %rbp; push %rax; lea 0x20(%rbp), %rsp; ret", 80, False,
    ),
    "arguments": ("push $1; push $2; call g; add $16, %rsp; ret", 24, False),
    "shrink-wrapped": ("test %edi, %edi; je 1f; push %rbx; call g; pop %rbx; 1: ret", 16, False),
    "a loop": ("1: push %rax; pop %rax; dec %edi; jne 1b; ret", 16, False),
    "a read of the pointer": ("cmp %rax, %rsp; mov %rsp, %rdi; add %rsp, %rax; ret", 8, False),
    "a variable array": ("push %rbp; mov %rsp, %rbp; sub %rax, %rsp; leave; ret", None, True),
    "another stack": ("mov %rsp, (%r11); mov %r11, %rsp; call g; pop %rsp; ret", None, True),
    "exchanged stacks": ("xchg %rsp, (%rdi); ret", None, True),
    "a frame pointer that is none": ("push %rbp; mov %rdi, %rbp; leave; ret", None, True),
    "pushes without end": ("1: push %rax; dec %edi; jne 1b; ret", None, True),
    # 16 bytes, then 24 more at worst, then 32
    "aligned": (
        "push %rbp; mov %rsp, %rbp; and $-32, %rsp; sub $32, %rsp; leave; ret", 72, True,
    ),
    # 8 bytes, 8 more at worst, the return address again, two pushes, 64
    "aligned, with arguments": (
        ("lea 8(%rsp), %r10; and $-16, %rsp; push -8(%r10); push %rbp; mov %rsp, %rbp; push %r10;"
         "sub $64, %rsp; call g; mov -8(%rbp), %r10; leave; lea -8(%r10), %rsp; ret"), 104, True,
    ),
    "an interrupt return to the next instruction": (
        ("mov %ss, %eax; push %rax; push %rsp; addq $8, (%rsp); pushf; mov %cs, %eax; push %rax;"
         "push $1f; iretq; 1: push %rbx; pop %rbx; ret"), 48, False,
    ),
    "a filled return stack": (
        ("mov $8, %eax; 1: call 2f; int3; 2: call 3f; int3; 3: add $16, %rsp; dec %eax; jne 1b;"
         "ret"), 24, False,
    ),
    "its own address": ("call 1f; 1: pop %rax; ret", 16, False),
    "a subroutine": (
        "push %rbx; call 1f; call 1f; pop %rbx; ret; 1: push %rcx; pop %rcx; ret", 32, False,
    ),
}  # fmt: skip


NARROW_FRAMES: Frames = {
    "nothing": ("ret", 4, False),
    "pushes": ("push %ebx; push $1; add $4, %esp; pop %ebx; ret $4", 12, False),
    "all registers": ("pusha; popa; ret", 36, False),
    "a frame": ("push %ebp; mov %esp, %ebp; sub $0x14, %esp; leave; ret", 28, False),
    "aligned": (
        ("lea 4(%esp), %ecx; and $-16, %esp; push -4(%ecx); push %ebp; mov %esp, %ebp; push %ecx;"
         "sub $20, %esp; mov -4(%ebp), %ecx; leave; lea -4(%ecx), %esp; ret"), 48, True,
    ),
    # 8 bytes, 4 more at worst, the return address again, two pushes, 20
    "aligned, its register saved": (
        ("push %edi; lea 8(%esp), %edi; and $-8, %esp; push -4(%edi); push %ebp; mov %esp, %ebp;"
         "push %edi; sub $20, %esp; leave; lea -8(%edi), %esp; pop %edi; ret"), 44, True,
    ),
    "dynamic": ("push %ebp; mov %esp, %ebp; sub %eax, %esp; leave; ret", None, True),
    "its own address": ("call 1f; 1: pop %eax; ret", 8, False),
}  # fmt: skip


def together(frames: Frames) -> str:
    """Return one program with all cases, f0 and so on."""
    bodies = (body for body, _, _ in frames.values())
    return function("g", "ret") + "".join(function(f"f{i}", b) for i, b in enumerate(bodies))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Function]:
    return compiled(tmp_path_factory.mktemp("wide"), together(FRAMES), WIDE)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Function]:
    return compiled(tmp_path_factory.mktemp("narrow"), together(NARROW_FRAMES), NARROW)


@pytest.mark.parametrize("case", FRAMES)
def test_the_stack_pointer_is_followed(case: str, wide: dict[str, Function]) -> None:
    _, frame, dynamic = FRAMES[case]
    found = wide[f"f{list(FRAMES).index(case)}"]
    assert (found.frame, found.dynamic) == (frame, dynamic)
    assert bool(found.doubts) == (case == "pushes without end"), found.doubts


@pytest.mark.parametrize("case", NARROW_FRAMES)
def test_so_it_is_on_i386(case: str, narrow: dict[str, Function]) -> None:
    _, frame, dynamic = NARROW_FRAMES[case]
    found = narrow[f"f{list(NARROW_FRAMES).index(case)}"]
    assert (found.frame, found.dynamic, found.doubts) == (frame, dynamic, ())


def test_the_kinds_of_sites(build: Build) -> None:
    found = build(
        function("f", "call g; call *%rax; call *8(%rdi); je g; jmp *%rax")
        + function("g", "call __fentry__; call f + 1; jmp __SCT__x")
        + function("h", "1: dec %edi; jne 1b; je h; call h; jmp *table(,%rdi,8)")
        + function("__SCT__x", "jmp h")
        + function("__fentry__", "ret")
        + ".data\ntable: .quad f, g\n"
    )
    assert kinds(found["f"]) == [
        (Kind.CALL, ("g",)),
        (Kind.INDIRECT, ()),
        (Kind.INDIRECT, ()),
        (Kind.TAIL, ("g",)),
        (Kind.INDIRECT_TAIL, ()),
    ]
    assert found["f"].sites[0] == Site(found["f"].address, Kind.CALL, ("g",), found["g"].address)
    assert kinds(found["g"]) == [(Kind.CALL, ("f+0x1",)), (Kind.TAIL, ("__SCT__x",))]
    assert kinds(found["h"]) == [(Kind.CALL, ("h",)), (Kind.INDIRECT_TAIL, ())]
    assert kinds(found["__SCT__x"]) == [(Kind.TAIL, ("h",))]


def test_thunks_are_what_they_stand_for(build: Build) -> None:
    found = build(
        function("f", "push %rbx; call __x86_indirect_thunk_rax; pop %rbx; je 1f;"
                 "jmp __x86_indirect_thunk_array; 1: jmp __x86_return_thunk")
        + function("g", "call f; push %rbx; pop %rbx; ret")
        + function("__x86_indirect_thunk_rax", "call 1f; 2: jmp 2b; 1: mov %rax, (%rsp); ret")
        + function("__x86_indirect_thunk_array", "jmp *%rax")
        + function("__x86_return_thunk", "ret; int3")
    )  # fmt: skip
    assert kinds(found["f"]) == [(Kind.INDIRECT, ()), (Kind.INDIRECT_TAIL, ())]
    assert (found["f"].frame, found["f"].doubts) == (16, ())
    assert (found["g"].frame, found["g"].doubts) == (16, ())


def test_nothing_comes_behind_a_call_that_does_not_come_back(build: Build) -> None:
    found = build(
        function("f", "push %rbx; test %edi, %edi; je 1f; pop %rbx; ret; 1: sub $64, %rsp;"
                 "call stop; nop")
        + function("g", "test %edi, %edi; jne f; call stops; push %rax")
        + function("stops", "sub $8, %rsp; call stop")
        + function("stop", "1: pause; jmp 1b")
        + function("even", "dec %edi; je 1f; jmp odd; 1: ret")
        + function("odd", "push %rbx; call even; push %rcx; pop %rcx; pop %rbx; ret")
    )  # fmt: skip
    assert (found["f"].frame, found["f"].doubts) == (80, ())
    assert found["g"].frame == 8
    assert ["is not reached" in doubt for doubt in found["g"].doubts] == [True]
    assert found["odd"].frame == 24


SWITCH = """
void a(void), b(void), c(void), d(void), e(void), use(char *);
extern void (*jump[])(void);
void sw(int x)
{
    switch (x) {
    case 0: a(); a(); break;
    case 1: b(); b(); break;
    case 2: c(); c(); break;
    case 3: d(); d(); break;
    case 4: e(); e(); break;
    case 5: { char big[256]; use(big); break; }
    case 6: a(); b(); break;
    case 7: b(); c(); break;
    }
}
void array(int x) { jump[x](); }
"""
CALLEES = "".join(f'void {name}(void) {{ asm volatile(""); }}\n' for name in "abcde") + (
    'void use(char *x) { asm volatile("" :: "r"(x)); }\nvoid (*jump[])(void) = { a, b, c, d, e };\n'
)


@pytest.mark.parametrize(
    ("flags", "link"),
    [
        (("-fno-pie",), ()),
        (("-fno-pie", "-fcf-protection=branch"), ()),
        (("-fpie",), ("-pie", "--no-dynamic-linker")),
        (("-fno-pie", "-mindirect-branch=thunk-inline", "-fno-jump-tables"), ()),
    ],
)
def test_a_switch_is_no_tail_jump(
    flags: Sequence[str], link: Sequence[str], build: Build, tmp_path: Path
) -> None:
    flags = ("-O2", "-fstack-usage", *WIDE, *flags)
    found = build({"one.c": SWITCH, "two.c": CALLEES}, flags, link=link)
    assert found["sw"].frame == stackusage(tmp_path)["one.c", "sw"] > 256
    assert {site.kind for site in found["sw"].sites} == {Kind.CALL, Kind.TAIL}
    assert {name for site in found["sw"].sites for name in site.targets} == {*"abcde", "use"}
    assert not any("reached" in doubt for doubt in found["sw"].doubts)
    if "thunk" not in flags[-2]:
        assert kinds(found["array"]) == [(Kind.INDIRECT_TAIL, ())]


def test_a_switch_on_i386(build: Build, tmp_path: Path) -> None:
    flags = ("-O2", "-fstack-usage", *NARROW)
    found = build({"one.c": SWITCH, "two.c": CALLEES}, flags)
    assert found["sw"].frame == stackusage(tmp_path)["one.c", "sw"] > 256
    assert {site.kind for site in found["sw"].sites} == {Kind.CALL, Kind.TAIL}
    assert not found["sw"].doubts
    assert kinds(found["array"]) == [(Kind.INDIRECT_TAIL, ())]


def test_a_table_through_a_register(build: Build) -> None:
    found = build(
        function("f", "mov table(,%rdi,8), %rax; mov %rsi, %rcx; push %rbx; jmp *%rax;"
                 "1: push %rcx; pop %rcx; 2: pop %rbx; ret")
        + function("g", "mov $more, %rdx; jmp *(%rdx,%rdi,8); 3: push %rcx; pop %rcx; 4: ret")
        + ".section .rodata\ntable: .quad 1b, 2b\nmore: .quad 3b, 4b\n"
    )  # fmt: skip
    assert (found["f"].frame, found["f"].sites, found["f"].doubts) == (24, (), ())
    assert (found["g"].frame, found["g"].sites, found["g"].doubts) == (16, (), ())


def test_a_jump_to_who_knows_where_is_doubted_when_the_frame_stands(build: Build) -> None:
    found = build(function("f", "push %rbx; jmp *%rax"))["f"]
    assert kinds(found) == [(Kind.INDIRECT_TAIL, ())]
    assert found.doubts == ("jumps to an address in a register with 16 bytes on the stack",)


COLD = """
void report(int, char *);
static __attribute__((noinline, cold)) void odd(int x) { char y[200]; report(x, y); }
static __attribute__((noinline)) int twin(int x)
{
    if (__builtin_expect(x == 7, 0)) { odd(x); odd(x + MORE); }
    return x;
}
int name(int x) { return twin(x) + 1; }
"""


def test_cold_parts_belong_to_their_function(build: Build) -> None:
    flags = ("-O2", "-freorder-blocks-and-partition", *WIDE)
    found = build(
        {
            "one.c": "#define MORE 1\n" + COLD.replace("name", "one"),
            "two.c": "#define MORE 2\n" + COLD.replace("name", "two").replace("y[200]", "y[400]"),
            "end.c": 'void report(int x, char *y) { asm volatile("" :: "r"(x), "r"(y)); }',
        },
        flags,
    )
    assert "twin" not in found
    assert not any("cold" in name for name in found)
    for file, odd in (("one.c", 200 + 8), ("two.c", 400 + 8)):
        twin = found[f"twin@{file}"]
        assert twin.file == file
        assert twin.name == "twin"
        calls = [site for site in twin.sites if site.targets == ("odd",)]
        assert [site.to for site in calls] == [found[f"odd@{file}"].address] * 2
        assert (found[f"odd@{file}"].frame or 0) >= odd
        assert not twin.doubts


def test_names_at_one_address_are_one_function(build: Build) -> None:
    found = build(
        function("real", "push %rax; pop %rax; ret")
        + ".globl other, marker\n.weak weakly\nother = real\nweakly = real\n"
        + function("f", "jmp real")
        + "marker:\n"
    )
    real = found["real"]
    assert (real.name, real.aliases) == ("other", ("real", "weakly"))
    assert found["weakly"] is found["other"] is real
    assert [set(site.targets) for site in found["f"].sites] == [{"real", "other", "weakly"}]
    assert "marker" not in found


def test_a_label_inside_a_function_may_be_entered(build: Build) -> None:
    found = build(
        function("f", "push %rbx; push %rcx; pop %rcx; pop %rbx;"
                 ".globl inner; inner: push %rax; call g; pop %rax; ret")
        + function("g", "ret")
        + function("h", "jmp inner")
    )  # fmt: skip
    assert (found["f"].frame, len(found["f"].sites), found["f"].doubts) == (24, 1, ())
    assert found["inner"].frame == 16
    assert kinds(found["inner"]) == kinds(found["f"])
    assert found["inner"].doubts == ("a label inside a function",)
    assert kinds(found["h"]) == [(Kind.TAIL, ("inner",))]


def test_what_is_left_of_a_weak_function_belongs_to_nobody(build: Build) -> None:
    found = build({
        "weak.S": function("f", "jmp g; ret")
        + ".weak g\n.type g, @function\ng: push %rax; call f; pop %rax; ret; .size g, . - g\n",
        "strong.S": function("g", "ret"),
    })  # fmt: skip
    assert found["f"].frame == found["g"].frame == 8
    assert kinds(found["f"]) == [(Kind.TAIL, ("g",))]
    assert not found["f"].doubts


def test_a_function_may_run_on_into_the_next(build: Build) -> None:
    found = build(
        function("f", "push %rax; pop %rax")
        + ".balign 16\n"
        + function("g", "ret")
        + function("h", "call f; push %rax; pop %rax; ret")
    )
    assert kinds(found["f"]) == [(Kind.TAIL, ("g",))]
    assert found["f"].sites[0].address == found["g"].address
    assert found["h"].frame == 16


def table(name: str, rows: str) -> str:
    return (
        f'.section {name}, "a"\n.globl __start_{name}, __stop_{name}\n'
        f"__start_{name}: {rows}\n__stop_{name}:\n"
    )


@pytest.mark.parametrize("rows", [
    ".long 1b - ., 0; .word 7, 0; .long 2b - ., 0; .word 7, 1",
    ".long 1b - .; .word 0; .long 2b - .; .word 1",
    ".long 1b - ., 0, 0; .word 7, 0; .long 2b - ., 0, 0; .word 7, 1",
])  # fmt: skip
def test_a_warning_comes_back_and_a_bug_does_not(rows: str, build: Build) -> None:
    found = build(
        function("f", "test %edi, %edi; je 1f; jg 2f; push %rax; pop %rax; ret;"
                 "1: ud2; push %rax; 2: ud2; push %rax; push %rax; add $16, %rsp; ret")
        + table("__bug_table", rows)
    )["f"]  # fmt: skip
    assert found.frame == 24
    assert ["is not reached" in doubt for doubt in found.doubts] == [True]


def test_faults_and_jump_labels_are_followed(build: Build) -> None:
    found = build(
        function("f", "push %rbx; 1: mov (%rdi), %rax; 2: pop %rbx; 3: nop; ret;"
                 "4: push %rax; push %rax; add $16, %rsp; ret;"
                 "5: sub $48, %rsp; add $48, %rsp; jmp 2b")
        + table("__ex_table", ".long 1b - ., 5b - ., 0")
        + table("__jump_table", ".long 3b - ., 4b - .; .quad 0")
    )["f"]  # fmt: skip
    assert (found.frame, found.sites, found.doubts) == (64, (), ())


def test_a_jump_label_that_jumps_is_followed_both_ways(build: Build) -> None:
    found = build(
        function("f", "3: jmp 4f; push %rax; pop %rax; ret; 4: push %rax; push %rax;"
                 "add $16, %rsp; ret")
        + table("__jump_table", ".long 3b - ., 4b - .; .quad 0")
    )["f"]  # fmt: skip
    assert (found.frame, found.doubts) == (24, ())


PROGRAM = """
struct s { long a[9]; };
void out(int, ...), take(struct s), walk(void *);
int leaf(int x) { return x * 3; }
int buffer(int x) { char b[100]; walk(b); return x; }
void many(int a, int b) { out(a, b, a, b, a, b, a, b, a, b, a); walk(0); }
void by_value(struct s *p) { take(*p); take(*p); }
void tail(int x) { out(x); }
int saves(int a, int b, int c) { walk(0); walk(&a); return a + b + c; }
void vla(int n) { char b[n]; walk(b); }
int early(int x) { if (x) return 1; char b[64]; walk(b); walk(b); return b[3]; }
"""
ENDS = """
struct s { long a[9]; };
void out(int x, ...) { asm volatile("" :: "r"(x)); }
void take(struct s x) { asm volatile("" :: "m"(x)); }
void walk(void *x) { asm volatile("" :: "r"(x)); }
"""


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-Os"])
@pytest.mark.parametrize("machine", [WIDE, NARROW, (*WIDE, "-fno-omit-frame-pointer")], ids=str)
def test_gcc_says_the_same(
    level: str, machine: Sequence[str], build: Build, tmp_path: Path
) -> None:
    found = build({"main.c": PROGRAM, "ends.c": ENDS}, (level, "-fstack-usage", *machine))
    said = stackusage(tmp_path)
    names = [name for file, name in said if file == "main.c"]
    assert len(names) == 8
    for name in names:
        # gcc does not know how large an array of variable length is
        expected = None if name == "vla" else said["main.c", name]
        assert found[name].frame == expected, name
        assert found[name].dynamic == (name == "vla"), name
        assert not found[name].doubts


def test_gcc_does_not_see_what_assembly_pushes(build: Build, tmp_path: Path) -> None:
    text = 'long f(void) { long x; asm volatile("pushf; pop %0" : "=r"(x)); return x; }'
    found = build({"main.c": text}, ("-O2", "-fstack-usage", *WIDE))
    assert found["f"].frame == stackusage(tmp_path)["main.c", "f"] + 8 == 16


def test_stackusage_is_by_the_file_that_was_compiled(tmp_path: Path) -> None:
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm/one.su").write_text(
        "/src/include/h.h:5:1:inline_one\t24\tstatic\n"
        "/src/mm/one.c:7:1:f.constprop\t40\tdynamic,bounded\n"
        "/src/mm/one.c:7:1:f.constprop\t56\tstatic\n"
    )
    (tmp_path / "two.su").write_text("/src/include/h.h:5:1:inline_one\t8\tstatic\n")
    assert stackusage(tmp_path) == {
        ("mm/one.c", "inline_one"): 24,
        ("mm/one.c", "f.constprop"): 56,
        ("two.c", "inline_one"): 8,
    }


def test_an_object_that_is_not_linked_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.S").write_text(function("f", "ret"))
    run("gcc", "-c", "a.S", cwd=tmp_path)
    with pytest.raises(ValueError, match="not a linked ELF file"):
        read(tmp_path / "a.o")
