"""Where a worker keeps things and what it may use: handed to it, never read from outside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workers.remote import Remote


@dataclass(frozen=True)
class WorkerConfig:
    """Directories and limits of one worker; made by the command line from the settings."""

    data: Path  # trees
    cache: Path  # baselines, artifacts: may be deleted at any time
    sandbox_uid: int = 64738  # the user id builds run as when stackhog runs as root
    patch_bytes: int = 1 << 20  # a larger patch is refused
    remote: Remote | None = None  # where artifacts are shared with other machines
    disk_budget: int = 0  # bytes below cache; 0: nothing is evicted

    @property
    def trees(self) -> Path:
        """Bare git repositories, NAME.git, with NAME.json beside each."""
        return self.data / "trees"

    @property
    def baselines(self) -> Path:
        """Immutable source and object trees, a directory per key."""
        return self.cache / "baselines"

    @property
    def artifacts(self) -> Path:
        """The content-addressed store."""
        return self.cache / "artifacts"

    @property
    def plugins(self) -> Path:
        """The compiler plugin, built once per version of gcc."""
        return self.cache / "plugins"

    @property
    def builds(self) -> Path:
        """Upper layers of running builds."""
        return self.cache / "builds"

    @property
    def guest_uid(self) -> int:
        """Return the user id of guests: RLIMIT_NPROC counts by user, and builds have their own."""
        return self.sandbox_uid + 1

    @property
    def stress(self) -> Path:
        """The guest's program, disk images, kept results of base kernels."""
        return self.cache / "stress"
