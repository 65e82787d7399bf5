"""`stackhog review` as a user runs it: queue, worker, sandbox and compiler for real."""

from __future__ import annotations

import email
import email.policy
import gzip
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.gitmail import Repo
from tests.integration.conftest import Desk, children, command_of, one_line
from tests.integration.test_build import BUFFER, UNUSED


def test_a_series_is_reviewed_and_the_reply_printed(desk: Desk) -> None:
    desk.repo.edit("mm: one", "mm/vmscan.c", *BUFFER)
    desk.repo.edit("mm: two", "mm/vmscan.c", *UNUSED)
    out, report = desk.home / "reply.eml", desk.home / "report.json"
    box = desk.mbox("--cover-letter")
    done = desk.run(*desk.review(box, "--output", out, "--json", report))
    assert done.returncode == 1, done.stderr
    assert out.read_text() == done.stdout
    mail = email.message_from_string(done.stdout, policy=email.policy.default)
    assert mail["Subject"].startswith("Re: [PATCH 0/2]")
    assert mail["To"] == '"A. Author" <author@example.org>'
    assert mail["Cc"] == "linux-mm@lists.example.org"
    cover = email.message_from_bytes(box.read_bytes())["Message-ID"]
    assert (mail["In-Reply-To"], mail["References"]) == (cover, cover)
    assert mail["Auto-Submitted"] == "auto-replied"
    body = mail.get_content()
    assert body.startswith("stack: pageout")
    assert "> +\tchar text[600];" in body
    assert "warning: unused variable 'unused'" in body
    data = json.loads(report.read_text())
    assert [f["kind"] for f in data["findings"]] == ["frame-grew", "warning"]
    assert data["build"]["outcome"] == "passed"
    assert "building patch 1/2" in done.stderr
    assert "then:" in done.stderr


def test_a_harmless_series_exits_with_0(desk: Desk) -> None:
    desk.repo.edit("mm: comment", "mm/vmscan.c", "\tpage->flags |= 2;\n", "\tpage->flags |= 2; /* why */\n")  # noqa: E501 # fmt: skip
    done = desk.run(*desk.review(desk.mbox()))
    assert done.returncode == 0, done.stderr
    assert "\nNo findings.\n" in done.stdout


def test_the_same_input_gives_the_same_report(desk: Desk) -> None:
    desk.repo.edit("mm: one", "mm/vmscan.c", *BUFFER)
    mail, texts = desk.mbox(), []
    for seed in ("0", "1"):
        report = desk.home / f"{seed}.json"
        os.environ["PYTHONHASHSEED"] = seed
        desk.run(*desk.review(mail, "--json", report))
        data = json.loads(report.read_text())
        data["build"].pop("steps")
        assert data["build"].pop("baseline") == ("miss" if seed == "0" else "hit")
        for patch in data["build"]["patches"]:
            patch.pop("seconds")
        texts.append(json.dumps(data))
    os.environ.pop("PYTHONHASHSEED")
    assert texts[0] == texts[1]


def test_a_patch_that_does_not_build_is_told_with_gccs_lines(desk: Desk) -> None:
    desk.repo.edit("mm: broken", "mm/vmscan.c", "int done = 0;", "int done = nowhere;")
    done = desk.run(*desk.review(desk.mbox()))
    assert done.returncode == 1
    assert "The patch does not build." in done.stdout
    assert "error: 'nowhere' undeclared" in done.stdout


def slow(desk: Desk, seconds: int = 4) -> Path:
    makefile = (desk.repo.path / "mm/Makefile").read_text()
    desk.repo.commit("mm: slow", {"mm/Makefile": f"{makefile}x := $(shell sleep {seconds})\n"})
    return desk.mbox()


def wait_for(process: subprocess.Popen[str], words: str) -> int:
    """Wait until a process below this one has these words in its command line."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        for pid in children(process.pid):
            if words in command_of(pid):
                return pid
        time.sleep(0.02)
    raise AssertionError(
        f"no process with {words}: {[command_of(p) for p in children(process.pid)]}"
    )


def started(desk: Desk, mail: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        desk.command(*desk.review(mail)), env=desk.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("victim", ["valkey", "-m bot worker"])
def test_a_broker_or_worker_that_dies_is_started_again(desk: Desk, victim: str) -> None:
    process = started(desk, slow(desk))
    wait_for(process, "sleep 4")
    os.kill(wait_for(process, victim), signal.SIGKILL)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "starting the jobs again" in errors
    assert "\nNo findings.\n" in out


def test_nothing_survives_a_review_that_is_killed(desk: Desk) -> None:
    process = started(desk, slow(desk, 61))
    wait_for(process, "sleep 61")
    below = [*children(process.pid)]
    assert len(below) > 4
    process.kill()
    process.communicate()
    ends = time.monotonic() + 10
    while time.monotonic() < ends and any(command_of(pid) for pid in below):
        time.sleep(0.05)
    assert [command_of(pid) for pid in below if command_of(pid)] == []
    assert str(desk.home) not in Path("/proc/self/mounts").read_text()
    # what the killed job left on disk goes with the next review
    desk.repo.git("reset", "--quiet", "--hard", desk.base)
    desk.repo.edit("mm: one", "mm/vmscan.c", *UNUSED)
    assert desk.run(*desk.review(desk.mbox())).returncode == 1
    assert [p for p in (desk.home / "state/cache/builds").iterdir() if p.is_dir()] == []


def test_another_broker_can_be_named(desk: Desk) -> None:
    from workers import broker, process  # noqa: PLC0415 - only here

    desk.repo.edit("mm: one", "mm/vmscan.c", *UNUSED)
    server = broker.start(desk.home / "socket")
    with process.killed_at_end(server):
        os.environ["STACKHOG_BROKER_URL"] = broker.url(desk.home / "socket")
        try:
            assert desk.run(*desk.review(desk.mbox())).returncode == 1
        finally:
            del os.environ["STACKHOG_BROKER_URL"]


def test_a_broker_that_is_not_there_is_told(desk: Desk) -> None:
    desk.repo.edit("mm: one", "mm/vmscan.c", *UNUSED)
    os.environ["STACKHOG_BROKER_URL"] = "redis://127.0.0.1:1/0"
    try:
        done = desk.run(*desk.review(desk.mbox()))
    finally:
        del os.environ["STACKHOG_BROKER_URL"]
    assert done.returncode == 3
    assert "start the broker" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"\x7fELF\x00\x01" * 900, "mail"), (b"just\nwords\n", "mail"), (None, "no")],
)
def test_what_is_no_mail_is_told(desk: Desk, content: bytes | None, words: str) -> None:
    path = desk.home / "input"
    if content is not None:
        path.write_bytes(content)
    done = desk.run(*desk.review(path))
    assert done.returncode == 2
    assert words in one_line(done.stderr).lower()
    assert "input" in one_line(done.stderr)
    assert content is None or path.read_bytes() == content


def test_a_truncated_mail_and_a_missing_patch_are_told(desk: Desk) -> None:
    desk.repo.edit("mm: one", "mm/vmscan.c", *BUFFER)
    desk.repo.edit("mm: two", "mm/vmscan.c", *UNUSED)
    first, second = desk.repo.mails(desk.base)
    path = desk.home / "input"
    path.write_bytes(second)
    done = desk.run(*desk.review(path))
    assert (done.returncode, "patch 1/2 is missing" in one_line(done.stderr)) == (2, True)
    path.write_bytes(first.replace(b"[PATCH 1/2]", b"[PATCH]").partition(b"+\tnote")[0])
    done = desk.run(*desk.review(path))
    assert done.returncode == 2
    assert "cannot be tested" in one_line(done.stderr)


def test_several_series_must_be_told_apart(desk: Desk) -> None:
    desk.repo.edit("mm: one", "mm/vmscan.c", *UNUSED)
    one = desk.mbox().read_bytes()
    path = desk.home / "input"
    path.write_bytes(one + one.replace(b"mm: one", b"mm: other").replace(b"Message-I", b"X-I"))
    done = desk.run(*desk.review(path))
    assert done.returncode == 2
    assert "holds 2 series: name one with --series" in one_line(done.stderr)


def test_a_series_for_another_project_is_told(desk: Desk) -> None:
    other = Repo(desk.home / "other")
    base = other.commit("base", {"lib/x.c": "1\n2\n3\n"})
    other.edit("change", "lib/x.c", "2\n", "two\n")
    done = desk.run(*desk.review(other.mbox(base, desk.home / "other.mbox")))
    assert done.returncode == 2
    assert "for another project" in one_line(done.stderr)


def test_unknown_trees_bases_configs_and_jobs_are_told(desk: Desk) -> None:
    desk.repo.edit("mm: one", "mm/vmscan.c", *UNUSED)
    mail = desk.mbox()
    done = desk.run("review", mail, "--tree", "nowhere")
    assert (done.returncode, "no tree nowhere (there are: mini)" in one_line(done.stderr)) == (2, True)  # noqa: E501 # fmt: skip
    done = desk.run(*desk.review(mail, "--base", "v9.9"))
    assert (done.returncode, "v9.9 is no commit" in one_line(done.stderr)) == (2, True)
    done = desk.run("review", mail, "--tree", "mini", "--config", "odd")
    assert (done.returncode, "no such kernel configuration" in one_line(done.stderr)) == (2, True)
    done = desk.run(*desk.review(mail, "--jobs", "build,magic"))
    assert done.returncode == 2
    assert "build is needed, and there are: build, stack" in done.stderr


def test_a_missing_compiler_is_our_failure(desk: Desk) -> None:
    desk.repo.edit("mm: one", "mm/vmscan.c", *UNUSED)
    desk.write_config("gcc-that-is-not-there")
    done = desk.run(*desk.review(desk.mbox()))
    assert done.returncode == 3
    assert "gcc-that-is-not-there is not installed: run `stackhog doctor`" in one_line(done.stderr)
    assert done.stdout == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_our_failure(desk: Desk) -> None:
    desk.repo.edit("mm: one", "mm/vmscan.c", *UNUSED)
    mail = desk.mbox()
    state = desk.home / "state"
    kept = desk.home / "kept"
    shutil.move(state, kept)
    state.mkdir()
    script = f'mount -t tmpfs -o size=40m none {state} && cp -r {kept}/. {state} && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *desk.command(*desk.review(mail))],  # noqa: S607
        env=desk.environment(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "is full: free some space" in one_line(done.stderr)
    assert mail.exists()


def test_without_a_sandbox_nothing_is_built(desk: Desk) -> None:
    # root of a container that maps a single user, where nobody can become the build user
    desk.repo.edit("mm: one", "mm/vmscan.c", *UNUSED)
    command = desk.command(*desk.review(desk.mbox()))
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", *command], env=desk.environment(),  # noqa: S607
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 3
    assert "builds are refused: run as root, or enable" in one_line(done.stderr)
    assert not list((desk.home / "state/cache").glob("baselines/obj/*/manifest.json"))


def test_a_bad_setting_stops_the_start(desk: Desk) -> None:
    os.environ["STACKHOG_SLOTS"] = "many"
    try:
        done = desk.run("tree", "list")
    finally:
        del os.environ["STACKHOG_SLOTS"]
    assert done.returncode == 2
    assert "slots" in one_line(done.stderr)


def test_doctor_finds_this_machine_fit(desk: Desk) -> None:
    done = desk.run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert [name for name, check in checks.items() if check["needed"] and not check["ok"]] == []
    assert done.returncode == 0
    assert checks["kernel trees"]["seen"] == "mini"


def test_doctor_says_what_is_missing(desk: Desk, tmp_path: Path) -> None:
    only = tmp_path / "bin"
    only.mkdir()
    for name in ("setpriv", "gcc", "as", "git", "sh"):
        (only / name).symlink_to(str(shutil.which(name)))
    os.environ["PATH"], path = str(only), os.environ["PATH"]
    try:
        done = desk.run("doctor")
    finally:
        os.environ["PATH"] = path
    assert done.returncode == 3
    assert "→ apt-get install flex" in done.stdout


def test_a_tree_is_listed(desk: Desk) -> None:
    (tree,) = json.loads(desk.run("tree", "list", "--json").stdout)
    assert (tree["name"], tree["head"]) == ("mini", desk.base)


@pytest.fixture
def archive(desk: Desk) -> Iterator[str]:
    """Serve the thread of a series as public-inbox does: /all/MSGID/t.mbox.gz."""
    desk.repo.edit("mm: one", "mm/vmscan.c", *UNUSED)
    box = gzip.compress(desk.mbox().read_bytes())

    class Inbox(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(self.path)
            known = path.endswith("/t.mbox.gz") and "git.author@example.org" in path
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/gzip")
            self.end_headers()
            self.wfile.write(box if known else b"")

        do_HEAD = do_GET  # noqa: N815 - the library's spelling

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Inbox) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/all"
        server.shutdown()


def test_a_series_is_found_by_its_message_id(
    desk: Desk, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKHOG_LORE_URL", archive)
    box = (desk.home / "series.mbox").read_bytes()
    wanted = email.message_from_bytes(box)["Message-ID"]
    done = desk.run("review", wanted, "--tree", "mini", "--config", desk.config)
    assert done.returncode == 1, done.stderr
    assert "unused variable" in done.stdout
    missing = desk.run("review", "nobody@nowhere.example", "--tree", "mini")
    assert missing.returncode == 2
    assert "has no mail <nobody@nowhere.example>" in one_line(missing.stderr)
    monkeypatch.setenv("STACKHOG_LORE_URL", "http://127.0.0.1:1/all")
    broken = desk.run("review", "nobody@nowhere.example", "--tree", "mini")
    assert (broken.returncode, "does not answer" in one_line(broken.stderr)) == (3, True)
