"""Artifacts that workers on two machines share through a real S3 server."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from workers import remote
from workers.artifacts import Artifacts, NoArtifactError
from workers.remote import Remote, RemoteError

RCLONE = Path(__file__).parents[2] / ".venv/bin/rclone"
HOST, KEY, SECRET = "127.0.0.1", "stackhog", "a-secret-of-the-test"


@dataclass
class Server:
    """rclone, which serves a directory as S3."""

    root: Path
    port: int
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.running = subprocess.Popen(
            [RCLONE, "serve", "s3", "--addr", f"{HOST}:{self.port}", "--auth-key",
             f"{KEY},{SECRET}", "--config", "/dev/null", str(self.root)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(300):
            try:
                socket.create_connection((HOST, self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        pytest.fail("rclone serve s3 does not listen")

    def stop(self) -> None:
        if self.running is not None:
            self.running.kill()
            self.running.wait()

    def remote(self, secret: str = SECRET) -> Remote:
        url = f"http://{HOST}:{self.port}"
        return Remote("s3://bucket/art", url, "us-east-1", KEY, secret)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind((HOST, 0))
        found = Server(tmp_path / "served", free.getsockname()[1])
    (found.root / "bucket").mkdir(parents=True)
    found.start()
    yield found
    found.stop()


def test_what_one_worker_stores_another_one_has(server: Server, tmp_path: Path) -> None:
    first = Artifacts(tmp_path / "first", server.remote())
    second = Artifacts(tmp_path / "second", server.remote())
    content = bytes(range(256)) * 20_000
    key = first.put(content)
    assert key == hashlib.sha256(content).hexdigest()
    assert (server.root / "bucket" / "art" / key[:2] / key).read_bytes() == content
    assert second.has(key)
    assert second.fetched(key).read_bytes() == content
    server.stop()
    assert second.get(key) == content  # it was kept


def test_what_the_bucket_lost_it_gets_again(server: Server, tmp_path: Path) -> None:
    first = Artifacts(tmp_path / "first", server.remote())
    key = first.put(b"a kernel")
    server.remote().delete(f"{key[:2]}/{key}")
    assert first.has(key)  # as who answers with what was made earlier asks
    assert Artifacts(tmp_path / "second", server.remote()).get(key) == b"a kernel"


def test_what_nobody_stored_is_gone(server: Server, tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "first", server.remote())
    with pytest.raises(NoArtifactError, match="is gone") as raised:
        artifacts.get("f" * 64)
    assert raised.value.key == "f" * 64
    assert not artifacts.has("f" * 64)


def test_damaged_content_is_refused_and_stored_anew(server: Server, tmp_path: Path) -> None:
    first = Artifacts(tmp_path / "first", server.remote())
    key = first.put(b"right")
    (server.root / "bucket" / "art" / key[:2] / key).write_bytes(b"wrong")
    second = Artifacts(tmp_path / "second", server.remote())
    with pytest.raises(NoArtifactError, match="was damaged") as raised:
        second.get(key)
    assert raised.value.key == key
    assert not second.path(key).exists()
    first.put(b"right")  # the build is done again
    assert second.get(key) == b"right"


def test_what_is_cut_short_is_stored_anew(server: Server, tmp_path: Path) -> None:
    key = hashlib.sha256(b"right").hexdigest()
    server.remote().put(f"{key[:2]}/{key}", b"ri")
    Artifacts(tmp_path / "first", server.remote()).put(b"right")
    assert Artifacts(tmp_path / "second", server.remote()).get(key) == b"right"


def test_what_is_there_is_not_sent_again(server: Server, tmp_path: Path) -> None:
    key = Artifacts(tmp_path / "first", server.remote()).put(b"right")
    stored = server.root / "bucket" / "art" / key[:2] / key
    before = stored.stat().st_mtime_ns
    Artifacts(tmp_path / "second", server.remote()).put(b"right")
    assert stored.stat().st_mtime_ns == before


def test_what_is_too_large_is_not_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Artifacts(tmp_path / "first", server.remote()).put(b"x" * 1001)
    monkeypatch.setattr(remote, "MAX_BYTES", 1000)
    second = Artifacts(tmp_path / "second", server.remote())
    with pytest.raises(RemoteError, match="has 1001 bytes, which no artifact of ours has"):
        second.get(key)


def test_a_server_that_is_gone_is_one_sentence(server: Server, tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "first", server.remote())
    key = artifacts.put(b"before")
    server.stop()
    began = time.monotonic()
    with pytest.raises(RemoteError, match=r"s3://bucket/art: .*look whether the server answers"):
        artifacts.put(b"after")
    with pytest.raises(RemoteError, match="look whether the server answers"):
        artifacts.has("f" * 64)  # not "no": nobody knows
    assert time.monotonic() - began < 60
    assert artifacts.get(key) == b"before"
    server.start()
    assert artifacts.put(b"after")


def test_a_wrong_secret_is_one_sentence_without_it(server: Server, tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "first", server.remote("another-one"))
    with pytest.raises(RemoteError, match=r"s3://bucket/art: .*look whether") as raised:
        artifacts.put(b"x")
    assert "another-one" not in str(raised.value)
    assert not artifacts.path(hashlib.sha256(b"x").hexdigest()).exists()
    assert "another-one" not in repr(server.remote("another-one"))
