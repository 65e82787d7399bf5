"""Artifacts in a directory; a bucket stands beside it in tests/integration/test_s3.py."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from workers.artifacts import Artifacts, NoArtifactError

LONG_AGO = 1_000_000_000


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


def test_content_comes_back_under_its_hash(artifacts: Artifacts) -> None:
    key = artifacts.put(b"content")
    assert key == hashlib.sha256(b"content").hexdigest()
    assert artifacts.get(key) == b"content"
    assert artifacts.fetched(key) == artifacts.path(key)
    assert artifacts.has(key)


def test_equal_content_is_stored_once(artifacts: Artifacts) -> None:
    key = artifacts.put(b"content")
    before = artifacts.path(key).stat().st_ino
    assert artifacts.put(b"content") == key
    assert artifacts.path(key).stat().st_ino == before
    assert [one.name for one in artifacts.path(key).parent.iterdir()] == [key]


def test_what_is_gone_says_its_key(artifacts: Artifacts) -> None:
    with pytest.raises(NoArtifactError, match="is gone: run the review again") as raised:
        artifacts.get("0" * 64)
    assert raised.value.key == "0" * 64
    assert not artifacts.has("0" * 64)


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_a_key_that_is_none_is_refused(artifacts: Artifacts, key: str) -> None:
    with pytest.raises(NoArtifactError, match="is not the key of an artifact"):
        artifacts.get(key)


@pytest.mark.parametrize("use", ["get", "fetched", "has", "put"])
def test_each_use_is_noted(artifacts: Artifacts, use: str) -> None:
    key = artifacts.put(b"content")
    os.utime(artifacts.path(key), (LONG_AGO, LONG_AGO))
    getattr(artifacts, use)(b"content" if use == "put" else key)
    assert artifacts.path(key).stat().st_mtime > LONG_AGO


def test_what_is_lent_outlives_its_eviction(artifacts: Artifacts, tmp_path: Path) -> None:
    key = artifacts.put(b"content")
    artifacts.lend(key, tmp_path / "lent")
    artifacts.path(key).unlink()
    assert (tmp_path / "lent").read_bytes() == b"content"
    with pytest.raises(NoArtifactError, match=key):
        artifacts.lend(key, tmp_path / "again")
