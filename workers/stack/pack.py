"""The compiler's side files of some objects as one artifact: a zip, equal for equal input."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Collection, Mapping

from bot.contract import OursError

MAX_FILES = 100_000
MAX_BYTES = 1 << 30  # unpacked; 945 objects of a small 6.1 kernel have 30 MB
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold


class PackError(OursError):
    """An artifact is not a pack, or larger than any honest one."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of name → content.

    Raises PackError when that is more than `unpack` would take.
    """
    _check([len(content) for content in files.values()])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), files[name], zipfile.ZIP_DEFLATED, 1)
    return out.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """Return name → content.

    Raises PackError. An entry never gives more bytes than its header says.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check([entry.file_size for entry in entries])
            return {entry.filename: archive.read(entry) for entry in entries}
    # RuntimeError: encrypted, or a compression method that zipfile lacks
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise PackError(f"stack facts cannot be unpacked: {error}: run the review again") from error


def _check(sizes: Collection[int]) -> None:
    if len(sizes) > MAX_FILES or sum(sizes) > MAX_BYTES:
        raise PackError(
            f"the stack facts of a build ({len(sizes)} files, {sum(sizes)} bytes) are larger "
            "than any honest ones: look at what the build left in its object tree"
        )
