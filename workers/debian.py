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

from bot.contract import OursError, TheirsError
from workers import git, process, trees
from workers.config import WorkerConfig
from workers.layers import discard
from workers.locks import locked
from workers.trees import Say, Tree

PACKAGE = re.compile(r"linux-source-[0-9]+\.[0-9]+")
INSTALLED = Path("/usr/src")
BRANCH = "refs/heads/master"
EVERY = 10_000  # files between two words of progress
CHUNK = 1 << 20  # bytes
IMPORT_SECONDS = 1800


class NoPackageError(TheirsError):
    """The package is not there and cannot be downloaded, or is damaged."""


class ImportFailedError(OursError):
    """Git could not write the files down: a full disk, for one."""


def add(config: WorkerConfig, name: str, package: str, say: Say) -> Tree:
    """Import a package's source as tree ``name``; nothing to do when that version is there.

    The commit depends on the package alone, so its id is the same everywhere.
    Raises NoPackageError, ImportFailedError, TreeError.
    """
    trees.check_name(name)
    if not PACKAGE.fullmatch(package):
        raise NoPackageError(f"{package} is no kernel source package: try linux-source-6.1")
    with locked(trees.lock(config, name)):
        known = trees.find(config, name)
        version = _installed_version(package)
        if known is not None and known.source == _source(package, version or _offered(package)):
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


def _offered(package: str) -> str:
    """Return the version that apt would download; "": none."""
    done = process.run(["apt-cache", "show", "--no-all-versions", package], timeout=60)
    found = re.search(r"(?m)^Version: (\S+)$", done.output.decode(errors="replace"))
    return found[1] if found else ""


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
                f"{package} is not installed and cannot be downloaded: "
                f"apt-get update && apt-get install {package}"
            )
        found = process.check(["dpkg-deb", "-f", str(files[0]), "Version"], timeout=60)
        process.check(["dpkg-deb", "-x", str(files[0]), name], timeout=IMPORT_SECONDS)
        yield Path(name, *path.parts[1:]), found.decode().strip()


def _import(
    config: WorkerConfig, name: str, known: Tree | None, tarball: Path, title: str, say: Say
) -> None:
    """Write the archive's files as one commit; a half-done import leaves nothing behind."""
    if known is not None:
        _fast_import(trees.repository(config, name), known.head, tarball, title, say)
        return
    fresh = trees.unfinished(config, name)
    try:
        git.check("init", "--bare", "--quiet", "--initial-branch=master", str(fresh))
        _fast_import(fresh, None, tarball, title, say)
        trees.finish(config, name, fresh, title)
    finally:
        discard(fresh)


def _fast_import(where: Path, parent: str | None, tarball: Path, title: str, say: Say) -> None:
    argv = ["git", *git.SAFE, "-c", "core.compression=1", "-C", str(where), "fast-import"]
    argv += ["--quiet", "--depth=1", "--done", "--force"]  # forced after a run that was killed
    unpack = process.spawn(["xz", "-dc", str(tarball)], stdout=subprocess.PIPE)
    with process.killed_at_end(unpack), tempfile.TemporaryFile() as errors:
        take = process.spawn(argv, env=git.environment(), stdin=subprocess.PIPE, stderr=errors)
        with process.killed_at_end(take):
            try:
                _copy(unpack, take, parent, title, say)
            except tarfile.TarError as error:
                raise NoPackageError(f"{tarball} is damaged: {error}") from error
            except BrokenPipeError:
                pass  # git says why
            if take.wait() != 0:
                errors.seek(0)
                raise ImportFailedError(f"git cannot import {tarball}: {_fatal(errors.read())}")


def _fatal(errors: bytes) -> str:
    lines = errors.decode(errors="replace").splitlines()
    return next((line for line in lines if line.startswith("fatal:")), "it gives no reason")


def _copy(
    unpack: subprocess.Popen[bytes],
    take: subprocess.Popen[bytes],
    parent: str | None,
    title: str,
    say: Say,
) -> None:
    """Hand the archive over to git; raises tarfile.TarError, and then nothing is committed."""
    assert unpack.stdout is not None  # noqa: S101 - both are pipes
    assert take.stdin is not None  # noqa: S101
    with tarfile.open(fileobj=unpack.stdout, mode="r|") as archive:
        _stream(archive, take.stdin, parent, title, say)
    while unpack.stdout.read(CHUNK):  # padding
        pass
    if unpack.wait() != 0:  # tarfile takes an archive cut between two files for a whole one
        raise tarfile.ReadError("xz cannot read it to the end")
    take.stdin.write(b"done\n")
    take.stdin.close()


def _stream(
    archive: tarfile.TarFile, out: IO[bytes], parent: str | None, title: str, say: Say
) -> None:
    """Write git-fast-import(1) commands for every file and symlink of the archive."""
    for number, member in enumerate(archive):
        if number == 0:  # the date of the archive's first entry is the date of the package
            message = f"{title}\n".encode()
            who = f"{git.NAME} <{git.EMAIL}> {int(member.mtime)} +0000"
            out.write(f"commit {BRANCH}\ncommitter {who}\ndata {len(message)}\n".encode() + message)
            out.write(f"from {parent}\ndeleteall\n".encode() if parent else b"deleteall\n")
        elif number % EVERY == 0:
            say(f"{number} files")
        name = _inside(member.name)
        if member.issym():
            _file(out, "120000", name, member.linkname.encode())
        elif member.islnk():
            out.write(f"C {_quoted(_inside(member.linkname))} {_quoted(name)}\n".encode())
        elif member.isfile():
            content = archive.extractfile(member)
            assert content is not None  # noqa: S101 - it is a file
            _file(out, "100755" if member.mode & 0o100 else "100644", name, content.read())


def _inside(name: str) -> str:
    """Return a path without the archive's top directory."""
    return name.removeprefix("./").partition("/")[2]


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _file(out: IO[bytes], mode: str, name: str, content: bytes) -> None:
    out.write(f"M {mode} inline {_quoted(name)}\ndata {len(content)}\n".encode())
    out.write(content)
    out.write(b"\n")
