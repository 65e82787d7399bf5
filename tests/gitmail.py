"""Mail with patches, made with `git format-patch` from commits that a test makes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.contract import PatchText
from bot.mail.message import parse
from bot.mail.patchtext import patch_texts
from bot.mail.series import assemble

MINIATURE = Path(__file__).with_name("miniature") / "tree"
WHEN = "2026-01-05T10:00:00+0100"
WHO = {
    "GIT_AUTHOR_NAME": "A. Author", "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_COMMITTER_NAME": "A. Author", "GIT_COMMITTER_EMAIL": "author@example.org",
    "GIT_AUTHOR_DATE": WHEN, "GIT_COMMITTER_DATE": WHEN,
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip


class Repo:
    """A git repository that a test fills."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=master")

    def git(self, *words: str) -> str:
        """Run git in the repository; return what it prints."""
        done = subprocess.run(
            ["git", *words], cwd=self.path, check=True, capture_output=True,  # noqa: S607
            env={**os.environ, **WHO},
        )  # fmt: skip
        return done.stdout.decode()

    def commit(self, subject: str, files: Mapping[str, str | None]) -> str:
        """Write files (None: delete), commit everything, return the commit's id."""
        for name, text in files.items():
            path = self.path / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", f"{subject}\n\nWhy it is so.")
        return self.git("rev-parse", "HEAD").strip()

    def edit(self, subject: str, name: str, old: str, new: str) -> str:
        """Commit a replacement in one file."""
        text = (self.path / name).read_text()
        assert text.count(old) == 1, f"{old!r} in {name}"
        return self.commit(subject, {name: text.replace(old, new)})

    def mails(self, since: str, *options: str) -> list[bytes]:
        """Return the mails of the commits since another one, as git send-email would send them."""
        out = self.path / ".git" / "mails"
        subprocess.run(["rm", "-rf", out], check=True)  # noqa: S607
        self.git(
            "format-patch", "--quiet", "--thread=shallow", "--to=linux-mm@lists.example.org",
            "--cc=Maintainer <maintainer@example.org>", "-o", str(out), *options, f"{since}..HEAD",
        )  # fmt: skip
        return [path.read_bytes() for path in sorted(out.iterdir())]

    def mbox(self, since: str, into: Path, *options: str) -> Path:
        """Write the mails of a series as a mailbox."""
        into.write_bytes(
            b"".join(mail.rstrip(b"\n") + b"\n\n" for mail in self.mails(since, *options))
        )
        return into


def miniature(path: Path) -> Repo:
    """Return a repository with the kernel in miniature as its one commit."""
    repo = Repo(path)
    files = sorted(p for p in MINIATURE.rglob("*") if p.is_file())
    repo.commit("miniature", {str(p.relative_to(MINIATURE)): p.read_text() for p in files})
    return repo


def texts(mails: Sequence[bytes]) -> tuple[PatchText, ...]:
    """Return the patches of the one series in these mails."""
    (series,) = assemble(parse(mail) for mail in mails)
    return patch_texts(series)
