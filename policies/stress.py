"""Stress profiles as policy: what a guest is made of, what it does, what it must reach.

``policies/stress/NAME.toml`` is one profile. Sizes whose names end in ``_mib`` are MiB, all
others bytes; times are seconds.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from policies.schema import Pattern

HERE = Path(__file__).with_name("stress")
TOUCHED = Path(__file__).with_name("filesystems.toml")
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=60)]
SysctlName = Annotated[str, StringConstraints(pattern=r"^[a-z]+(/[a-z0-9_]+)+$", max_length=60)]
Glob = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_*.]+$", max_length=60)]
Text = Annotated[str, Field(min_length=10)]


class StressPolicyError(ValueError):
    """A profile that cannot be used: which file, which key, what is wrong."""

    def __init__(self, file: Path, key: str, problem: str) -> None:
        self.file, self.key, self.problem = file, key, problem
        super().__init__(": ".join(filter(None, (str(file), key, problem))))


class Filesystem(StrEnum):
    """The filesystems that a profile can be run on, as mount(2) takes them."""

    EXT4 = "ext4"
    EXT2 = "ext2"
    VFAT = "vfat"
    XFS = "xfs"


# no ->writepage, so that kswapd writes none of their pages
WITHOUT_HOOK = frozenset({Filesystem.XFS})


class Metric(StrEnum):
    """What a run can be asked to have reached; counted within the guest."""

    KSWAPD_FILE_WRITES = "kswapd_file_writes"  # folios that kswapd gave to ->writepage
    SWAP_WRITES = "swap_writes"  # anonymous folios that reclaim wrote
    DIRECT_RECLAIMS = "direct_reclaims"  # /proc/vmstat allocstall_*
    CGROUP_RECLAIMS = "cgroup_reclaims"  # memory.events max: charges that had to reclaim
    FILE_SCANNED = "file_scanned"  # /proc/vmstat pgscan_file
    PAGES_VERIFIED = "pages_verified"  # after the disk was mounted anew
    STACKS_SEEN = "stacks_seen"  # different stacks below pageout()


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Work(_Frozen):
    """Processes that do one thing; guest/work.c says what `size` means for each kind."""

    kind: Literal["overwrite", "churn", "anonymous", "read", "select", "files", "holes", "flush"]
    processes: int = Field(gt=0, le=16)
    operations: int = Field(0, ge=0)  # of all together; 0: until the others are done
    size: int = Field(0, ge=0)


class Limits(_Frozen):
    """What a boot may use; beyond it the guest is ended and said to have gone wrong."""

    seconds: int = Field(gt=0, le=3600)  # of wall time, boot and verification included
    stall_seconds: int = Field(gt=0, le=600)  # without one operation finished
    silent_seconds: int = Field(gt=0, le=600)  # without a record
    console_bytes: int = Field(1 << 20, ge=4096)
    record_bytes: int = Field(1 << 20, ge=4096)


class Gates(_Frozen):
    """What fails a series: exact sensors by a limit, ratios by a test."""

    stack_bytes: int = Field(default=64, ge=8)  # growth of one and the same chain of functions
    stack_reason: Text = "gcc moves frames by a few bytes at every change"
    efficiency: bool = False  # whether stolen/scanned is judged
    efficiency_drop: float = Field(default=0.05, gt=0, lt=1)  # of the base's median, at least
    efficiency_error: float = Field(default=0.05, gt=0, lt=0.5)  # of a one-sided exact rank test
    allow: tuple[Word, ...] = ()  # kinds of console reports that the profile provokes


class Profile(_Frozen):
    """One stress profile."""

    name: Word
    about: Text
    memory_mib: int = Field(ge=64, le=4096)
    cpus: int = Field(2, ge=1, le=8)
    filesystems: tuple[Filesystem, ...] = Field(min_length=1)  # one run each
    layers: Annotated[
        str, StringConstraints(pattern=r"^((loop|dm|error)(\+(loop|dm|error))*)?$")
    ] = ""
    disk_mib: int = Field(ge=16, le=4096)
    file_mib: int = Field(ge=1, le=4096)
    swap_mib: int = Field(0, ge=0, le=4096)
    write_bytes: int = Field(0, ge=0)  # a second that each disk may write; 0: no limit
    memcg_mib: int = Field(0, ge=0)  # memory.max of the workload; 0: no group
    pairs: int = Field(1, ge=1, le=10)  # boots of base and of patched that are asked for
    window_ms: int = Field(10, ge=1, le=1000)  # in which a stack may be the deepest
    trace: tuple[Glob, ...] = Field(min_length=1)  # functions at whose entry the stack is looked at
    own: Mapping[Filesystem, tuple[Glob, ...]] = {}  # those that only writes of its files pass
    sysctl: Mapping[SysctlName, Word] = {}
    work: tuple[Work, ...] = Field(min_length=1)
    exposure: Mapping[Metric, int] = Field(min_length=1)  # at least; below it a run says nothing
    limits: Limits
    gates: Gates = Gates()

    def floors(self, filesystem: Filesystem) -> dict[Metric, int]:
        """Return what a run on this filesystem must have reached, at least."""
        left = dict(self.exposure)
        if filesystem in WITHOUT_HOOK:
            left.pop(Metric.KSWAPD_FILE_WRITES, None)
        return left

    def short(self, filesystem: Filesystem, reached: Mapping[Metric, int]) -> dict[Metric, int]:
        """Return the floors that a boot on this filesystem did not reach, in order."""
        floors = sorted(self.floors(filesystem).items())
        return {metric: least for metric, least in floors if reached.get(metric, 0) < least}


def list_names() -> tuple[str, ...]:
    """Return the names of the profiles that come with stackhog, sorted."""
    return tuple(sorted(path.stem for path in HERE.glob("*.toml")))


def load(name_or_path: str | Path) -> Profile:
    """Return a profile by name, or by path when that ends in ``.toml``.

    Raises StressPolicyError with file and key.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        if str(name_or_path) not in list_names():
            known = ", ".join(list_names())
            raise StressPolicyError(path, "", f"no such stress profile; there are: {known}")
        path = HERE / f"{name_or_path}.toml"
    try:
        found = Profile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StressPolicyError(path, "", f"cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise StressPolicyError(path, ".".join(map(str, first["loc"])), first["msg"]) from error
    if found.name != path.stem:
        raise StressPolicyError(path, "name", f"is {found.name!r}, and the file is {path.name}")
    return found


class _Touched(_Frozen):
    path: Pattern
    filesystems: tuple[Filesystem, ...] = Field(min_length=1)


class _Rules(_Frozen):
    touched: tuple[_Touched, ...]


def filesystems(paths: Iterable[str], file: Path = TOUCHED) -> tuple[Filesystem, ...]:
    """Return the filesystems on which a series that touches ``paths`` is stressed, sorted.

    Raises StressPolicyError.
    """
    try:
        rules = _Rules.model_validate(tomllib.loads(file.read_text(encoding="utf-8"))).touched
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StressPolicyError(file, "", f"cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise StressPolicyError(file, ".".join(map(str, first["loc"])), first["msg"]) from error
    touched = sorted(set(paths))
    found = {
        one
        for rule in rules for path in touched if re.fullmatch(rule.path, path)
        for one in rule.filesystems
    }  # fmt: skip
    return tuple(sorted(found))
