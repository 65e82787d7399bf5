"""A series that needs others below it, built for real on the kernel in miniature."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bot.contract import (
    BuildRequest,
    BuildResult,
    KernelConfig,
    Limits,
    Outcome,
    PatchText,
)
from bot.review.jobs import comparison
from tests.gitmail import Repo, miniature, texts
from tests.integration.conftest import Desk, one_line
from workers import trees
from workers.artifacts import Artifacts
from workers.build import build
from workers.config import WorkerConfig
from workers.stack import answer

CONFIG = KernelConfig(
    name="miniature", arch="x86_64", target="bzImage", compiler="gcc", base="tinyconfig",
    options=("CONFIG_MINI_FS=y",),
)  # fmt: skip
LIMITS = Limits(
    wall_seconds=60, memory_bytes=1 << 30, processes=60, file_bytes=16 << 20,
    disk_bytes=64 << 20, parallel=2,
)  # fmt: skip
FLAGS = "\tpage->flags |= 2;\n"
BUFFER = (FLAGS, f"\tchar text[600];\n\n\ttext[0] = 1;\n\tnote(text, 600);\n{FLAGS}")
SMALLER = ("char text[600]", "char text[400]")
DEEPER = ("\tpage->flags &= ~1UL;\n", "\tchar b[300];\n\n\tnote(b, 300);\n\tpage->flags &= ~1UL;\n")


class Bench:
    """A worker and its tree, whose head is the kernel in miniature."""

    def __init__(self, home: Path) -> None:
        self.repo = miniature(home / "repo")
        self.config = WorkerConfig(home / "data", home / "cache")
        self.base = trees.add(self.config, "mini", str(self.repo.path), lambda _: None).head

    def below(self) -> tuple[PatchText, ...]:
        """Return a prerequisite, and stay on the commit that it makes."""
        self.repo.edit("mm: needed", "mm/vmscan.c", *BUFFER)
        return texts(self.repo.mails(self.base))

    def build(
        self, patches: Sequence[PatchText], below: Sequence[PatchText], base: str = ""
    ) -> BuildResult:
        request = BuildRequest(
            tree="mini", base=base or self.base, config=CONFIG, patches=tuple(patches),
            limits=LIMITS, prerequisites=tuple(below),
        )  # fmt: skip
        return build(self.config, request, lambda _: None)

    def frames(self, result: BuildResult) -> list[tuple[str, int]]:
        request = comparison(result, "x86_64")
        assert request is not None
        found = answer.answer(request, Artifacts(self.config.artifacts).get).frames
        return [(one.function, (one.after or 0) - (one.before or 0)) for one in found]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def series(repo: Repo, since: str) -> tuple[PatchText, ...]:
    return texts(repo.mails(since))


def test_what_a_prerequisite_does_is_no_finding_of_the_series(bench: Bench) -> None:
    below = bench.below()
    start = bench.repo.git("rev-parse", "HEAD").strip()
    bench.repo.edit("mm: less", "mm/vmscan.c", *SMALLER)
    bench.repo.edit("fs: more", "fs/minifs/inode.c", *DEEPER)
    patches = series(bench.repo, start)
    assert bench.build(patches, ()).misfit is not None
    result = bench.build(patches, below)
    assert (result.outcome, result.reason, result.base_commit) == (Outcome.PASSED, "", bench.base)
    assert [patch.applied.value for patch in result.patches] == ["exact", "exact"]
    moved = dict(bench.frames(result))
    assert -220 < moved["pageout"] < -180
    assert moved["minifs_writepage"] > 250
    # the tree has nothing of it, and the baseline is the one that a base with it would have
    assert bench.repo.git("-C", str(trees.repository(bench.config, "mini")), "log", "--all",
                          "--format=%s").split("\n")[:-1] == ["miniature"]  # fmt: skip
    known = sorted((bench.config.baselines / "obj").glob("*/manifest.json"))
    bench.repo.git("reset", "--quiet", "--hard", start)
    taken = trees.add(bench.config, "mini", str(bench.repo.path), lambda _: None).head
    again = bench.build(patches, below, taken)
    assert bench.frames(again) == bench.frames(result)  # and one that is there is passed over
    assert sorted((bench.config.baselines / "obj").glob("*/manifest.json")) == known


def test_a_prerequisite_that_does_not_apply_is_told_as_one(bench: Bench) -> None:
    below = bench.below()
    start = bench.repo.git("rev-parse", "HEAD").strip()
    bench.repo.edit("mm: less", "mm/vmscan.c", *SMALLER)
    patches = series(bench.repo, start)
    result = bench.build(patches, patches)  # it needs what it is itself
    assert (result.outcome, result.misfit, result.patches) == (Outcome.FAILED, None, ())
    assert result.unmet is not None
    assert (result.unmet.index, result.unmet.file) == (1, "mm/vmscan.c")
    assert result.reason.startswith('prerequisite 1, "mm: less" (')
    assert "does not apply: hunk 1 of mm/vmscan.c" in result.reason
    wild = below[0].model_copy(update={"diff": below[0].diff.replace(b"mm/vmscan.c", b"../x.c")})
    assert "does not apply: a file name has '..' in it" in bench.build(patches, (wild,)).reason
    alien = below[0].model_copy(update={"diff": below[0].diff.replace(b"mm/vmscan.c", b"no/x.c")})
    assert "none of its files exists" in bench.build(patches, (alien,)).reason


def test_a_review_takes_the_prerequisites_from_the_mail_beside_the_series(desk: Desk) -> None:
    repo = desk.repo
    repo.edit("mm: needed", "mm/vmscan.c", *BUFFER)
    needed = repo.mails(desk.base)
    start = repo.git("rev-parse", "HEAD").strip()
    repo.edit("mm: less", "mm/vmscan.c", *SMALLER)
    own = repo.mails(start, f"--base={desk.base}")
    box, report = desk.home / "box.mbox", desk.home / "report.json"
    box.write_bytes(b"".join(mail.rstrip(b"\n") + b"\n\n" for mail in (*needed, *own)))
    (name,) = [line for line in own[0].decode().splitlines() if line.startswith("Message-I")]
    words = desk.review(box, "--series", name.partition(" ")[2], "--json", report)
    done = desk.run("-v", *words)
    assert done.returncode == 0, done.stderr
    assert "base-commit of the series, with 1 prerequisite patch" in " ".join(done.stdout.split())
    base = json.loads(report.read_text())["base"]
    assert base["commit"] == desk.base
    assert [(one["how"], one["tree"]) for one in base["attempts"]] == [("base-commit", "mini")]
    assert f"base: base-commit, mini: {desk.base[:12]}, base-commit of the series" in done.stderr
    # asked for by the tree's name; here the prerequisite is not in the mail
    alone = desk.home / "alone.mbox"
    alone.write_bytes(own[0])
    failed = desk.run(*desk.review(alone, "--base", "mini", "--json", report))
    assert failed.returncode == 1
    said = " ".join(failed.stdout.split())
    assert "asked for by the tree's name, without the prerequisite" in said
    gone = desk.run(*desk.review(alone, "--base", "nowhere"))
    assert (gone.returncode, "nowhere is no commit in mini" in one_line(gone.stderr)) == (2, True)
