"""A short run of `python -m tests.faults`: each kind of fault once, and every review ends right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.__main__ import KINDS, go


@pytest.fixture
def home() -> Path:
    import tempfile  # noqa: PLC0415 - pytest's own directory is closed to the database's user

    path = Path(tempfile.mkdtemp(prefix="stackhog-faults-"))
    path.chmod(0o755)
    return path


def test_each_kind_of_fault_costs_time_and_nothing_else(home: Path) -> None:
    account, done, left = go(home, 5, len(KINDS), 7, KINDS)
    assert account.wrong() == []
    assert len(account.sent) == 5
    assert {kind: done[kind] for kind in KINDS} == dict.fromkeys(KINDS, 1)
    assert left == []
    assert str(home) not in Path("/proc/mounts").read_text()
