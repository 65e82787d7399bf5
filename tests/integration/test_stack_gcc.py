"""Frames and calls of small programs, compiled for real: one trap each."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.contract import StackResult
from workers import make, process
from workers.stack.compare import compare, read
from workers.stack.facts import FactsError, ObjectFacts

HEAD = "int sink(void *, unsigned long); int other(int); extern int (*hook)(int);\n"


def objects(tmp_path: Path, **sources: str) -> dict[str, ObjectFacts]:
    files = {}
    for name, text in sources.items():
        (tmp_path / f"{name}.c").write_text(HEAD + text)
        argv = ["gcc", "-O2", *make.KCFLAGS.split(), "-c", f"{name}.c", "-o", f"{name}.o"]
        process.check(argv, cwd=tmp_path, timeout=60)
        for side in (f"{name}.ci", f"{name}.su"):
            files[side] = (tmp_path / side).read_bytes()
    return read(files)


def change(tmp_path: Path, *versions: str) -> StackResult:
    first, *rest = [objects(tmp_path, a=text) for text in versions]
    return compare(first, list(enumerate(rest, 1)))


PLAIN = "int f(int n) { int x = n; return sink(&x, 4) + other(n); }\n"
LARGE = "int f(int n) { char x[1024]; x[0] = n; return sink(x, 1024) + other(n); }\n"


def test_equal_code_gives_an_empty_report(tmp_path: Path) -> None:
    result = change(tmp_path, PLAIN, PLAIN)
    assert (result.frames, result.calls, result.spans) == ((), (), ())
    assert (result.objects, result.functions) == (1, 1)


def test_moved_code_gives_an_empty_report(tmp_path: Path) -> None:
    other = "int g(int n) { return sink(&n, 4); }\n"
    result = change(tmp_path, PLAIN + other, "\n\n" + other + PLAIN)
    assert (result.frames, result.calls) == ((), ())


def test_a_kilobyte_on_the_stack_is_seen(tmp_path: Path) -> None:
    (frame,) = change(tmp_path, PLAIN, LARGE).frames
    assert frame.before is not None
    assert frame.after is not None
    assert 1000 <= frame.after - frame.before <= 1040
    assert (frame.function, frame.file, frame.patch, frame.dynamic) == ("f", "a.c", 1, False)


def test_the_place_of_a_changed_function_is_told(tmp_path: Path) -> None:
    result = change(tmp_path, PLAIN, "\n" + LARGE + "int g(void) { return other(1); }\n")
    span = next(span for span in result.spans if span.function == "f")
    assert (span.first, span.last, span.patch) == (3, 3, 1)


def test_what_a_later_patch_takes_back_is_not_reported(tmp_path: Path) -> None:
    assert change(tmp_path, PLAIN, LARGE, PLAIN).frames == ()


def test_growth_belongs_to_the_patch_that_added_most(tmp_path: Path) -> None:
    small = PLAIN.replace("int x = n", "char x[48]; x[0] = n")
    (frame,) = change(tmp_path, PLAIN, small, LARGE, LARGE.replace("1024", "1100")).frames
    assert frame.patch == 2


def test_a_frame_that_shrinks_is_reported_as_such(tmp_path: Path) -> None:
    (frame,) = change(tmp_path, LARGE, PLAIN).frames
    assert (frame.after or 0) < (frame.before or 0)


def test_equal_static_names_in_two_files_stay_apart(tmp_path: Path) -> None:
    static = "static __attribute__((noinline)) int s(int n) {{ char x[{}]; return sink(x, n); }}\n"
    user = "int {}(int n) {{ return s(n) + 1; }}\n"
    before = objects(tmp_path, a=static.format(64) + user.format("ua"),
                     b=static.format(64) + user.format("ub"))  # fmt: skip
    after = objects(tmp_path, a=static.format(64) + user.format("ua"),
                    b=static.format(512) + user.format("ub"))  # fmt: skip
    (frame,) = compare(before, [(1, after)]).frames
    assert (frame.function, frame.file, frame.object) == ("s", "b.c", "b.o")


@pytest.mark.parametrize("attribute", ["noclone", ""])
def test_a_clone_is_the_function_it_was_made_from(tmp_path: Path, attribute: str) -> None:
    text = (
        "static __attribute__((noinline{comma}{attribute})) int s(int n, int k) {{"
        " char x[{size}]; x[0] = k; return sink(x, n); }}\n"
        "int f(int n) {{ return s(n, 7) + s(n + 1, 7); }}\n"
    )
    comma = "," if attribute else ""
    versions = [text.format(attribute=attribute, comma=comma, size=size) for size in (64, 512)]
    (frame,) = change(tmp_path, *versions).frames
    assert frame.function == "s"


def test_the_cold_part_counts_with_its_function(tmp_path: Path) -> None:
    text = (
        "int f(int n) {{ char x[{}]; if (__builtin_expect(n > 5, 0)) {{ sink(x, 1); sink(x, 2);"
        " __builtin_trap(); }} return sink(x, n); }}\n"
    )
    result = change(tmp_path, text.format(64), text.format(512))
    assert {frame.function for frame in result.frames} == {"f"}


def test_a_dynamic_frame_is_marked(tmp_path: Path) -> None:
    (frame,) = change(
        tmp_path, PLAIN, "int f(int n) { char x[n]; return sink(x, n) + other(n); }\n"
    ).frames
    assert frame.dynamic


def test_a_new_call_is_reported_with_its_place(tmp_path: Path) -> None:
    result = change(tmp_path, PLAIN, PLAIN.replace("other(n)", "other(n) + abs(other2(n))").replace(
        "int f", "int other2(int);\nint f"))  # fmt: skip
    (call,) = result.calls
    assert (call.caller, call.callee, call.added, call.line) == ("f", "other2", True, 3)


def test_a_call_that_went_away_is_reported(tmp_path: Path) -> None:
    (call,) = change(tmp_path, PLAIN, PLAIN.replace(" + other(n)", "")).calls
    assert (call.callee, call.added) == ("other", False)


def test_an_indirect_call_is_one(tmp_path: Path) -> None:
    (call,) = change(tmp_path, PLAIN, PLAIN.replace("other(n)", "other(n) + hook(n)")).calls
    assert (call.callee, call.added) == ("indirect call", True)


def test_inlining_is_no_new_call(tmp_path: Path) -> None:
    text = "static {} int s(int n) {{ int y = n; return sink(&y, 4); }}\n"
    user = "int f(int n) { return s(n) + 1; }\n"
    apart = text.format("__attribute__((noinline))") + user
    inlined = text.format("__attribute__((always_inline)) inline") + user
    assert change(tmp_path, apart, inlined).calls == ()
    assert change(tmp_path, inlined, apart).calls == ()


def test_a_new_function_is_reported(tmp_path: Path) -> None:
    (frame,) = change(tmp_path, PLAIN, PLAIN + "int g(int n) { return sink(&n, 4); }\n").frames
    assert (frame.function, frame.before) == ("g", None)


def test_an_object_that_is_new_has_only_new_functions(tmp_path: Path) -> None:
    result = compare({}, [(1, objects(tmp_path, a=PLAIN))])
    assert [(frame.function, frame.before) for frame in result.frames] == [("f", None)]


def test_a_buffer_that_a_later_patch_removes_is_not_reported(tmp_path: Path) -> None:
    small = PLAIN.replace("int x = n", "unsigned char buf[256]; buf[0] = n; int x = n")
    small = small.replace("other(n)", "other(sink(buf, 256))")
    only, net = change(tmp_path, PLAIN, small), change(tmp_path, PLAIN, small, PLAIN)
    assert [frame.function for frame in only.frames] == ["f"]
    assert (net.frames, net.calls) == ((), ())


def test_a_call_is_told_where_it_stands_after_its_own_patch(tmp_path: Path) -> None:
    called = PLAIN.replace("other(n)", "other(n) + hook(n)")
    (call,) = change(tmp_path, PLAIN, called, "\n\n\n" + called).calls
    assert (call.patch, call.line) == (1, 2)


def test_a_function_that_calls_itself_anew_is_reported(tmp_path: Path) -> None:
    again = PLAIN.replace("other(n)", "other(n) * (n > 9 ? f(n - 1) * f(n - 2) : 1)")
    (call,) = change(tmp_path, PLAIN, again).calls
    assert (call.caller, call.callee) == ("f", "f")


HELPER = "static __attribute__(({})) int s(int n) {{ int y = n; return sink(&y, 4){}; }}\n"
USERS = "int f(int n) { return s(n) + 1; }\nint g(int n) { return s(n) + other(n); }\n"
APART, INLINED = "noinline", "always_inline"


def test_a_new_call_is_seen_through_inlining(tmp_path: Path) -> None:
    before = HELPER.format(APART, "") + USERS
    after = HELPER.format(INLINED, " + hook(n)") + USERS
    calls = change(tmp_path, before, after).calls
    assert {(c.caller, c.callee) for c in calls} == {("f", "indirect call"), ("g", "indirect call")}
    calls = change(
        tmp_path, HELPER.format(INLINED, "") + USERS, HELPER.format(APART, " + hook(n)") + USERS
    ).calls
    assert [(c.caller, c.callee, c.added) for c in calls] == [("s", "indirect call", True)]


def test_a_call_belongs_to_the_patch_that_wrote_it_not_to_the_one_that_inlined_it(
    tmp_path: Path,
) -> None:
    user = USERS.splitlines()[0]
    versions = [HELPER.format(*how) + user for how in (
        (APART, ""), (APART, " + hook(n)"), (INLINED, " + hook(n)"),
    )]  # fmt: skip
    (call,) = change(tmp_path, *versions).calls
    assert (call.caller, call.callee, call.patch, call.line) == ("f", "indirect call", 1, 2)


def test_a_function_inlined_into_one_of_two_callers_is_no_new_call(tmp_path: Path) -> None:
    text = (
        "static int s(int n) {{ int y = n; return sink(&y, 4) + sink(&y, 2) + sink(&y, 1); }}\n"
        "int f(int n) {{ {} return s(n) + 1; }}\n"
        "int g(int n) {{ {} return s(n) + other(n); }}\n"
    )
    flat, apart = "__attribute__((flatten))", "__attribute__((noinline))"
    one = text.replace("static int", f"static {apart} int").format("", "")
    two = text.format("", "").replace("int f(", f"{flat} int f(")
    assert change(tmp_path, one, two).calls == ()
    assert change(tmp_path, two, one).calls == ()


def test_a_function_that_moves_to_another_file_is_compared_with_itself(tmp_path: Path) -> None:
    stays = "int g(int n) { return other(n) + 1; }\n"
    before = objects(tmp_path, a=PLAIN + stays, b="int h(int n) { return other(n) + 2; }\n")
    (tmp_path / "after").mkdir()
    moved = "int h(int n) { return other(n) + 2; }\n"
    after = objects(tmp_path / "after", a=stays, b=moved + PLAIN)
    result = compare(before, [(1, after)])
    assert (result.frames, result.calls, result.spans) == ((), (), ())
    grown = objects(tmp_path / "after", a=stays, b=moved + LARGE.replace("other(n)", "hook(n)"))
    result = compare(before, [(1, grown)])
    (frame,) = result.frames
    assert (frame.object, frame.file) == ("b.o", "b.c")
    assert 1000 <= (frame.after or 0) - (frame.before or 0) <= 1040
    assert {(c.callee, c.added) for c in result.calls} == {
        ("indirect call", True), ("other", False),
    }  # fmt: skip


def test_an_alloca_belongs_to_the_patch_that_brought_it(tmp_path: Path) -> None:
    alloca = "int f(int n) {{ char y[{}]; char *x = __builtin_alloca(n); return sink(x, n) + sink(y, n); }}\n"  # noqa: E501 - one function
    (frame,) = change(tmp_path, PLAIN, alloca.format(8), alloca.format(900)).frames
    assert (frame.dynamic, frame.patch) == (True, 1)


def test_a_su_file_without_the_frames_of_its_call_graph_is_refused(tmp_path: Path) -> None:
    users = USERS.replace("f(", "u(")
    facts = objects(tmp_path, a=LARGE + HELPER.format(APART, "") + users)
    assert sorted(facts["a.o"].functions) == ["f", "g", "s", "u"]
    (tmp_path / "a.su").write_bytes(b"")
    files = {name: (tmp_path / name).read_bytes() for name in ("a.ci", "a.su")}
    with pytest.raises(FactsError, match=r"a\.ci does not agree with the \.su"):
        read(files)
