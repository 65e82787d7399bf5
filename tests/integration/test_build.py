"""Series built for real, in the sandbox, on the kernel in miniature."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bot.contract import (
    BuildRequest,
    BuildResult,
    KernelConfig,
    Limits,
    Outcome,
    Progress,
    StackResult,
)
from bot.review.jobs import comparison
from tests.gitmail import Repo, miniature, texts
from workers import trees
from workers.artifacts import Artifacts
from workers.baseline import BaselineBrokenError
from workers.build import build
from workers.config import WorkerConfig
from workers.kconfig import DroppedOptionsError
from workers.stack import answer

CONFIG = KernelConfig(
    name="miniature", arch="x86_64", target="bzImage", compiler="gcc", base="tinyconfig",
    options=("CONFIG_MINI_FS=y",),
)  # fmt: skip
LIMITS = Limits(
    wall_seconds=60, memory_bytes=1 << 30, processes=60, file_bytes=16 << 20,
    disk_bytes=64 << 20, parallel=2,
)  # fmt: skip


@dataclass
class Bench:
    repo: Repo
    config: WorkerConfig
    base: str = ""
    said: list[Progress] = field(default_factory=list)

    def build(self, **changes: object) -> BuildResult:
        patches = texts(self.repo.mails(self.base))
        request = BuildRequest(
            tree="mini", base=self.base, config=CONFIG, patches=patches, limits=LIMITS
        )
        return build(self.config, request.model_copy(update=changes), self.said.append)

    def stack(self, result: BuildResult) -> StackResult:
        request = comparison(result, "x86_64")
        assert request is not None
        return answer.answer(request, Artifacts(self.config.artifacts).get)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    found = Bench(miniature(tmp_path / "repo"), WorkerConfig(tmp_path / "data", tmp_path / "cache"))
    found.base = trees.add(found.config, "mini", str(found.repo.path), lambda _: None).head
    return found


FLAGS = "\tpage->flags |= 2;\n"
BUFFER = (FLAGS, f"\tchar text[600];\n\n\ttext[0] = 1;\n\tnote(text, 600);\n{FLAGS}")
DEEPER = ("\tpage->flags &= ~1UL;\n", "\tchar b[300];\n\n\tnote(b, 300);\n\tpage->flags &= ~1UL;\n")


def test_a_series_is_built_patch_by_patch(bench: Bench) -> None:
    bench.repo.edit("mm: one", "mm/vmscan.c", *BUFFER)
    bench.repo.edit("fs: two", "fs/minifs/inode.c", *DEEPER)
    result = bench.build()
    assert (result.outcome, result.reason) == (Outcome.PASSED, "")
    assert [patch.objects for patch in result.patches] == [("mm/vmscan.o",), ("fs/minifs/inode.o",)]
    assert [patch.applied.value for patch in result.patches] == ["exact", "exact"]
    assert result.compiler.startswith("gcc")
    assert result.kernel_release == "6.1.0"
    assert result.image is not None
    assert result.not_compiled == ()
    frames = bench.stack(result).frames
    assert [(f.function, f.patch) for f in frames] == [("pageout", 1), ("minifs_writepage", 2)]
    assert all((f.after or 0) - (f.before or 0) >= 296 for f in frames)


def test_the_stack_can_be_compared_before_the_link(bench: Bench) -> None:
    bench.repo.edit("mm: one", "mm/vmscan.c", *BUFFER)
    result = bench.build()
    early = [progress.stack for progress in bench.said if progress.stack]
    assert early == [comparison(result, "x86_64")]


def test_a_baseline_is_built_once_and_never_changed(bench: Bench) -> None:
    bench.repo.edit("mm: one", "mm/vmscan.c", *BUFFER)
    bench.build()
    root = bench.config.baselines

    def state() -> dict[str, tuple[int, int]]:
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(root.rglob("*"))
                if p.is_file() and p.suffix != ".lock"}  # fmt: skip

    before = state()
    assert bench.build().outcome is Outcome.PASSED
    assert state() == before
    assert not any(path.is_dir() for path in bench.config.builds.iterdir())


def test_the_first_patch_that_breaks_is_named_with_gccs_lines(bench: Bench) -> None:
    bench.repo.edit("mm: one", "mm/vmscan.c", *BUFFER)
    bench.repo.edit("mm: two", "mm/vmscan.c", "int done = 0;", "int done = nowhere;")
    bench.repo.edit("mm: three", "mm/vmscan.c", "int done = nowhere;", "int done = 0;")
    result = bench.build()
    assert (result.outcome, result.broken_patch) == (Outcome.FAILED, 2)
    assert result.reason == "patch 2 does not build"
    lines = result.patches[1].error
    assert lines[0] == "mm/vmscan.c: In function 'shrink_list':"
    assert lines[1].startswith("mm/vmscan.c:24:20: error: 'nowhere' undeclared")
    assert len(result.patches) == 2
    # what was found before the build broke stays found
    assert [(f.function, f.patch) for f in bench.stack(result).frames] == [("pageout", 1)]


def test_a_link_that_fails_is_told_in_the_linkers_lines(bench: Bench) -> None:
    bench.repo.edit(
        "mm: one", "mm/vmscan.c", "return minifs_writepage(page);", "return nowhere(page);"
    )
    bench.repo.edit(
        "mm: two", "include/mini.h", "#endif", "int nowhere(struct page *page);\n\n#endif"
    )
    bench.repo.git("reset", "--quiet", "--soft", bench.base)
    bench.repo.commit("mm: both", {})
    result = bench.build()
    assert result.broken_patch == 1
    assert any("undefined reference to `nowhere'" in line for line in result.patches[0].error)


UNUSED = ("int done = 0;", "int done = 0;\n\tint unused;")


def test_new_warnings_are_reported_and_old_ones_not(bench: Bench) -> None:
    bench.repo.edit(
        "old",
        "mm/main.c",
        "struct page page = { 1, 1 };",
        "struct page page = { 1, 1 };\n\tint old;",
    )
    bench.base = bench.repo.git("rev-parse", "HEAD").strip()
    trees.add(bench.config, "mini", str(bench.repo.path), lambda _: None)
    bench.repo.edit("mm: one", "mm/vmscan.c", *UNUSED)
    bench.repo.edit("mm: two", "mm/main.c", "page->index;", "page->index + 1;")
    result = bench.build()
    assert [len(patch.warnings) for patch in result.patches] == [1, 0]
    (warned,) = result.patches[0].warnings
    assert (warned.file, warned.line, warned.flag) == ("mm/vmscan.c", 21, "-Wunused-variable")
    assert warned.text == "unused variable 'unused'"


def test_a_warning_that_a_later_patch_mends_is_not_reported(bench: Bench) -> None:
    bench.repo.edit("mm: one", "mm/vmscan.c", *UNUSED)
    bench.repo.edit("mm: two", "mm/vmscan.c", *reversed(UNUSED))
    assert [patch.warnings for patch in bench.build().patches] == [(), ()]


def test_what_the_configuration_lacks_is_switched_on(bench: Bench) -> None:
    bench.repo.edit("fs: other", "fs/otherfs/inode.c", "\tpage->flags &= ~2UL;\n",
                    "\tchar b[300];\n\n\tnote(b, 300);\n\tpage->flags &= ~2UL;\n")  # fmt: skip
    result = bench.build()
    assert [one.symbol for one in result.enabled] == ["MISC_FILESYSTEMS", "OTHER_FS"]
    assert result.not_compiled == ()
    assert result.patches[0].objects == ("fs/otherfs/inode.o",)
    (frame,) = bench.stack(result).frames
    assert frame.before is not None
    layers_ = sorted((bench.config.baselines / "obj").glob("*/manifest.json"))
    assert len(layers_) == 2
    objects = sorted(p.name for p in (bench.config.baselines / "obj").glob("*/tree/**/*.o"))
    assert objects.count("vmscan.o") == 1  # the derived baseline holds what it adds


def test_what_cannot_be_compiled_is_named_with_the_reason(bench: Bench) -> None:
    bench.repo.commit("odd", {
        "arch/arm64/mm/fault.c": "int x;\n", "include/unused.h": "#define OTHER 1\n",
        "fs/alien.c": "int alien2;\n", "Documentation/x.rst": "words\n",
    })  # fmt: skip
    result = bench.build()
    reasons = {one.file: one.reason for one in result.not_compiled}
    assert sorted(reasons) == ["arch/arm64/mm/fault.c", "fs/alien.c", "include/unused.h"]
    assert "arm64 architecture" in reasons["arch/arm64/mm/fault.c"]
    assert "ALIEN" in reasons["fs/alien.c"]
    assert reasons["include/unused.h"] == "no file that is compiled includes it"


def test_a_header_that_is_used_is_compiled(bench: Bench) -> None:
    bench.repo.edit(
        "mini: grow",
        "include/mini.h",
        "\tunsigned long index;",
        "\tunsigned long index;\n\tchar pad[256];",
    )
    result = bench.build()
    assert result.not_compiled == ()
    assert len(result.patches[0].objects) == 3
    assert "start" in {frame.function for frame in bench.stack(result).frames}


def test_a_new_file_and_a_removed_one(bench: Bench) -> None:
    bench.repo.commit("move", {
        "mm/new.c": '#include "mini.h"\nint submit_io(struct page *page) { return page->index; }\n',
        "mm/Makefile": "obj-y += vmscan.o main.o new.o\n",
        "mm/main.c": (bench.repo.path / "mm/main.c").read_text().replace(
            "int submit_io(struct page *page)\n{\n\tnoted += page->index;\n\treturn 1;\n}\n", ""),
        "include/unused.h": None,
    })  # fmt: skip
    result = bench.build()
    assert result.outcome is Outcome.PASSED, result
    assert result.patches[0].objects == ("mm/main.o", "mm/new.o")


def test_a_patch_that_does_not_apply(bench: Bench) -> None:
    bench.repo.edit("mm: one", "mm/vmscan.c", *BUFFER)
    patches = texts(bench.repo.mails(bench.base))
    lines = (
        patches[0]
        .diff.replace(b" \tpage->flags", b" \tother->flags")
        .replace(b"-\tpage", b"-\tother")
    )
    lines = lines.replace(b" \t\treturn 0;", b" \t\treturn 7;")
    result = bench.build(patches=(patches[0].model_copy(update={"diff": lines}),))
    assert result.outcome is Outcome.FAILED
    assert result.misfit is not None
    assert (result.misfit.file, result.misfit.hunk) == ("mm/vmscan.c", 1)
    assert "\t\treturn 7;" in result.misfit.expected
    assert "\t\treturn 0;" in result.misfit.found


def test_a_patch_that_is_refused(bench: Bench) -> None:
    (bench.repo.path / "link").symlink_to("/etc/passwd")
    bench.repo.commit("link", {})
    result = bench.build()
    assert result.refusal is not None
    assert "symbolic link" in result.refusal.reason


def test_an_option_that_is_dropped_is_an_error_that_names_it(bench: Bench) -> None:
    bench.repo.edit("mm: one", "mm/vmscan.c", *BUFFER)
    config = CONFIG.model_copy(update={"options": ("CONFIG_MINI_FS=y", "CONFIG_NOWHERE=y")})
    with pytest.raises(DroppedOptionsError, match="CONFIG_NOWHERE=y"):
        bench.build(config=config)


def test_a_base_that_does_not_build_is_our_own_problem(bench: Bench) -> None:
    bench.repo.edit("broken", "mm/main.c", "return 1;", "return nowhere;")
    bench.base = trees.add(bench.config, "mini", str(bench.repo.path), lambda _: None).head
    bench.repo.edit("mm: one", "mm/vmscan.c", *BUFFER)
    with pytest.raises(BaselineBrokenError, match="nowhere"):
        bench.build()


# what the Makefile tries, and how the build must end
HOSTILE: dict[str, tuple[str, str]] = {
    "reads a host file": (
        "x := $(shell cat /etc/shadow {secret} 2>/dev/null)\n$(if $(x),$(error leaked $(x)))\n",
        "",
    ),
    "opens a socket": (
        (
            "x := $(shell python3 -c 'import socket; socket.socket(); print(1)' 2>/dev/null)\n"
            "$(if $(x),$(error connected))\n"
        ),
        "",
    ),
    "writes outside": (
        (
            "outs := / /usr /build /build/src {outside}\n"
            "x := $(shell for d in $(outs); do touch $$d/owned && echo $$d; done 2>/dev/null)\n"
            "$(if $(x),$(error wrote $(x)))\n"
        ),
        "",
    ),
    "forks without end": ("$(shell python3 $(S)/mm/bomb.py)\n", "did not end within"),
    "fills the disk": (
        "$(shell i=0; while dd if=/dev/zero of=f$$i bs=1M count=8; do i=$$((i+1)); done)\n",
        "wrote more than 64 MiB",
    ),
    "outlives the build": (
        "$(shell setsid nohup sleep 8{number} >/dev/null 2>&1 </dev/null &)\n",
        "",
    ),
}


@pytest.mark.parametrize("trick", sorted(HOSTILE))
def test_a_patch_whose_makefile_is_hostile(bench: Bench, tmp_path: Path, trick: str) -> None:
    text, ends = HOSTILE[trick]
    secret, marker = tmp_path / "secret", "7123456"
    secret.write_text("hunter2")
    text = text.replace("{secret}", str(secret)).replace("{outside}", str(tmp_path))
    makefile = (bench.repo.path / "mm/Makefile").read_text()
    bench.repo.commit("evil", {
        "mm/Makefile": makefile + text.replace("{number}", marker),
        "mm/bomb.py": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n",
    })  # fmt: skip
    result = bench.build(limits=LIMITS.model_copy(update={"wall_seconds": 10}))
    error = "\n".join(result.patches[0].error)
    assert ends in error
    assert bool(error) == bool(ends), error
    assert not (tmp_path / "owned").exists()
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = found.read_bytes()
        except OSError:
            continue
        assert marker.encode() not in line
        assert b"bomb.py" not in line
