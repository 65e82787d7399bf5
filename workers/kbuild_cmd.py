"""Which files a build compiled, read off the ``.foo.o.cmd`` files that kbuild leaves.

scripts/Kbuild.include (``make-cmd``) and scripts/basic/fixdep.c write them: a
``source_…`` line with the file and a ``deps_…`` list with every header it included.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from workers import layers

NOT_KERNEL = ("scripts", "tools")  # directories of programs for the build machine


def not_compiled(objects: Sequence[Path], files: Sequence[str], prefix: str) -> tuple[str, ...]:
    """Return the files that were neither compiled nor included by one that was, sorted.

    ``objects`` are the layers of the object tree, topmost first, ``files`` are relative to
    the source tree, ``prefix`` is where the source tree was when it was built.
    """
    missing = {file for file in files if not _has_object(objects, file, prefix)}
    for text in _commands(objects) if missing else ():
        missing -= {file for file in missing if _names(text, file, prefix)}
        if not missing:
            break
    return tuple(sorted(missing))


def _has_object(objects: Sequence[Path], file: str, prefix: str) -> bool:
    stem, _, suffix = file.rpartition(".")
    directory, _, name = stem.rpartition("/")
    if suffix not in ("c", "S"):
        return False
    text = layers.read(objects, f"{directory}/.{name}.o.cmd")
    return text is not None and _names(text, file, prefix)


def _names(text: bytes, file: str, prefix: str) -> bool:
    spelled = (f"{prefix}/{file}", f"../src/{file}")
    return any(re.search(rb"[\s(=]" + re.escape(s.encode()) + rb"[\s)]", text) for s in spelled)


def _commands(objects: Sequence[Path]) -> Iterator[bytes]:
    """Yield the text of every command file, of the topmost layer that has it."""
    seen: set[str] = set()
    for layer in objects:
        for directory, below, files in os.walk(layer):
            at = os.path.relpath(directory, layer)
            if at == ".":
                below[:] = [name for name in below if name not in NOT_KERNEL]
            below.sort()
            for name in sorted(files):
                path = os.path.normpath(f"{at}/{name}")
                if name.endswith(".o.cmd") and path not in seen:
                    seen.add(path)
                    text = layers.read((layer,), path)
                    if text is not None:
                        yield text
