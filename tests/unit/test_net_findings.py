"""What a later patch of the same series takes back is not told."""

from __future__ import annotations

import pytest

from bot.contract import (
    Apply,
    BuildResult,
    Chain,
    Depth,
    Finding,
    FindingKind,
    KernelConfig,
    Outcome,
    PatchBuilt,
    Severity,
    StackResult,
)
from bot.mail import quote
from bot.review import chains, findings
from policies.schema import load_gates
from workers.build import Warnings
from workers.make import Output

GATES = load_gates()
CONFIG = KernelConfig(
    name="c", arch="x86_64", target="bzImage", compiler="gcc", base="tinyconfig", options=()
)
Moves = tuple[tuple[int, int], ...]


def depth(size: int) -> Depth:
    return Depth(witness_bytes=size, upper_bytes=size, hops=())


def chain(*moves: tuple[int, int], before: int = 2000, after: int | None = None) -> Chain:
    """Return a chain that patches moved; what it came to is their sum."""
    end = before + sum(moved for _, moved in moves) if after is None else after
    return Chain(
        profile="swap-out", name="", waypoints=("a", "b"), before=depth(before), after=depth(end),
        budget_bytes=16384, patch=moves[-1][0] if moves else 0, moves=moves,
    )  # fmt: skip


def grown(one: Chain) -> list[Finding]:
    stack = StackResult(outcome=Outcome.PASSED, chains=(one,))
    return list(chains.find(GATES, "x86_64", stack))


@pytest.mark.parametrize(
    ("moves", "left"),
    [
        (((1, 300),), {1: 300}),
        (((1, 300), (2, -300)), {}),
        (((1, 300), (2, -290)), {1: 10}),
        (((1, 300), (2, -300), (3, 300)), {3: 300}),
        (((1, 300), (2, 100), (3, -350)), {1: 50}),
        (((1, -100), (2, 300)), {2: 200}),
        (((1, -100), (2, 300), (3, -100)), {2: 100}),
        (((1, -100), (2, 150), (3, 150)), {2: 50, 3: 150}),
        (((1, 200), (2, 200)), {1: 200, 2: 200}),
        (((1, 50), (2, -200)), {}),
    ],
)  # fmt: skip
def test_what_later_patches_take_back_is_taken_from_those_before(
    moves: Moves, left: dict[int, int]
) -> None:
    found = chains.left(chain(*moves))
    assert found == left
    assert sum(found.values()) == max(0, sum(moved for _, moved in moves))


def test_growth_that_is_taken_back_is_not_told() -> None:
    (told,) = grown(chain((1, 300)))
    assert (told.severity, told.patch) == (Severity.FAIL, 1)
    assert grown(chain((1, 300), (2, -300))) == []
    assert grown(chain((1, 300), (2, -290))) == []
    (rest,) = grown(chain((1, 300), (2, -200)))
    assert (rest.severity, rest.patch, rest.after) == (Severity.NOTE, 1, 2100)
    assert rest.text[0] == "the deepest stack of swap-out grows by 100 bytes, to 2100 of 16384"


def test_a_chain_that_was_closed_in_between_belongs_to_who_opened_it_again() -> None:
    (told,) = grown(chain((3, 0), after=2400))
    assert (told.patch, told.before, told.after) == (3, 2000, 2400)


def test_a_path_that_a_later_patch_closes_is_not_told() -> None:
    held = Depth(witness_bytes=2000, upper_bytes=2000, hops=(), held=("f() calls g() only if x",))
    shut = chain().model_copy(update={"before": held, "after": held, "patch": 2})
    assert grown(shut) == []
    (told,) = grown(shut.model_copy(update={"after": depth(2000)}))
    assert told.kind is FindingKind.CHAIN_REACHED


WARNING = "/build/src/mm/a.c:3:5: warning: unused variable 'x' [-Wunused-variable]"
COMPILED = "  CC      mm/a.o"


def output(*lines: str) -> Output:
    out = Output()
    for line in lines:
        out.feed(line)
    return out


def test_a_warning_that_a_later_patch_mends_is_not_told() -> None:
    warnings = Warnings()
    warnings.after(1, output(COMPILED, WARNING))
    assert [one.index for one in warnings.of(1)] == [1]
    warnings.after(2, output("  CC      mm/b.o"))
    assert len(warnings.of(1)) == 1
    warnings.after(3, output(COMPILED))
    assert warnings.of(1) == ()


GIT = "diff --git a/{0} b/{1}\n"
ADDED = GIT.format("mm/a.c", "mm/a.c") + "--- a/mm/a.c\n+++ b/mm/a.c\n@@ -1 +1,2 @@\n a\n+b\n"
DELETED = (
    GIT.format("mm/a.c", "mm/a.c")
    + "deleted file mode 100644\nindex 1..0\n--- a/mm/a.c\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n"
)
RENAMED = GIT.format("mm/a.c", "mm/b.c") + "similarity index 100%\nrename from mm/a.c\nrename to mm/b.c\n"  # noqa: E501 # fmt: skip
MADE = GIT.format("mm/a.c", "mm/a.c") + "new file mode 100644\nindex 0..1\n--- /dev/null\n+++ b/mm/a.c\n@@ -0,0 +1 @@\n+a\n"  # noqa: E501 # fmt: skip


@pytest.mark.parametrize(
    ("diffs", "gone"),
    [
        ((ADDED,), set()), ((ADDED, DELETED), {"mm/a.c"}), ((ADDED, RENAMED), {"mm/a.c"}),
        ((DELETED, MADE), set()), (("@@ -1 nonsense\n", DELETED), {"mm/a.c"}),
    ],
)  # fmt: skip
def test_files_that_are_not_there_in_the_end_are_known(
    diffs: tuple[str, ...], gone: set[str]
) -> None:
    assert quote.removed(diff.encode() for diff in diffs) == gone


def test_a_warning_goes_with_its_file() -> None:
    warnings = Warnings()
    warnings.after(1, output(COMPILED, WARNING))
    patch = PatchBuilt(
        index=1, commit="0" * 40, applied=Apply.EXACT, seconds=1, objects=("mm/a.o",), facts=None,
        warnings=warnings.of(1),
    )  # fmt: skip
    build = BuildResult(outcome=Outcome.PASSED, patches=(patch,))
    assert len(findings.find(GATES, CONFIG, build, None)) == 1
    assert findings.find(GATES, CONFIG, build, None, removed=frozenset({"mm/a.c"})) == ()


def test_a_patch_that_does_not_build_is_told_whatever_comes_after() -> None:
    patch = PatchBuilt(
        index=1, commit="0" * 40, applied=Apply.EXACT, seconds=1, objects=(), facts=None,
        error=("mm/a.c:1:1: error: no",),
    )  # fmt: skip
    build = BuildResult(outcome=Outcome.FAILED, patches=(patch,), broken_patch=1)
    (told,) = findings.find(GATES, CONFIG, build, None)
    assert told.kind is FindingKind.DOES_NOT_BUILD
