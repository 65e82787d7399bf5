"""A package's source archive, laid out as Debian lays it out, becomes a tree."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from workers import debian, trees
from workers.config import WorkerConfig

PACKAGE = "linux-source-6.1"
BUILT = "2026-01-05 10:00:00Z"
DPKG = """#!/bin/sh
printf 'installed %s' "$(cat {place}/installed)"
"""
APT_CACHE = """#!/bin/sh
printf 'Package: x\\nVersion: %s\\n' "$(cat {place}/offered)"
"""
APT_GET = """#!/bin/sh
echo download >>{place}/downloads
exec cp {place}/package.deb .
"""


@dataclass
class Machine:
    """A machine whose dpkg and apt know one package; git, xz, tar and dpkg-deb are real."""

    place: Path
    config: WorkerConfig

    @property
    def archive(self) -> Path:
        return self.place / "usr-src" / f"{PACKAGE}.tar.xz"

    def pack(self, version: str, **files: str) -> None:
        """Make the source archive of a version, and install it."""
        top = self.place / PACKAGE
        run("rm", "-rf", str(top))
        (top / "mm").mkdir(parents=True)
        (top / "mm" / "vmscan.c").write_text("int x;\n")
        (top / "run.sh").write_text("#!/bin/sh\n")
        (top / "run.sh").chmod(0o755)
        (top / "link").symlink_to("mm/vmscan.c")
        (top / 'odd "name" \\').write_text("odd\n")
        os.link(top / "mm" / "vmscan.c", top / "twin.c")
        for name, text in files.items():
            (top / name).write_text(text)
        self.archive.parent.mkdir(exist_ok=True)
        words = ("--sort=name", f"--mtime={BUILT}", "--owner=0", "--group=0", "-cJf")
        run("tar", "-C", str(self.place), *words, str(self.archive), PACKAGE)
        self.say("installed", version)

    def say(self, name: str, text: str) -> None:
        (self.place / name).write_text(text)

    def offer(self, version: str) -> None:
        """Move the archive into a package that apt has, and that is not installed."""
        root = self.place / "deb"
        (root / "DEBIAN").mkdir(parents=True, exist_ok=True)
        fields = f"Package: {PACKAGE}\nVersion: {version}\nArchitecture: all\n"
        (root / "DEBIAN" / "control").write_text(f"{fields}Maintainer: A <a@b.c>\nDescription: x\n")
        inside = root / self.archive.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        self.archive.rename(inside)
        run("dpkg-deb", "-b", str(root), str(self.place / "package.deb"))
        self.say("installed", "")
        self.say("offered", version)

    def add(self) -> trees.Tree:
        return debian.add(self.config, "debian", PACKAGE, lambda _: None)

    def git(self, *words: str) -> str:
        return run("git", "-C", str(self.config.trees / "debian.git"), *words)


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True).stdout.decode()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    (tmp_path / "bin").mkdir()
    programs = {"dpkg-query": DPKG, "apt-cache": APT_CACHE, "apt-get": APT_GET}
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text.format(place=tmp_path))
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(debian, "INSTALLED", tmp_path / "usr-src")
    found = Machine(tmp_path, WorkerConfig(tmp_path / "data", tmp_path / "cache"))
    found.pack("6.1.1-1")
    return found


def test_the_archive_is_one_commit(machine: Machine) -> None:
    tree = machine.add()
    assert (tree.source, tree) == (f"debian:{PACKAGE} 6.1.1-1", trees.get(machine.config, "debian"))
    made = machine.git("log", "--format=%an <%ae> %ct %s")
    assert made == f"stackhog <stackhog@localhost> 1767607200 {PACKAGE} 6.1.1-1\n"
    listed = machine.git("ls-tree", "-r", "-z", "--format=%(objectmode) %(path)", "HEAD")
    assert listed.split("\0")[:-1] == [
        "120000 link", "100644 mm/vmscan.c", r'100644 "odd \"name\" \\"', "100755 run.sh",
        "100644 twin.c",
    ]  # fmt: skip
    assert machine.git("show", "HEAD:link") == "mm/vmscan.c"
    assert machine.git("show", "HEAD:twin.c") == "int x;\n"
    machine.git("fsck", "--strict")


def test_the_commit_is_the_same_everywhere(machine: Machine, tmp_path: Path) -> None:
    first = machine.add()
    machine.config = WorkerConfig(tmp_path / "data2", tmp_path / "cache2")
    assert machine.add().head == first.head


def test_the_same_version_is_not_imported_again(machine: Machine) -> None:
    first = machine.add()
    machine.archive.unlink()
    assert machine.add() == first


def test_a_new_version_is_a_commit_on_top(machine: Machine) -> None:
    machine.pack("6.1.1-1", less="less\n")
    first = machine.add()
    machine.pack("6.1.2-1", more="more\n")
    second = machine.add()
    assert machine.git("rev-parse", "HEAD", "HEAD^").split() == [second.head, first.head]
    assert (
        machine.git("diff", "--no-renames", "--name-status", "HEAD^", "HEAD")
        == "D\tless\nA\tmore\n"
    )


def test_an_update_that_was_killed_before_its_record_is_done_again(machine: Machine) -> None:
    machine.add()
    record = machine.config.trees / "debian.json"
    first = record.read_text()
    machine.pack("6.1.2-1", more="more\n")
    machine.add()
    record.write_text(first)
    machine.pack("6.1.3-1", most="most\n")
    third = machine.add()
    assert machine.git("rev-parse", "HEAD").strip() == third.head
    assert "most" in machine.git("ls-tree", "--name-only", "HEAD").split()


def test_a_package_that_is_not_installed_is_downloaded_once(machine: Machine) -> None:
    machine.offer("6.1.2-1")
    first = machine.add()
    assert first.source == f"debian:{PACKAGE} 6.1.2-1"
    assert machine.add() == first
    assert (machine.place / "downloads").read_text() == "download\n"


@pytest.mark.parametrize("kept", [0, 20, 0.5, 0.99])
def test_a_damaged_archive_leaves_nothing(machine: Machine, kept: float) -> None:
    whole = machine.archive.read_bytes()
    machine.archive.write_bytes(whole[: int(kept if kept > 1 else kept * len(whole))])
    with pytest.raises(debian.NoPackageError, match="is damaged"):
        machine.add()
    assert [path.name for path in machine.config.trees.iterdir()] == ["debian.lock"]


def test_a_damaged_update_leaves_the_tree_as_it_was(machine: Machine) -> None:
    first = machine.add()
    machine.pack("6.1.2-1", more="more\n")
    machine.archive.write_bytes(machine.archive.read_bytes()[:-8])
    with pytest.raises(debian.NoPackageError, match="is damaged"):
        machine.add()
    assert trees.get(machine.config, "debian") == first
    assert machine.git("rev-parse", "HEAD").strip() == first.head


def test_what_git_cannot_write_is_our_own_failure(machine: Machine) -> None:
    first = machine.add()
    machine.pack("6.1.2-1")
    machine.git("update-ref", "-d", "refs/heads/master")
    machine.git("update-ref", "refs/heads/master/in-the-way", first.head)
    with pytest.raises(debian.ImportFailedError, match=r"git cannot import .*: "):
        machine.add()


@pytest.mark.parametrize("package", ["", "linux-source", "linux-source-6.1; id", "../x", "bash"])
def test_only_kernel_source_is_imported(machine: Machine, package: str) -> None:
    with pytest.raises(debian.NoPackageError, match="is no kernel source package"):
        debian.add(machine.config, "debian", package, lambda _: None)


def test_a_tree_from_elsewhere_is_not_overwritten(machine: Machine) -> None:
    machine.add()
    with pytest.raises(trees.TreeError, match="choose another name"):
        debian.add(machine.config, "debian", "linux-source-6.12", lambda _: None)
