"""Writes files into the upper layer of an overlay (Documentation/filesystems/overlayfs.rst)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from workers.layers import discard

File = tuple[bool, bytes]  # executable, content


def write(into: Path, files: Mapping[str, File | None]) -> None:
    """Put files in place of whatever the layer has there; None: only take that away."""
    # those that go come first: a directory may become a file, or a file a directory
    for path, file in sorted(files.items(), key=lambda item: (item[1] is not None, item[0])):
        target = into / path
        _clear(into, target)
        if file is not None:
            executable, content = file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o755 if executable else 0o644)


def _clear(into: Path, target: Path) -> None:
    for above in reversed(target.relative_to(into).parents):
        if not (into / above).is_dir():  # a file of before, or a whiteout
            (into / above).unlink(missing_ok=True)
    if target.is_dir():
        discard(target)
    elif target.parent.is_dir():
        target.unlink(missing_ok=True)


def removed(files: Mapping[str, object | None]) -> tuple[str, ...]:
    """Return the paths (those with None) that must be taken out of the merged tree, sorted.

    A file that became a directory is not among them: the directory hides it.
    """
    there = [PurePosixPath(path) for path, file in files.items() if file is not None]
    directories = {str(above) for path in there for above in path.parents}
    gone = {path for path, file in files.items() if file is None}
    return tuple(sorted(gone - directories))
