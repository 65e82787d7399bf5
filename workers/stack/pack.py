"""The compiler's side files of some objects as one artifact: a zip, equal for equal input."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

from bot.contract import OursError

MAX_FILES = 100_000
MAX_BYTES = 1 << 30  # unpacked; a whole kernel of a distribution has some 200 MB
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold


class PackError(OursError):
    """An artifact is not a pack, or larger than any honest one."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of name → content."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), files[name], zipfile.ZIP_DEFLATED, 1)
    return out.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """Return name → content.

    Raises PackError.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise PackError("the stack facts of a build are larger than any honest ones")
            return {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise PackError(f"stack facts cannot be unpacked: {error}") from error
