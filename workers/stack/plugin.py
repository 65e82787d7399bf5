"""Builds the compiler plugin for the gcc that is installed, once per version."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.contract import OursError
from workers import process

SOURCE = Path(__file__).with_name("plugin")
NAME = "stackhog.so"
FLAGS = ("-std=gnu++14", "-O2", "-fPIC", "-fno-rtti", "-fno-exceptions")
SECONDS = 120


class NoPluginError(OursError):
    """The plugin cannot be built here; says what to install."""


def headers(compiler: str) -> Path:
    """Return where gcc's plugin headers lie.

    Raises NoPluginError.
    """
    said = process.check([compiler, "-print-file-name=plugin"], timeout=20).decode().strip()
    found = Path(said) / "include"
    if not (found / "gcc-plugin.h").exists():
        raise NoPluginError(
            f"{compiler} has no plugin headers: apt-get install {package(compiler)}"
        )
    return found


def package(compiler: str) -> str:
    """Return Debian's package with the plugin headers of a compiler."""
    said = process.check([compiler, "-dumpversion"], timeout=20).decode().strip()
    return f"gcc-{said.partition('.')[0]}-plugin-dev"


@cache
def digest() -> str:
    """Return a hash of the plugin's source, of which its facts depend."""
    files = sorted(path for path in SOURCE.iterdir() if path.suffix in {".cc", ".h"})
    content = b"\0".join(path.name.encode() + b"\0" + path.read_bytes() for path in files)
    return hashlib.sha256(content + " ".join(FLAGS).encode()).hexdigest()[:16]


@cache
def ensure(directory: Path, compiler: str) -> Path:
    """Return the plugin for a compiler, building it below ``directory`` if it is not there.

    Raises NoPluginError.
    """
    version = process.check([compiler, "-dumpfullversion"], timeout=20).decode().strip()
    target = process.check([compiler, "-dumpmachine"], timeout=20).decode().strip()
    word = re.sub(r"[^\w.-]", "_", f"{target}-{version}-{digest()}")
    path = directory / word / NAME
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as scratch:
            fresh = Path(scratch) / NAME
            _build(compiler, headers(compiler), fresh)
            fresh.chmod(0o755)
            fresh.replace(path)
    return path


def _build(compiler: str, include: Path, out: Path) -> None:
    sources = sorted(str(path) for path in SOURCE.glob("*.cc"))
    builder = re.sub(r"gcc(?=[^/]*$)", "g++", compiler)
    done = process.run(
        [builder, *FLAGS, "-shared", "-isystem", str(include), "-o", str(out), *sources],
        timeout=SECONDS,
    )
    if done.status != 0:
        raise NoPluginError(
            f"the compiler plugin does not build with {builder}: {' / '.join(done.tail(3))}"
        )
