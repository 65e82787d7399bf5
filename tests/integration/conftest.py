"""Shared by the integration tests: the command line run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.review import plan
from bot.settings import load
from bot.verbs.wiring import worker_config
from policies import kernels
from tests.gitmail import Repo, miniature
from workers import baseline, trees
from workers.baseline import Base

ROOT = Path(__file__).parents[2]
STACKHOG = (sys.executable, "-m", "bot")
FRAGMENT = "# reason: the file system that the tests change\nCONFIG_MINI_FS=y\n"
CONFIG = """\
name = "miniature"
arch = "x86_64"
base = "tinyconfig"
target = "bzImage"
compiler = "{compiler}"
about_objects = 3
fragments = ["mini.config"]
"""


@dataclass
class Desk:
    """A user's machine: a home of its own, the kernel in miniature as a tree."""

    home: Path
    repo: Repo
    config: Path
    base: str

    def environment(self) -> dict[str, str]:
        return {**os.environ, "STACKHOG_HOME": str(self.home / "state")}

    def command(self, *words: str | Path) -> list[str]:
        return [*STACKHOG, *map(str, words)]

    def run(self, *words: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), cwd=ROOT, env=self.environment(), check=False, text=True,
            capture_output=True, timeout=timeout,
        )  # fmt: skip

    def mbox(self, *options: str) -> Path:
        return self.repo.mbox(self.base, self.home / "series.mbox", *options)

    def review(self, mail: Path, *options: str | Path) -> list[str | Path]:
        # what the miniature builds is no kernel that boots
        jobs = () if "--jobs" in options else ("--jobs", "build,stack")
        return ["review", mail, "--tree", "mini", "--config", self.config, *jobs, *options]

    def write_config(self, compiler: str = "gcc") -> Path:
        (self.home / "mini.config").write_text(FRAGMENT)
        path = self.home / "mini.toml"
        path.write_text(CONFIG.format(compiler=compiler))
        return path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    repo = miniature(tmp_path / "repo")
    found = Desk(tmp_path, repo, tmp_path / "mini.toml", repo.git("rev-parse", "HEAD").strip())
    found.write_config()
    added = found.run("tree", "add", "mini", repo.path)
    assert added.returncode == 0, added.stderr
    return found


def one_line(text: str) -> str:
    """Return the one sentence of an error; fails when there is a traceback or more."""
    assert "Traceback" not in text
    said = [line for line in text.splitlines() if line.startswith("stackhog: ")]
    assert len(said) == 1, text
    return said[0]


def children(pid: int) -> Sequence[int]:
    """Return the process ids below a process, at any depth."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def command_of(pid: int) -> str:
    """Return a process's command line, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


TREE = "debian-6.1"


def stackhog(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*STACKHOG, *map(str, words)], cwd=ROOT, check=False, text=True, capture_output=True
    )


@pytest.fixture(scope="session")
def tree() -> Path:
    """Return the repository of the kernel tree, imported when it is not there."""
    done = stackhog("tree", "add", TREE, "--debian", "linux-source-6.1")
    assert done.returncode == 0, done.stderr
    return load().data / "trees" / f"{TREE}.git"


@pytest.fixture(scope="session")
def objects(tree: Path) -> tuple[Path, Path]:
    """Return object tree and source of the default baseline, built when it is not there."""
    settings = load()
    worker = worker_config(settings)
    head = trees.get(worker, TREE).head
    base = Base(TREE, head, plan.kernel(kernels.load("default")), plan.limits(settings))
    found = baseline.ensure(worker, base, lambda _: None)
    assert tree.exists()
    return found.objects[0], found.source


@pytest.fixture(scope="session")
def image(objects: tuple[Path, Path]) -> Path:
    """Return the kernel of the default baseline."""
    return objects[0] / "arch/x86/boot/bzImage"
