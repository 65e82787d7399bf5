"""Results of base kernels, kept so that the next series pays for its own boots alone."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from bot.contract import Boot
from policies.stress import Filesystem, Profile
from workers.locks import locked

FORMAT = "1"  # of a file; a change makes all of them anew
MOST = 12  # boots that are kept for one kernel


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    boots: tuple[Boot, ...]


class Kept:
    """Boots of one kernel under one profile on one filesystem."""

    def __init__(
        self, directory: Path, profile: Profile, filesystem: Filesystem, *others: str
    ) -> None:
        """``others`` are the kernel image's key, the guest program's, the accelerator."""
        words = (FORMAT, profile.model_dump_json(), filesystem, *others)
        key = hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]
        self._path = directory / f"{key}.json"

    def read(self) -> tuple[Boot, ...]:
        """Return the boots, the oldest first; a file that cannot be read counts as none."""
        with suppress(FileNotFoundError):
            os.utime(self._path)  # when it was used last
        try:
            return _File.model_validate_json(self._path.read_bytes()).boots
        except (FileNotFoundError, ValidationError):
            return ()

    def add(self, boot: Boot) -> None:
        """Keep one more."""
        with locked(self._path.with_suffix(".lock")):
            boots = (*self.read(), boot)[-MOST:]
            fresh = self._path.with_name(f".{uuid4().hex}")
            fresh.write_text(_File(boots=boots).model_dump_json())
            fresh.replace(self._path)
