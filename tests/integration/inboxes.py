"""public-inbox: a real one, made, filled, served over HTTP on loopback; and its repositories."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pygit2

LIST = "test@lists.example.org"
FROM = "From lists@example.org Thu Jan  1 00:00:00 1970\n"
NEW_YEAR = 1767225600  # 2026


def add(
    repository: pygit2.Repository, content: bytes, name: str = "m", hours: float = 0
) -> pygit2.Oid:
    """Commit a mail, or with the name "d" take one back, some hours into 2026."""
    who = pygit2.Signature("inbox", "inbox@example.org", NEW_YEAR + int(hours * 3600), 0)
    builder = repository.TreeBuilder()
    builder.insert(name, repository.create_blob(content), pygit2.enums.FileMode.BLOB)
    parents = [] if repository.head_is_unborn else [repository.head.target]
    return repository.create_commit("refs/heads/master", who, who, "mail", builder.write(), parents)


def epoch(path: Path, mails: Sequence[bytes]) -> pygit2.Repository:
    """Return a repository as public-inbox-v2-format(5) has it, an hour between two mails."""
    repository = pygit2.init_repository(str(path), bare=True, initial_head="master")
    for hours, mail in enumerate(mails):
        add(repository, mail, hours=hours)
    return repository


class PublicInbox:
    """One inbox of Debian's public-inbox below a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.path = home, home / "inbox"
        home.mkdir(parents=True)
        self._server: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/test"
        self.run("public-inbox-init", "-V2", "test", str(self.path), self.url, LIST)
        self.run("git", "config", "-f", str(home / "config"), "publicinboxmda.spamcheck", "none")

    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home), "PI_CONFIG": str(self.home / "config"),
            "PI_EMERGENCY": str(self.home / "emergency"), "PATH": os.environ["PATH"],
            "ORIGINAL_RECIPIENT": LIST, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C",
        }  # fmt: skip

    def run(self, *words: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            words, input=stdin, env=self.environment(), check=False, capture_output=True,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.decode()

    def next_epoch(self) -> None:
        """Begin one, as public-inbox does when the last is full."""
        numbers = sorted(int(one.stem) for one in (self.path / "git").glob("*.git"))
        path = self.path / "git" / f"{numbers[-1] + 1}.git"
        self.run("git", "init", "--quiet", "--bare", "--initial-branch=master", str(path))
        self.run("git", "-C", str(path), "config", "http.uploadpack", "true")

    def deliver(self, mails: Sequence[bytes]) -> None:
        """Hand mails over as an MTA does, without the check for spam."""
        for mail in mails:
            raw = mail if b"\nTo: " in mail else b"To: " + LIST.encode() + b"\n" + mail
            self.run("public-inbox-mda", "--no-precheck", stdin=FROM.encode() + raw)

    def index(self) -> None:
        """Make what was delivered found by a search."""
        self.run("public-inbox-index", str(self.path))

    def start(self) -> None:
        self._server = subprocess.Popen(
            ["public-inbox-httpd", "-W0", f"-lhttp://127.0.0.1:{self.port}"],  # noqa: S607
            env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{self.url}/", timeout=5).read()  # noqa: S310 - loopback
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("public-inbox-httpd does not answer")

    def stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(20)
            self._server = None
