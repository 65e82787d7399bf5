"""A real public-inbox: made, filled, served over HTTP on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

LIST = "test@lists.example.org"
FROM = "From lists@example.org Thu Jan  1 00:00:00 1970\n"


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
