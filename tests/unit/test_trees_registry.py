"""Trees that are added, updated, half-added and damaged."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.verbs import tree as verb
from tests.gitmail import Repo
from workers import trees
from workers.config import WorkerConfig


@pytest.fixture
def config(tmp_path: Path) -> WorkerConfig:
    return WorkerConfig(tmp_path / "data", tmp_path / "cache")


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    found = Repo(tmp_path / "repo")
    found.commit("one", {"README": "one\n"})
    return found


def add(config: WorkerConfig, repo: Repo, name: str = "linux") -> trees.Tree:
    return trees.add(config, name, str(repo.path), lambda _: None)


def names(config: WorkerConfig) -> list[str]:
    return sorted(path.name for path in config.trees.iterdir())


def test_a_branch_that_was_renamed_is_followed(config: WorkerConfig, repo: Repo) -> None:
    add(config, repo)
    repo.git("branch", "--move", "master", "main")
    head = repo.commit("two", {"README": "two\n"})
    assert add(config, repo).head == head
    assert trees.get(config, "linux").head == head


def test_a_detached_head_is_followed(config: WorkerConfig, repo: Repo) -> None:
    add(config, repo)
    repo.git("checkout", "--quiet", "--detach")
    head = repo.commit("two", {"README": "two\n"})
    assert add(config, repo).head == head


def test_a_source_without_its_branch_does_not_cost_the_tree(
    config: WorkerConfig, repo: Repo
) -> None:
    before = add(config, repo)
    repo.git("update-ref", "-d", "refs/heads/master")
    with pytest.raises(trees.TreeError):
        add(config, repo)
    assert trees.get(config, "linux") == before
    assert trees.tree_id(config, "linux", before.head)


def test_a_tree_of_a_run_that_was_killed_is_added_anew(config: WorkerConfig, repo: Repo) -> None:
    add(config, repo)
    (config.trees / "linux.json").unlink()
    (config.trees / ".linux.git").mkdir()
    (config.trees / ".linux.git" / "half").touch()
    assert trees.list_trees(config) == ()
    add(config, repo)
    assert names(config) == ["linux.git", "linux.json", "linux.lock"]


@pytest.mark.parametrize("damage", ["", "{}", "not json"])
def test_a_damaged_record_is_no_tree(config: WorkerConfig, repo: Repo, damage: str) -> None:
    add(config, repo, "other")
    (add(config, repo), (config.trees / "linux.json").write_text(damage))
    assert [tree.name for tree in trees.list_trees(config)] == ["other"]
    with pytest.raises(trees.TreeError, match="no tree linux"):
        trees.get(config, "linux")
    assert add(config, repo) == trees.get(config, "linux")


def test_a_record_without_a_repository_is_no_tree(config: WorkerConfig, repo: Repo) -> None:
    add(config, repo)
    (config.trees / "linux.git").rename(config.trees / "elsewhere")
    with pytest.raises(trees.TreeError, match="no tree linux"):
        trees.get(config, "linux")


def test_an_empty_repository_leaves_nothing_behind(config: WorkerConfig, tmp_path: Path) -> None:
    with pytest.raises(trees.TreeError, match="has no commit to start from"):
        add(config, Repo(tmp_path / "empty"))
    assert names(config) == ["linux.lock"]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("file:///nowhere/at/all", "'/nowhere/at/all' does not appear to be a git repository"),
        ("ssh://-oProxyCommand=id/x", "strange hostname"),
        ("ext::sh -c id", "there is no repository at ext::sh"),
        ("--upload-pack=id", "there is no repository at --upload-pack"),
        ("http://example.org/x.git", "there is no repository at http:"),
    ],
)
def test_git_is_quoted_where_it_gives_the_cause(
    config: WorkerConfig, where: str, says: str
) -> None:
    with pytest.raises(trees.TreeError, match=says):
        trees.add(config, "linux", where, lambda _: None)


def test_a_tree_keeps_its_source(config: WorkerConfig, repo: Repo, tmp_path: Path) -> None:
    add(config, repo)
    other = Repo(tmp_path / "other")
    other.commit("x", {"x": "x\n"})
    with pytest.raises(trees.TreeError, match=r"comes from .*repo: choose another name"):
        add(config, other)


def test_the_verb_prints_what_is_there(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKHOG_HOME", str(tmp_path / "home"))
    run = CliRunner().invoke
    added = run(verb.command, ["add", "linux", str(repo.path)])
    assert (added.exit_code, added.stdout) == (0, "")
    assert "tree linux: cloning" in added.stderr
    (tree,) = json.loads(run(verb.command, ["list", "--json"]).stdout)
    assert (tree["name"], tree["source"]) == ("linux", str(repo.path))
    assert run(verb.command, ["list"]).stdout.startswith("linux ")
    assert run(verb.command, ["add", "linux"]).exit_code == 2


def test_a_url_is_fetched_through_the_proxy(
    config: WorkerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as one:
                asked.append(one.recv(4096))
                one.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(trees.TreeError, match="git cannot read"):
            trees.add(config, "linux", "https://git.example.org/linux.git", lambda _: None)
        thread.join(10)
    assert [one.split(b"\r\n")[0] for one in asked] == [b"CONNECT git.example.org:443 HTTP/1.1"]


def test_cloning_and_updating_tell_how_far_they_are(config: WorkerConfig, repo: Repo) -> None:
    where, told = f"file://{repo.path}", list[str]()
    trees.add(config, "linux", where, lambda _: None, told.append)
    assert any(text.startswith("receiving objects: 100% (3/3)") for text in told)
    told.clear()
    repo.commit("two", {f"file{n}": f"{n}\n" for n in range(200)})
    trees.add(config, "linux", where, lambda _: None, told.append)
    assert any("objects: 100% (202/202)" in text for text in told)


def test_a_source_that_cannot_be_read_is_told_in_spite_of_progress(config: WorkerConfig) -> None:
    with pytest.raises(trees.TreeError, match=r"does not appear to be a git repository$"):
        trees.add(config, "linux", "file:///nowhere", lambda _: None, lambda _: None)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a test turns."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_away_from_a_terminal_progress_is_a_line_now_and_then(fast: list[float]) -> None:
    said: list[str] = []
    tell = verb.now_and_then(said.append)
    for second in range(0, 100, 2):
        fast[0] = 100.0 + second
        tell(f"{second}%")
    assert said == ["30%", "60%", "90%"]


FORCES = ("FORCE_COLOR", "TTY_COMPATIBLE")  # what makes rich see a terminal everywhere


def command(repo: Repo, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    start = [sys.executable, "-c", "from bot.cli import main; main()"]
    argv = [*start, "tree", "add", "linux", f"file://{repo.path}"]
    env = {name: value for name, value in os.environ.items() if name not in FORCES}
    return argv, {**env, "STACKHOG_HOME": str(tmp_path / "home"), "TERM": "xterm"}


def test_without_a_terminal_there_are_only_lines(repo: Repo, tmp_path: Path) -> None:
    argv, env = command(repo, tmp_path)
    done = subprocess.run(argv, env=env, capture_output=True, check=True, text=True)
    source = f"file://{repo.path}"
    head = repo.git("rev-parse", "HEAD")[:12]
    lines = [f"tree linux: cloning {source}", f"tree linux: {head} from {source}"]
    assert (done.stdout, done.stderr.splitlines()) == ("", lines)


def test_at_a_terminal_progress_is_a_live_line(repo: Repo, tmp_path: Path) -> None:
    argv, env = command(repo, tmp_path)
    ours, theirs = pty.openpty()
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=theirs) as child:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 4096):
                seen += chunk
        except OSError:  # the other end is closed
            pass
        assert child.wait(20) == 0
    os.close(ours)
    assert b"objects: 100% (3/3)" in seen
    assert b"\x1b[2K" in seen  # erased again
    assert f"tree linux: {repo.git('rev-parse', 'HEAD')[:12]} from".encode() in seen
