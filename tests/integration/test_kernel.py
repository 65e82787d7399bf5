"""The real thing: Debian's kernel, in the state and caches that `make demo` uses too."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bot.settings import load
from tests.gitmail import Repo
from tests.integration.conftest import ROOT, STACKHOG

TREE = "debian-6.1"
DEMO = ROOT / "demo" / "writeback-more.mbox"


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


def review(mail: Path, tmp_path: Path, status: int) -> tuple[str, dict[str, Any]]:
    report = tmp_path / "report.json"
    done = stackhog("review", mail, "--tree", TREE, "--json", report)
    assert done.returncode == status, done.stderr
    return done.stdout, json.loads(report.read_text())


def kernel_file(tree: Path, tmp_path: Path, name: str) -> tuple[Repo, str]:
    """Return a repository that holds one file of the kernel, and its commit."""
    text = subprocess.run(
        ["git", "-C", tree, "show", f"HEAD:{name}"], check=True, capture_output=True, text=True  # noqa: S607
    ).stdout  # fmt: skip
    repo = Repo(tmp_path / "kernel")
    return repo, repo.commit("base", {name: text})


@pytest.mark.usefixtures("tree")
@pytest.mark.timeout(3600)
def test_the_demo_series_has_the_findings_it_was_made_for(tmp_path: Path) -> None:
    mail, report = review(DEMO, tmp_path, 1)
    found = [(f["kind"], f["patch"], f["function"], f["severity"]) for f in report["findings"]]
    assert found == [
        ("frame-grew", 1, "pageout", "fail"),
        ("frame-grew", 2, "ext4_writepage", "note"),
        ("warning", 3, None, "fail"),
    ]
    grown = report["findings"][0]
    assert 380 <= grown["after"] - grown["before"] <= 420  # 48 pointers and what they need
    assert report["build"]["not_compiled"] == []
    assert report["build"]["image"]
    assert "> +\t\tstruct page *near[48];" in mail
    assert "unused variable 'inode'" in mail


@pytest.mark.timeout(3600)
def test_a_file_system_that_the_configuration_lacks_is_compiled(tree: Path, tmp_path: Path) -> None:
    repo, base = kernel_file(tree, tmp_path, "fs/omfs/file.c")
    repo.edit(
        "omfs: look before writing", "fs/omfs/file.c",
        "{\n\treturn block_write_full_page(page, omfs_get_block, wbc);\n",
        "{\n\tchar name[300];\n\n\tsnprintf(name, sizeof(name), \"%lu\", page->index);\n"
        "\tpr_debug(\"%s\\n\", name);\n"
        "\treturn block_write_full_page(page, omfs_get_block, wbc);\n",
    )  # fmt: skip
    repo.commit("arm64: and a file of another architecture", {"arch/arm64/mm/new.c": "int x;\n"})
    _, report = review(repo.mbox(base, tmp_path / "omfs.mbox"), tmp_path, 1)
    assert "OMFS_FS" in [one["symbol"] for one in report["build"]["enabled"]]
    (missing,) = report["build"]["not_compiled"]
    assert (missing["file"], "arm64" in missing["reason"]) == ("arch/arm64/mm/new.c", True)
    frames = [f for f in report["stack"]["frames"] if f["function"] == "omfs_writepage"]
    assert len(frames) == 1
    assert frames[0]["after"] - frames[0]["before"] >= 300


@pytest.mark.timeout(3600)
def test_a_patch_that_breaks_the_real_build_is_named(tree: Path, tmp_path: Path) -> None:
    repo, base = kernel_file(tree, tmp_path, "mm/vmscan.c")
    text = (repo.path / "mm/vmscan.c").read_text()
    repo.commit("mm/vmscan: broken", {"mm/vmscan.c": text + "\nint broken(void) { return nowhere; }\n"})  # noqa: E501 # fmt: skip
    mail, report = review(repo.mbox(base, tmp_path / "broken.mbox"), tmp_path, 1)
    assert report["build"]["broken_patch"] == 1
    assert "error: 'nowhere' undeclared" in mail
    assert mail.count("The patch does not build.") == 1
