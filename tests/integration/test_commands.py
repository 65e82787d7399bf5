"""Commands by mail against the real things: a name server, git, the kernel's own script."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket

import dkim
import dns.message
import dns.rcode
import dns.rrset
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.mail import dns as keys
from bot.mail.load import load
from bot.mail.signed import Signed, Unsigned, check
from bot.review import gitfiles, maintainers
from tests.integration.conftest import Desk, one_line
from tests.letters import NOON, letter

BOT = "stackhog@localhost.localdomain"
HEADERS = [b"from", b"date", b"to", b"subject", b"in-reply-to", b"references"]
KEY = rsa.generate_private_key(public_exponent=65537, key_size=4096)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.NoEncryption(),
)  # fmt: skip
PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)
RECORD = "v=DKIM1; k=rsa; p=" + base64.b64encode(PUBLIC).decode()
LATE = (datetime.now(UTC) - NOON) / timedelta(minutes=1) - 5  # dkimpy signs by the clock
OWNERS = "MINI\nM:\tM. Maintainer <m@example.org>\nF:\tmm/\n"


def signed(body: str, parent: str, sender: str = "m@example.org", selector: bytes = b"k") -> bytes:
    raw = letter(
        "Re: [PATCH] x", body, id="c", parents=[parent], sender=f"M <{sender}>", minutes=LATE,
        headers=f"To: {BOT}\n",
    ).replace(b"\n", b"\r\n")  # fmt: skip
    return bytes(dkim.sign(raw, selector, b"example.org", PEM, include_headers=HEADERS)) + raw


class NameServer:
    """A name server on loopback with one key, in strings of 255 bytes as DNS wants them."""

    def __init__(self, sock: socket) -> None:
        self._socket = sock
        self.port: int = sock.getsockname()[1]
        self.asked: list[str] = []

    def serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            self._socket.sendto(self._answer(query).to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        name = query.question[0].name
        self.asked.append(str(name))
        answer = dns.message.make_response(query)
        if str(name) == "k._domainkey.example.org.":
            strings = [RECORD[at : at + 255] for at in range(0, len(RECORD), 255)]
            text = " ".join(f'"{one}"' for one in strings)
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", text))
        else:
            ill = str(name).startswith("ill.")
            answer.set_rcode(dns.rcode.SERVFAIL if ill else dns.rcode.NXDOMAIN)
        return answer


@contextmanager
def name_server() -> Iterator[NameServer]:
    with socket(AF_INET, SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        server = NameServer(sock)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            with socket(AF_INET, SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", server.port))
            thread.join()


def test_keys_come_from_dns_and_are_kept() -> None:
    with name_server() as server:
        resolver = keys.Resolver(servers=["127.0.0.1"], port=server.port)
        for _ in range(2):
            assert isinstance(check(signed("/test\n", "a"), resolver), Signed)
        assert server.asked == ["k._domainkey.example.org."]


def test_a_key_that_is_not_there_and_a_server_that_is_ill_are_two_things() -> None:
    with name_server() as server:
        resolver = keys.Resolver(lifetime=2, servers=["127.0.0.1"], port=server.port)
        none = check(signed("/test\n", "a", selector=b"none"), resolver)
        assert none == Unsigned("there is no key none._domainkey.example.org")
        ill = check(signed("/test\n", "a", selector=b"ill"), resolver)
        assert isinstance(ill, Unsigned)
        assert ill.temporary
        assert "DNS does not answer for ill._domainkey.example.org" in ill.reason
        assert resolver("a..example.org") is None
        assert resolver("x" * 70 + ".example.org") is None


def test_no_name_server_at_all_is_our_failure() -> None:
    with socket(AF_INET, SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = keys.Resolver(lifetime=1, servers=["127.0.0.1"], port=silent.getsockname()[1])
        with pytest.raises(keys.NoAnswerError, match="try again later"):
            resolver("k._domainkey.example.org")


def test_maintainers_are_those_of_the_tree(desk: Desk) -> None:
    desk.repo.edit("mm: x", "mm/vmscan.c", "flags |= 2;", "flags |= 6;")
    box = desk.mbox()
    (series,) = load([box])
    reply = desk.home / "reply.eml"
    reply.write_bytes(signed("/test build\n", series.id))
    known = desk.home / "keys.json"
    known.write_text(json.dumps({"k._domainkey.example.org": RECORD}))

    def judged(*words: str) -> dict[str, object]:
        done = desk.run("commands", box, reply, "--keys", known, "--json", *words)
        assert done.returncode == 0, done.stderr
        (one,) = json.loads(done.stdout)
        assert isinstance(one, dict)
        return one

    assert "there is no tree debian-6.1" in str(judged()["reason"])
    assert "the tree mini has no MAINTAINERS" in str(judged("--tree", "mini")["reason"])
    desk.repo.commit("MAINTAINERS", {"MAINTAINERS": OWNERS})
    assert desk.run("tree", "add", "mini", desk.repo.path).returncode == 0
    found = judged("--tree", "mini")
    assert (found["allowed"], found["reason"]) == (True, "m@example.org is maintainer of MINI")


def test_what_is_wrong_is_one_sentence(desk: Desk) -> None:
    box = desk.home / "reply.eml"
    box.write_bytes(signed("/test\n", "a"))
    bad = desk.home / "bad"
    bad.write_text("lonely\n")
    for words in (["--tree", "none"], ["--keys", bad]):
        done = desk.run("commands", box, *words)
        assert (done.returncode, done.stdout) == (2, "")
        one_line(done.stderr)


def test_files_are_read_out_of_git(desk: Desk, tmp_path: Path) -> None:
    text = gitfiles.read(desk.repo.path, "HEAD", "mm/vmscan.c")
    assert text == (desk.repo.path / "mm/vmscan.c").read_bytes()
    for commit, path in (("HEAD", "mm"), ("HEAD", "mm/none.c"), ("none", "mm/vmscan.c")):
        assert gitfiles.read(desk.repo.path, commit, path) is None
    with pytest.raises(gitfiles.RepositoryError, match="cannot be read"):
        gitfiles.read(tmp_path / "none", "HEAD", "mm/vmscan.c")


FILES = (
    "mm/vmscan.c", "mm/memcontrol.c", "mm/slub.c", "fs/ext4/inode.c", "fs/xfs/xfs_aops.c",
    "fs/mpage.c", "block/bio.c", "block/blk-cgroup.c", "drivers/md/dm.c", "drivers/md/raid5.c",
    "drivers/nvme/host/tcp.c", "include/linux/memcontrol.h", "include/trace/events/ext4.h",
    "kernel/sched/core.c", "kernel/bpf/core.c", "net/sunrpc/xprtsock.c", "lib/Kconfig.debug",
    "arch/arm/mach-tegra/tegra.c", "drivers/input/touchscreen/da9034-ts.c", "Makefile",
)  # fmt: skip
REST = {"torvalds@linux-foundation.org", "linux-kernel@vger.kernel.org"}


def diff_of(path: str, line: str = "x") -> str:
    names = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"
    return f"{names}@@ -1 +1 @@\n-{line}\n+{line}y\n"


@pytest.mark.parametrize(
    "diff",
    [
        *map(diff_of, FILES),
        diff_of("mm/vmscan.c", "seccomp: secure_computing()"),
        diff_of("mm/vmscan.c", "struct bpf_prog"),
        "".join(map(diff_of, FILES)),
    ],
)
def test_maintainers_are_those_that_the_kernels_script_finds(
    tree: Path, tmp_path: Path, diff: str
) -> None:
    for name in ("scripts/get_maintainer.pl", "MAINTAINERS"):
        content = gitfiles.read(tree, "HEAD", name)
        assert content is not None
        (tmp_path / Path(name).name).write_bytes(content)
    options = "--no-tree --no-git --no-git-fallback --no-rolestats --no-remove-duplicates"
    done = subprocess.run(
        ["perl", "get_maintainer.pl", *options.split(), "--no-mailmap", "--mpath", "MAINTAINERS"],  # noqa: S607
        cwd=tmp_path, check=True, capture_output=True, input=diff.encode(),
    )  # fmt: skip
    theirs = {
        line.rpartition("<")[2].rstrip(">").lower() for line in done.stdout.decode().splitlines()
    }
    known = maintainers.parse((tmp_path / "MAINTAINERS").read_text())
    found = known.of(maintainers.paths(diff), diff)
    assert {*(one.email for one in found.people), *found.lists} - REST == theirs - REST
    assert theirs
