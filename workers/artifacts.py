"""Content-addressed store: bytes in, their SHA-256 out, and back again."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from uuid import uuid4

from bot.contract import OursError

KEY = re.compile(r"[0-9a-f]{64}")


class NoArtifactError(OursError):
    """Nothing is stored under this key (it was evicted, or came from elsewhere)."""


class Artifacts:
    """A directory of immutable files named after their content."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, key: str) -> Path:
        """Return where the content of ``key`` lies, present or not."""
        if not KEY.fullmatch(key):
            raise NoArtifactError(f"{key!r} is not the key of an artifact")
        return self._root / key[:2] / key

    def put(self, content: bytes) -> str:
        """Store and return the key; the same content is stored once."""
        key = hashlib.sha256(content).hexdigest()
        path = self.path(key)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{uuid4().hex}")
            fresh.write_bytes(content)
            fresh.replace(path)
        return key

    def get(self, key: str) -> bytes:
        """Return the content.

        Raises NoArtifactError.
        """
        try:
            return self.path(key).read_bytes()
        except FileNotFoundError as error:
            raise NoArtifactError(f"artifact {key} is gone: run the review again") from error
