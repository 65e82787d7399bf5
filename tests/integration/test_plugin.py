"""The compiler plugin with the real gcc: one small program for each feature and each trap."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.stack import change, plugin, unit
from workers.stack.program import Edge, Program
from workers.stack.unit import Function, Unit

FLAGS = ("-O2", "-fno-strict-aliasing", "-fstack-usage")
Compile = Callable[..., dict[str, Unit]]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plugin.ensure(tmp_path_factory.mktemp("plugin"), "gcc")


def gcc(directory: Path, name: str, *flags: str) -> subprocess.CompletedProcess[str]:
    argv = ["gcc", *FLAGS, *flags, "-c", f"{name}.c", "-o", f"{name}.o"]
    return subprocess.run(argv, cwd=directory, check=False, capture_output=True, text=True)


@pytest.fixture
def compiled(built: Path, tmp_path: Path) -> Compile:
    """Compile files given by name; return their units by object."""

    def work(**sources: str) -> dict[str, Unit]:
        facts = {}
        for name, text in sources.items():
            (tmp_path / f"{name}.c").write_text(text)
            done = gcc(tmp_path, name, f"-fplugin={built}")
            assert done.returncode == 0, done.stderr
            facts[f"{name}.hog"] = (tmp_path / f"{name}.hog").read_bytes()
        return {one.object: one for one in unit.read(facts)}

    return work


def edges(units: dict[str, Unit], caller: str) -> tuple[Edge, ...]:
    program = Program(units.values())
    (one,) = [name for name in program.functions if name.partition("@")[0] == caller]
    return program.edges(one)


def callees(units: dict[str, Unit], caller: str) -> list[str]:
    return sorted({edge.callee for edge in edges(units, caller)})


def function(units: dict[str, Unit], name: str) -> Function:
    (found,) = [
        one for u in units.values() for one in u.functions if one.id.partition("@")[0] == name
    ]
    return found


SINK = "int sink(int); void keep(void *);\n"


def test_a_direct_call_has_its_place(compiled: Compile) -> None:
    units = compiled(a=SINK + "int f(int x)\n{\n\treturn sink(x) + 1;\n}\n")
    (edge,) = edges(units, "f")
    assert (edge.callee, edge.how, edge.file, edge.line) == ("sink", "direct", "a.c", 4)
    assert not edge.tail


def test_static_functions_of_one_name_are_two(compiled: Compile) -> None:
    text = "__attribute__((noinline)) static int s(int x) { return sink(x) + %d; }\n"
    units = compiled(
        a=SINK + text % 1 + "int a(int x) { return s(x) + 1; }\n",
        b=SINK + text % 2 + "int b(int x) { return s(x) + 1; }\n",
    )
    assert callees(units, "a") == ["s@a.o"]
    assert callees(units, "b") == ["s@b.o"]


def test_a_clone_keeps_its_name_and_the_caller_calls_it(compiled: Compile) -> None:
    units = compiled(
        a=SINK + "__attribute__((noinline)) static int s(int x, int *p)\n"
        "{ return sink(x) + sink(*p); }\n"
        "int f(int *p) { return s(3, p) + s(3, p + 1); }\n"
    )
    (callee,) = callees(units, "f")
    assert callee.startswith("s.")
    assert callee in {one.id for one in units["a.o"].functions}


def test_a_cold_part_belongs_to_its_function(compiled: Compile) -> None:
    units = compiled(
        a=SINK + "void die(void) __attribute__((cold));\n"
        "int f(int x) { if (x < 0) { die(); sink(1); } return sink(x) + 1; }\n"
    )
    assert [one.id for one in units["a.o"].functions] == ["f"]
    assert callees(units, "f") == ["die", "sink"]


def test_a_tail_call_is_told_apart(compiled: Compile) -> None:
    (edge,) = edges(compiled(a=SINK + "int f(int x) { return sink(x); }\n"), "f")
    assert edge.tail
    (edge,) = edges(
        compiled(b="int f(int (*p)(int), int x) { return p(x); } int g(int x) { return x; }\n"
                   "int h(int x) { return f(g, x) + 1; }\n"
                   "int (*v)(int) = g; int t(void) { return v(1); }\n"), "t",
    )  # fmt: skip
    assert (edge.callee, edge.tail) == ("g", True)


def test_an_alias_stands_for_its_function(compiled: Compile) -> None:
    units = compiled(
        a=SINK + "int real(int x) { return sink(x) + 1; }\n"
        'int other(int) __attribute__((alias("real")));\n',
        b="int other(int); int f(int x) { return other(x) + 1; }\n",
    )
    assert callees(units, "f") == ["real"]


def test_an_alias_replaces_a_weak_function(compiled: Compile) -> None:
    units = compiled(
        a="__attribute__((weak)) int w(int x) { return x; }\n",
        b=SINK + "int real(int x) { return sink(x) + 1; }\n"
        'int w(int) __attribute__((alias("real")));\n',
        c="int w(int); int f(int x) { return w(x) + 1; }\n",
    )
    assert callees(units, "f") == ["real"]


def test_a_strong_function_replaces_a_weak_one(compiled: Compile) -> None:
    units = compiled(
        a=SINK + "__attribute__((weak)) int w(int x) { return sink(x) + 1; }\n",
        b="int w(int x) { return x + 1; }\n",
    )
    assert Program(units.values()).functions["w"].object == "b.o"


OPS = "struct ops { int (*get)(int); void (*put)(int *); };\nint one(int x) { return x + 1; }\n"


@pytest.mark.parametrize(
    "text",
    [
        "const struct ops table = { .get = one };",
        "const struct ops many[2] = { [1] = { .get = one } };",
        "struct outer { int n; struct ops ops; } o = { 3, { one } };",
        "struct outer { struct { struct ops ops; }; } o = { .ops = { .get = one } };",
        "void set(struct ops *p) { p->get = one; }",
        """void set(struct ops *p, int (*f)(int)) { p->get = f; }
           void user(struct ops *p) { set(p, one); }""",
        """static void set(struct ops *p, int (*f)(int)) { p->get = f; }
           static void pass(struct ops *p, int (*f)(int)) { set(p, f); }
           void user(struct ops *p) { pass(p, one); }""",
        "int (*pick(void))(int) { return one; } void set(struct ops *p) { p->get = pick(); }",
        "void set(struct ops *p, void *f) { p->get = f; } void use(struct ops *p) { set(p, one); }",
        "int (*at)(int); void set(struct ops *p) { p->get = at; } void arm(void) { at = one; }",
        "int zero(int); void set(struct ops *p, int n) { p->get = n ? one : 0; }",
        "void set(struct ops *p, int n) { int (*f)(int) = 0; if (n) f = one; p->get = f; }",
        "void set(struct ops *p) { *(int (*volatile *)(int))&p->get = one; }",
        """void (*setter)(struct ops *, int (*)(int));
           static void set(struct ops *p, int (*f)(int)) { p->get = f; }
           void arm(void) { setter = set; } void user(struct ops *p) { setter(p, one); }""",
        "void set(struct ops *p) { *p = (struct ops) { .get = one }; }",
        "int (*table[3])(int) = { 0, one }; void set(struct ops *p, int n) { p->get = table[n]; }",
    ],
)  # fmt: skip
def test_a_function_is_found_however_it_got_into_the_field(compiled: Compile, text: str) -> None:
    units = compiled(a=SINK + OPS + text + "\nint f(struct ops *p) { return p->get(1) + 1; }\n")
    (edge,) = edges(units, "f")
    assert edge.callee == "one"
    assert edge.how.startswith("field ops.get")


def test_an_array_of_pointers_in_memory_is_known_by_type(compiled: Compile) -> None:
    units = compiled(
        a=SINK + OPS + "void *room(int);\n"
        "static void fill(struct ops *p, int (**all)(int), int n) { p->get = all[n]; }\n"
        "void user(struct ops *p)\n"
        "{ int (**all)(int) = room(9); all[0] = one; fill(p, all, 0); }\n"
        "int f(struct ops *p) { return p->get(1) + 1; }\n"
    )
    assert callees(units, "f") == ["one"]


def test_members_of_a_union_are_one_place(compiled: Compile) -> None:
    units = compiled(
        a="union u { int (*a)(int); int (*b)(int); };\nint one(int x) { return x + 1; }\n"
        "void set(union u *p) { p->a = one; } int f(union u *p) { return p->b(1) + 1; }\n"
    )
    assert callees(units, "f") == ["one"]


def test_other_fields_and_other_types_are_left_out(compiled: Compile) -> None:
    units = compiled(
        a=SINK + OPS + "void other(int *p) { *p = 1; } int two(int x) { return x + 2; }\n"
        "struct more { int (*get)(int); };\n"
        "const struct ops t = { one, other }; const struct more m = { two };\n"
        "int f(struct ops *p) { return p->get(1) + 1; }\n"
        "int g(struct more *p) { return p->get(1) + 1; }\n"
    )
    assert (callees(units, "f"), callees(units, "g")) == (["one"], ["two"])


def test_a_pointer_through_a_parameter_is_called(compiled: Compile) -> None:
    units = compiled(
        a=SINK + "int one(int x) { return x + 1; }\n"
        "__attribute__((noinline)) int run(int (*f)(int), int n) { keep(&n); return f(n) + 1; }\n"
        "int user(int n) { return run(one, n) + 1; }\n"
    )
    (edge,) = [e for e in edges(units, "run") if e.callee != "keep"]
    assert (edge.callee, edge.how) == ("one", "parameter run#0")


def test_a_pointer_that_nothing_fills_has_no_target(compiled: Compile) -> None:
    units = compiled(a=OPS + "int f(struct ops *p) { return p->get(1) + 1; }\n")
    program = Program(units.values())
    ((_, _, site),) = program.sites()
    assert (site.targets, site.nodes, site.unknown) == ((), ("R:ops.get",), False)


def test_calls_in_inline_assembly(compiled: Compile) -> None:
    units = compiled(
        a=SINK + "int one(int x) { return x + 1; } int two(void);\n"
        'void f(void) { asm volatile("call two"); }\n'
        'void g(void) { asm volatile("call %P0" : : "i" (one)); }\n'
        "int (*held)(int); void arm(void) { held = one; }\n"
        'void h(void) { asm volatile("call *%0" : : "m" (held)); }\n'
        'int u(int *p) { int r; asm volatile("call get_%P3" : "=a" (r), "+r" (p) : "0" (1), "i"'
        " (sizeof(*p))); return r; }\n"
        'void n(void) { asm volatile("# a syscall by name"); }\n'
    )
    assert [callees(units, name) for name in "fgh"] == [["two"], ["one"], ["one"]]
    assert callees(units, "u") == ["get_4"]
    assert callees(units, "n") == []


def test_an_aligned_frame_is_the_largest_it_can_be(compiled: Compile) -> None:
    units = compiled(
        a=SINK + "void f(void) { char b[40] __attribute__((aligned(64))); keep(b); }\n"
        "void g(void) { char b[40]; keep(b); }\n"
    )
    assert function(units, "f").aligned
    assert 8 + 8 + 56 + 64 <= function(units, "f").frame <= 8 + 8 + 8 + 56 + 64
    assert not function(units, "g").aligned


def test_an_aligned_frame_is_marked_where_gcc_counted_enough(built: Path, tmp_path: Path) -> None:
    text = "int f(int a) { char b[48] __attribute__((aligned(16))); keep(b); return b[a]; }\n"
    (tmp_path / "a.c").write_text(SINK + text)
    # as the kernel is compiled: its stack is aligned to a word
    flags = ["-mno-sse", "-mpreferred-stack-boundary=3", f"-fplugin={built}"]
    assert gcc(tmp_path, "a", *flags).returncode == 0
    (found,) = unit.parse((tmp_path / "a.hog").read_bytes(), "a.o").functions
    assert (found.frame, found.aligned) == (80, True)
    assert "\t80\tstatic" in (tmp_path / "a.su").read_text()


def test_what_assembly_pushes_for_a_moment_is_no_frame(compiled: Compile) -> None:
    units = compiled(
        a=SINK + "long f(void) { long x; "
        'asm volatile("pushf ; pop %0" : "=rm" (x) : : "memory"); return x; }\n'
        'void g(void) { asm volatile("popcnt %%rax, %%rax" : : : "rax"); }\n'
    )
    assert (function(units, "f").frame, function(units, "f").transient) == (8, 8)
    assert function(units, "g").transient == 0


def test_a_static_call_goes_where_its_key_says(compiled: Compile) -> None:
    units = compiled(
        a="struct static_call_key { void *func; };\nint first(int x) { return x + 1; }\n"
        "int second(int x) { return x + 2; } int other(int x) { return x + 3; }\n"
        "struct static_call_key __SCK__way = { .func = first };\n"
        "struct static_call_key __SCK__else = { .func = other };\n"
        "extern int __SCT__way(int);\n"
        "void __static_call_update(struct static_call_key *, void *, void *);\n"
        "void turn(void) { __static_call_update(&__SCK__way, &__SCT__way, &second); }\n"
        "int f(int x) { return __SCT__way(x) + 1; }\n"
    )
    found = edges(units, "f")
    assert [(edge.callee, edge.how) for edge in found] == [
        ("first", "static call way"), ("second", "static call way"),
    ]  # fmt: skip


def test_a_dynamic_frame_says_so(compiled: Compile) -> None:
    units = compiled(
        a=SINK + "void f(int n) { char b[n]; keep(b); } void g(void) { char b[600]; keep(b); }\n"
    )
    assert function(units, "f").kind == "d"
    assert function(units, "g").kind == "s"
    assert 600 <= function(units, "g").frame < 640


def test_frames_are_those_of_stack_usage(compiled: Compile, tmp_path: Path) -> None:
    body = "".join(
        f"int f{n}(int x) {{ char b[{n * 24 + 1}]; keep(b); return sink(x) + b[0]; }}\n"
        for n in range(20)
    )
    units = compiled(a=SINK + body + "int v(int n) { char b[n]; keep(b); return b[0]; }\n")
    told = {}
    for line in (tmp_path / "a.su").read_text().splitlines():
        place, size, _ = line.split("\t")
        told[place.rpartition(":")[2]] = int(size)
    assert {one.id: one.frame for one in units["a.o"].functions} == told


def test_a_function_that_never_returns_is_marked(compiled: Compile) -> None:
    units = compiled(
        a="void stop(void) __attribute__((noreturn)); void stop(void) { for (;;) ; }\n"
        "void go(void) { }\n"
    )
    assert (function(units, "stop").no_return, function(units, "go").no_return) == (True, False)


def test_what_was_inlined_is_told_with_its_places(compiled: Compile) -> None:
    units = compiled(
        a=SINK + "static inline int inner(int x)\n{\n\treturn sink(x) + 1;\n}\n"
        "static inline int outer(int x)\n{\n\treturn inner(x) + 1;\n}\n"
        "int f(int x)\n{\n\treturn outer(x) + 1;\n}\n"
    )
    (edge,) = edges(units, "f")
    assert [name.partition("@")[0] for name, _ in edge.inlined] == ["outer", "inner"]
    assert [units["a.o"].at(place)[1] for _, place in edge.inlined] == [12, 8]


KERNEL = """
struct task_struct { unsigned int flags; void *bio_list; };
struct scan_control { unsigned int order:8; unsigned int may_writepage:1; unsigned gfp_mask; };
typedef unsigned int gfp_t;
struct task_struct *get(void);
int sink(int); int look(int); int current_is_kswapd(void); int file(int);
"""


@pytest.mark.parametrize(
    ("body", "clauses"),
    [
        ("if (get()->flags & 0x800) return 0; return sink(1) + 1;", {"!task_struct.flags/0x800"}),
        ("if (sc->may_writepage) sink(1); return 0;", {"scan_control.may_writepage"}),
        ("if (!sc->may_writepage) return 0; return sink(1) + 1;", {"scan_control.may_writepage"}),
        ("if (gfp & 0x400) sink(1); return 0;", {"gfp/0x400"}),
        ("if (!get()->bio_list) sink(1); return 0;", {"!task_struct.bio_list"}),
        ("if (current_is_kswapd() && look(1)) sink(1); return 0;", {"current_is_kswapd()"}),
        ("if (file(1) && !current_is_kswapd()) return 0; return sink(1) + 1;",
         {"!file()|current_is_kswapd()"}),
        ("if (file(1) && (!current_is_kswapd() || !look(1))) return 0; return sink(1) + 1;",
         {"!file()|current_is_kswapd()&look()"}),
        ("if (current_is_kswapd()) look(1); return sink(1) + 1;", set()),
        ("if (look(1)) { if (current_is_kswapd()) return 0; } return sink(1) + 1;",
         {"!look()|!current_is_kswapd()"}),
        ("for (int i = 0; i < 9; i++) { if (current_is_kswapd()) sink(i); } return 0;",
         {"current_is_kswapd()"}),
    ],
)  # fmt: skip
def test_the_conditions_of_a_call(compiled: Compile, body: str, clauses: set[str]) -> None:
    units = compiled(a=KERNEL + f"int f(struct scan_control *sc, gfp_t gfp) {{ {body} }}\n")
    found = {one.clause for one in units["a.o"].guards if one.callee == "sink"}
    assert {frozenset(one.split("|")) for one in found} == {
        frozenset(one.split("|")) for one in clauses
    }


SHRINK = (
    KERNEL
    + """
int pageout(int);
int shrink(int folio, struct scan_control *sc)
{
	if (file(folio) && (%s || !look(folio)))
		return 0;
	return pageout(folio) + 1;
}
"""
)


def test_a_guard_that_a_patch_loses_is_seen(compiled: Compile) -> None:
    before = compiled(a=SHRINK % "!current_is_kswapd()")
    after = compiled(a=SHRINK % "0")
    (lost,) = [one for one in change.guards(before, [(1, after)]) if one.callee == "pageout"]
    assert (lost.caller, lost.gained) == ("shrink", False)
    assert "current_is_kswapd()" in lost.clause
    back = [one for one in change.guards(after, [(1, before)]) if one.callee == "pageout"]
    assert [one.gained for one in back] == [True]
    assert change.guards(before, [(1, compiled(a=SHRINK % "!current_is_kswapd()"))]) == ()


LARGE = (
    KERNEL
    + OPS
    + "".join(
        f"static int s{n}(struct ops *p, int x) {{ char b[{n}]; if (x & {n}) return p->get(x);"
        f" b[x & 1] = x; return sink(b[x & 3]) + look(x); }}\n"
        f"int g{n}(struct ops *p, int x) {{ return s{n}(p, x) + current_is_kswapd(); }}\n"
        for n in range(4, 60)
    )
)


def test_the_code_is_the_same_with_and_without(built: Path, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(LARGE)
    text = []
    for flags in ([], [f"-fplugin={built}"]):
        assert gcc(tmp_path, "a", *flags).returncode == 0
        argv = ["objcopy", "-O", "binary", "a.o", "a.bin"]
        subprocess.run(argv, cwd=tmp_path, check=True)
        text.append((tmp_path / "a.bin").read_bytes())
    assert text[0] == text[1]
    assert len(text[0]) > 5000


def test_the_facts_of_one_source_are_always_the_same(compiled: Compile, tmp_path: Path) -> None:
    compiled(a=LARGE)
    first = (tmp_path / "a.hog").read_bytes()
    compiled(a=LARGE)
    assert (tmp_path / "a.hog").read_bytes() == first


def test_facts_that_cannot_be_written_fail_the_compilation(built: Path, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int f(void) { return 1; }\n")
    (tmp_path / "a.hog" / "full").mkdir(parents=True)
    done = gcc(tmp_path, "a", f"-fplugin={built}")
    assert done.returncode != 0
    assert "stackhog: the facts file cannot be written" in done.stderr


def test_no_facts_are_left_of_what_does_not_compile(built: Path, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int f(void) { return nowhere; }\n")
    assert gcc(tmp_path, "a", f"-fplugin={built}").returncode != 0
    assert not (tmp_path / "a.hog").exists()
