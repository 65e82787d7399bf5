"""What the brackets of a subject say; liblore reads them, a few odd spellings are mended."""

from __future__ import annotations

import re
from dataclasses import dataclass

from liblore.series import parse_patch_subject

# "[PATCH1/8]": the counter glued to the word
_GLUED = re.compile(r"(?i)\b(patch)(?=\d+\s*/)")
# "[PATCH 0 of 2]": how Mercurial's patchbomb counts
_OF = re.compile(r"(\[[^\]]*?\b\d{1,4}) of (\d{1,4}\b[^\]]*\])")
# also "-v4" with a dash, "v4:" with a colon, "V4." with a full stop
_VERSION = re.compile(r"(?i)^-?v\.?(\d{1,4})[:.]?$")
MOST = 999_999_999  # a version above counts as this one: the store has 32 bits
_RESEND = frozenset({"resend", "repost", "resent"})


@dataclass(frozen=True)
class Label:
    """A patch subject, taken apart."""

    title: str
    version: int | None  # None: not stated
    index: int  # 0: a cover letter
    total: int
    counted: bool  # False: no n/m was written, index and total are 1
    tags: tuple[str, ...]  # "RFC", "mm-unstable"; RESEND is not among them
    resend: bool
    is_patch: bool  # the brackets hold the word PATCH, and it is no reply

    @property
    def is_cover(self) -> bool:
        """Whether this is a 0/n."""
        return self.is_patch and self.counted and self.index == 0


def parse(subject: str) -> Label:
    """Take a decoded subject apart."""
    mended = _OF.sub(r"\1/\2", _GLUED.sub(r"\1 ", subject))
    # liblore would decode encoded words once more, and raises on broken ones
    found = parse_patch_subject(mended.replace("=?", "= ?"))
    version = None if found.version_inferred else min(found.version, MOST)
    tags = []
    for prefix in found.prefixes:
        odd = _VERSION.match(prefix)
        if odd:
            version = int(odd[1])
        elif prefix.lower() not in _RESEND:
            tags.append(prefix)
    return Label(
        title=found.title.lstrip(": ") or "(no subject)",
        version=version,
        index=found.counter,
        total=found.expected,
        counted=not found.counters_inferred,
        tags=tuple(dict.fromkeys(tags)),
        resend=any(prefix.lower() in _RESEND for prefix in found.prefixes),
        is_patch=found.is_patch and not found.is_reply,
    )
