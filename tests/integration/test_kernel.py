"""The real thing: Debian's kernel, in the state and caches that `make demo` uses too."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.gitmail import Repo
from tests.integration.conftest import ROOT, TREE, stackhog
from workers.stack import desk
from workers.stack.program import Program

UNBOOTED = ("--jobs", "build,stack")
DEMO = ROOT / "demo" / "writeback-more.mbox"


def review(mail: Path, tmp_path: Path, status: int, *options: str) -> tuple[str, dict[str, Any]]:
    report = tmp_path / "report.json"
    done = stackhog("review", mail, "--tree", TREE, "--json", report, *options)
    assert done.returncode == status, done.stderr
    return done.stdout, json.loads(report.read_text())


def kernel_file(tree: Path, tmp_path: Path, name: str) -> tuple[Repo, str]:
    """Return a repository that holds one file of the kernel, and its commit."""
    repo = Repo(tmp_path / "kernel")
    return repo, repo.commit("base", {name: git_show(tree, name)})


def git_show(tree: Path, name: str) -> str:
    return subprocess.run(
        ["git", "-C", tree, "show", f"HEAD:{name}"], check=True, capture_output=True, text=True  # noqa: S607
    ).stdout  # fmt: skip


@pytest.mark.usefixtures("tree")
@pytest.mark.timeout(3600)
def test_the_demo_series_has_the_findings_it_was_made_for(tmp_path: Path) -> None:
    mail, report = review(DEMO, tmp_path, 1)
    found = [(f["kind"], f["patch"], f["function"], f["severity"]) for f in report["findings"]]
    assert found == [
        ("stack-deeper", 1, "pageout", "fail"),  # seen in a running kernel
        ("frame-grew", 1, "pageout", "fail"),
        ("chain-grew", 1, "pageout", "fail"),
        ("frame-grew", 2, "ext4_writepage", "note"),
        ("chain-grew", 2, "ext4_writepage", "note"),
        ("warning", 3, None, "fail"),
    ]
    seen = report["findings"][0]
    assert 380 <= seen["after"] - seen["before"] <= 620  # alone, or with that of ext4_writepage()
    runs = report["stress"]["runs"]
    assert [(one["profile"]["name"], one["filesystem"]) for one in runs] == [
        ("quick", "ext4"), ("quick", "vfat"),
    ]  # fmt: skip
    assert all(boot["ending"] == "done" for one in runs for boot in one["patched"])
    assert " ".join(mail.split()).count("file pages written by kswapd") == len(runs)
    assert "qemu-system-x86_64 -accel tcg" in mail
    grown = report["findings"][1]
    assert 380 <= grown["after"] - grown["before"] <= 420  # 48 pointers and what they need
    chain = report["findings"][2]
    assert chain["after"] - chain["before"] == grown["after"] - grown["before"]
    assert "kswapd-writepage (ext4)" in chain["text"][0]  # what can happen today comes first
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
    _, report = review(repo.mbox(base, tmp_path / "omfs.mbox"), tmp_path, 1, *UNBOOTED)
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
    mail, report = review(repo.mbox(base, tmp_path / "broken.mbox"), tmp_path, 1, *UNBOOTED)
    assert report["build"]["broken_patch"] == 1
    assert "error: 'nowhere' undeclared" in mail
    assert mail.count("The patch does not build.") == 1


WRITEPAGES = re.compile(r"^\s*\.writepage\s*=\s*(\w+),", re.MULTILINE)


@pytest.mark.timeout(3600)
def test_pageout_reaches_the_writepage_functions_of_the_source(
    objects: tuple[Path, Path],
) -> None:
    build, source = objects
    program = Program(desk.load(build).values())
    compiled = {function.file for function in program.functions.values()}
    wanted = {
        name
        for file in sorted(compiled) if (source / file).exists()
        for name in WRITEPAGES.findall((source / file).read_text(errors="replace"))
    }  # fmt: skip
    assert {"ext4_writepage", "ext2_writepage", "fat_writepage", "swap_writepage"} <= wanted
    (pageout,) = [one for one in program.functions if one.partition("@")[0] == "pageout"]
    reached = {
        edge.callee.partition("@")[0]
        for edge in program.edges(pageout)
        if edge.node == "R:address_space_operations.writepage"
    }
    assert reached == wanted


@pytest.mark.timeout(3600)
def test_the_stack_of_a_built_kernel_is_added_up(
    objects: tuple[Path, Path], tmp_path: Path
) -> None:
    done = stackhog("stack", objects[0], "--json", "--svg", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["budget_bytes"] == 16384
    chains = {(one["profile"], one["name"]): one["after"] for one in found["chains"]}
    names = {name for profile, name in chains if profile == "direct-reclaim-writepage"}
    assert names == {"ext2", "ext4", "fat"}
    for key, depth in chains.items():
        assert depth["hops"][-1]["depth"] == depth["witness_bytes"], key
        assert sum(hop["frame"] for hop in depth["hops"]) == depth["witness_bytes"], key
        assert depth["witness_bytes"] <= depth["upper_bytes"] <= 1.3 * depth["witness_bytes"], key
        held = "current_is_kswapd()" in " ".join(depth["held"])
        assert held == (key[0] == "direct-reclaim-writepage"), key
    assert found["stats"]["unknown"] <= found["stats"]["indirect_calls"] / 1000
    assert len([*tmp_path.glob("*.svg")]) == len(chains)
    again = stackhog("stack", objects[0], "--json")
    assert json.loads(again.stdout) == found


@pytest.mark.timeout(3600)
def test_a_kernel_compared_with_itself_changes_nothing(objects: tuple[Path, Path]) -> None:
    done = stackhog("stack", objects[0], "--base", objects[0], "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [found[key] for key in ("frames", "edges", "guards", "targets")] == [[], [], [], []]
    assert all(one["before"] == one["after"] for one in found["chains"])


GUARD = (
    "\t\t\tif (folio_is_file_lru(folio) &&\n"
    "\t\t\t    (!current_is_kswapd() ||\n"
    "\t\t\t     !folio_test_reclaim(folio) ||\n"
)


@pytest.mark.timeout(3600)
def test_a_lost_guard_a_deep_filesystem_and_a_mere_move(tree: Path, tmp_path: Path) -> None:
    repo, _ = kernel_file(tree, tmp_path, "mm/vmscan.c")
    ext2 = git_show(tree, "fs/ext2/inode.c")
    base = repo.commit("base", {"fs/ext2/inode.c": ext2})
    repo.edit(
        "mm/vmscan: let everybody write", "mm/vmscan.c", GUARD,
        GUARD.replace("(!current_is_kswapd() ||\n\t\t\t     !folio", "(!folio"),
    )  # fmt: skip
    repo.edit(
        "ext2: a large buffer", "fs/ext2/inode.c",
        "{\n\treturn block_write_full_page(page, ext2_get_block, wbc);\n",
        "{\n\tchar text[1024];\n\n\tsnprintf(text, sizeof(text), \"%lu\", page->index);\n"
        "\tpr_debug(\"%s\\n\", text);\n"
        "\treturn block_write_full_page(page, ext2_get_block, wbc);\n",
    )  # fmt: skip
    text = (repo.path / "mm/vmscan.c").read_text()
    # two functions change places, and every line below gets another number
    first = text.index("static bool can_demote(")
    second = text.index("static inline bool can_reclaim_anon_pages(", first)
    third = text.index("/*\n * This misses isolated folios", second)
    swapped = "\n" * 30 + text[second:third] + text[first:second]
    forward = "static bool can_demote(int nid, struct scan_control *sc);\n"
    repo.commit("mm/vmscan: move", {"mm/vmscan.c": text[:first] + forward + swapped + text[third:]})
    mail, report = review(repo.mbox(base, tmp_path / "three.mbox"), tmp_path, 1, *UNBOOTED)
    found = {(one["patch"], one["kind"]): one for one in report["findings"]}
    assert {patch for patch, _ in found} == {1, 2}  # moving code is no finding
    lost, opened = found[1, "guard-lost"], found[1, "chain-reached"]
    assert (lost["function"], lost["text"][0]) == ("shrink_folio_list", "pageout")
    assert "current_is_kswapd()" in lost["text"][1]
    assert opened["severity"] == lost["severity"] == "fail"
    assert "direct reclaim now reaches ->writepage of ext4" in opened["text"][0]
    grown = found[2, "chain-grew"]
    assert grown["function"] == "ext2_writepage"
    assert 1024 <= grown["after"] - grown["before"] <= 1100
    assert "the path can" not in mail
    assert "Direct reclaim now reaches ->writepage" in mail
