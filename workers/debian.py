"""Imports the kernel source package of Debian as a tree: one commit per version."""

from __future__ import annotations

import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

from bot.contract import TheirsError
from workers import git, process, trees
from workers.config import WorkerConfig
from workers.layers import discard, locked
from workers.trees import Say, Tree

PACKAGE = re.compile(r"linux-source-[0-9]+\.[0-9]+")
INSTALLED = Path("/usr/src")
BRANCH = "refs/heads/master"
EVERY = 10_000  # files between two words of progress
IMPORT_SECONDS = 1800


class NoPackageError(TheirsError):
    """The package is not there and cannot be downloaded."""


def add(config: WorkerConfig, name: str, package: str, say: Say) -> Tree:
    """Import a package's source as tree ``name``; nothing to do when that version is there.

    The commit depends on the package alone, so its id is the same everywhere.
    Raises NoPackageError, TreeError.
    """
    trees.check_name(name)
    if not PACKAGE.fullmatch(package):
        raise NoPackageError(f"{package} is no kernel source package: try linux-source-6.1")
    with locked(trees.lock(config, name)):
        known = trees.find(config, name)
        version = _installed_version(package)
        if known is not None and known.source == _source(package, version):
            return known
        if known is not None and not known.source.startswith(f"debian:{package} "):
            raise trees.TreeError(f"tree {name} comes from {known.source}: choose another name")
        with _archive(package, version) as (tarball, found):
            say(f"importing {package} {found}")
            _import(config, name, known, tarball, f"{package} {found}", say)
        return trees.record(config, name, _source(package, found))


def _source(package: str, version: str) -> str:
    return f"debian:{package} {version}"


def _installed_version(package: str) -> str:
    form = "${db:Status-Status} ${Version}"
    done = process.run(["dpkg-query", "-W", "-f", form, package], timeout=30)
    status, _, version = done.output.decode().partition(" ")
    return version if done.status == 0 and status == "installed" else ""


@contextmanager
def _archive(package: str, version: str) -> Iterator[tuple[Path, str]]:
    """Yield the source archive and its version: the installed one, else a downloaded one."""
    path = INSTALLED / f"{package}.tar.xz"
    if version and path.exists():
        yield path, version
        return
    with tempfile.TemporaryDirectory(prefix="stackhog-") as name:
        done = process.run(["apt-get", "download", package], cwd=Path(name), timeout=IMPORT_SECONDS)
        files = sorted(Path(name).glob("*.deb"))
        if done.status != 0 or not files:
            raise NoPackageError(
                f"{package} is not installed and cannot be downloaded: apt-get install {package}"
            )
        found = process.check(["dpkg-deb", "-f", str(files[0]), "Version"], timeout=60)
        process.check(["dpkg-deb", "-x", str(files[0]), name], timeout=IMPORT_SECONDS)
        yield Path(name, *path.parts[1:]), found.decode().strip()


def _import(
    config: WorkerConfig, name: str, known: Tree | None, tarball: Path, title: str, say: Say
) -> None:
    """Write the archive's files as one commit; a half-done import leaves nothing behind."""
    path = trees.repository(config, name)
    fresh = config.trees / f".{uuid4().hex}.git"
    where = path if known else fresh
    try:
        if known is None:
            discard(path)
            git.check("init", "--bare", "--quiet", "--initial-branch=master", str(fresh))
        _fast_import(where, known.head if known else None, tarball, title, say)
        if known is None:
            fresh.rename(path)
    finally:
        discard(fresh)


def _fast_import(where: Path, parent: str | None, tarball: Path, title: str, say: Say) -> None:
    unpack = process.spawn(["xz", "-dc", str(tarball)], stdout=subprocess.PIPE)
    argv = ["git", *git.SAFE, "-c", "core.compression=1", "-C", str(where), "fast-import"]
    with process.killed_at_end(unpack), tempfile.TemporaryFile() as errors:
        take = process.spawn(
            [*argv, "--quiet", "--depth=1", "--done"], env=git.environment(),
            stdin=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
        with process.killed_at_end(take):
            assert unpack.stdout is not None  # noqa: S101 - both are pipes
            assert take.stdin is not None  # noqa: S101
            try:
                with tarfile.open(fileobj=unpack.stdout, mode="r|") as archive:
                    _stream(archive, take.stdin, parent, title, say)
                take.stdin.close()
            except (BrokenPipeError, tarfile.TarError) as error:
                raise NoPackageError(f"{tarball} cannot be imported: {error}") from error
            if take.wait() != 0:
                errors.seek(0)
                raise NoPackageError(f"{tarball} cannot be imported: {errors.read()[-200:]!r}")


def _stream(
    archive: tarfile.TarFile, out: IO[bytes], parent: str | None, title: str, say: Say
) -> None:
    """Write git-fast-import(1) commands for every file and symlink of the archive."""
    begun = False
    for number, member in enumerate(archive):
        if not begun:  # the date of the archive's first entry is the date of the package
            message = f"{title}\n".encode()
            who = f"{git.NAME} <{git.EMAIL}> {int(member.mtime)} +0000"
            out.write(f"commit {BRANCH}\ncommitter {who}\ndata {len(message)}\n".encode() + message)
            out.write(f"from {parent}\ndeleteall\n".encode() if parent else b"deleteall\n")
            begun = True
        if number and number % EVERY == 0:
            say(f"{number} files")
        name = member.name.removeprefix("./").partition("/")[2]
        if member.issym():
            _file(out, "120000", name, member.linkname.encode())
        elif member.isfile():
            content = archive.extractfile(member)
            assert content is not None  # noqa: S101 - it is a file
            _file(out, "100755" if member.mode & 0o100 else "100644", name, content.read())
    out.write(b"done\n")


def _file(out: IO[bytes], mode: str, name: str, content: bytes) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    out.write(f'M {mode} inline "{quoted}"\ndata {len(content)}\n'.encode())
    out.write(content)
    out.write(b"\n")
