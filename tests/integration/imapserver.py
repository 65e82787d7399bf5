"""IMAP servers on loopback: a real dovecot, and one that says what a test tells it to.

The dovecot has one user with maildirs, both kinds of TLS, and all its files in one directory.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import imapclient
import trustme

HOST = "localhost"
USER, PASSWORD = "reader", 'pass "word" \\ 1'  # what must be quoted in LOGIN
START = 20.0  # seconds
CONFIG = """\
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
ssl = yes
ssl_cert = <{home}/cert.pem
ssl_key = <{home}/key.pem
ssl_dh =
protocols = imap
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
default_internal_user = {owner}
default_internal_group = {group}
default_login_user = {login}
first_valid_uid = 1
mail_location = maildir:{home}/mail
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {home}/users
}}
userdb {{
  driver = static
  args = uid={owner} gid={group} home={home}
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {plain}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {tls}
    ssl = yes
  }}
}}
service stats {{
  chroot =
}}
"""


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@dataclass
class ImapServer:
    """A dovecot that a test starts, stops and fills."""

    home: Path  # its user must get through to it: not below pytest's own directories
    mechanisms: str = "plain login"
    plain: int = field(default_factory=free_port)
    tls: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        root = os.geteuid() == 0
        mine = pwd.getpwuid(os.geteuid()).pw_name
        owner, login = ("dovecot", "dovenull") if root else (mine, mine)
        group = grp.getgrgid(pwd.getpwnam(owner).pw_gid).gr_name
        authority = trustme.CA()
        certificate = authority.issue_cert(HOST)
        self.ca = self.home / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        certificate.private_key_pem.write_to_path(self.home / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(self.home / "cert.pem")
        (self.home / "users").write_text(f"{USER}:{PASSWORD}\n")
        (self.home / "mail").mkdir()
        (self.home / "dovecot.conf").write_text(
            CONFIG.format(
                home=self.home, owner=owner, group=group, login=login, plain=self.plain,
                tls=self.tls, mechanisms=self.mechanisms,
            )
        )  # fmt: skip
        if root:
            shutil.chown(self.home / "mail", owner, group)
            self.home.chmod(0o711)

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "dovecot", "-F", "-c", self.home / "dovecot.conf"],  # noqa: S607
            stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"},
        )  # fmt: skip
        until = time.monotonic() + START
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.plain), 1) as one:
                    if one.recv(4) == b"* OK":
                        return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"dovecot does not start: {self.said()}")

    def said(self) -> str:
        """Return what it wrote to its log."""
        log = self.home / "log"
        return log.read_text() if log.exists() else ""

    def stop(self) -> None:
        """End it; it ends its processes itself."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(START)
            self.process = None

    def kill(self) -> None:
        """End it and all its processes at once, as a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def client(self) -> imapclient.IMAPClient:
        """Return a connection of the user's own mail program."""
        context = ssl.create_default_context(cafile=str(self.ca))
        client = imapclient.IMAPClient(HOST, self.tls, ssl_context=context, timeout=20)
        client.login(USER, PASSWORD)
        return client

    def deliver(self, *mails: bytes, folder: str = "INBOX") -> None:
        """Put mail into a folder, as lmtp would."""
        with self.client() as client:
            for mail in mails:
                client.append(folder, mail.replace(b"\n", b"\r\n"))

    def expunge(self, *uids: int) -> None:
        """Delete mail for good."""
        with self.client() as client:
            client.select_folder("INBOX")
            client.delete_messages(uids)
            client.expunge(uids)


MAIL = b"* %d FETCH (UID %d RFC822.SIZE 18 BODY[]<0> {19}\r\nMessage-ID: <%d@x>\r\n)\r\n"


class ScriptedServer:
    """A server with two mails, UIDs 5 and 7, whose answers a test replaces.

    An answer without a line of its tag is ended with OK; an empty one closes the connection.
    """

    def __init__(self) -> None:
        self.greeting = b"* OK hello\r\n"
        self.heard: list[bytes] = []
        self.answers = {
            b"CAPABILITY": b"* CAPABILITY IMAP4rev1 IDLE AUTH=PLAIN\r\n",
            b"AUTHENTICATE": b"+ \r\n",
            b"EXAMINE": b"* 2 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT 8] x\r\n",
            b"UID SEARCH": b"* SEARCH 5 7\r\n",
            b"UID FETCH": MAIL % (1, 5, 5) + MAIL % (2, 7, 7),
            b"IDLE": b"+ idling\r\n",
            b"STARTTLS": b"{tag} BAD unknown\r\n",
        }
        handler = type("Handler", (_Handler,), {"script": self})
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.port: int = self.server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(socketserver.StreamRequestHandler):
    script: ScriptedServer

    def handle(self) -> None:
        if not self.script.greeting:
            self.rfile.read()
        self.wfile.write(self.script.greeting)
        for line in self.rfile:
            tag, _, words = line.strip().partition(b" ")
            self.script.heard.append(words)
            if not self.answer(tag, words):
                return

    def answer(self, tag: bytes, words: bytes) -> bool:
        """Answer a command; return whether the connection lives on."""
        name = b" ".join(words.split()[: 1 + words.startswith(b"UID")])
        said = self.script.answers.get(name, b"* OK x\r\n").replace(b"{tag}", tag)
        head, plus, rest = said.partition(b"+ ") if said.startswith(b"+ ") else (said, b"", b"")
        if name == b"IDLE":
            self.wfile.write(said)
        elif plus:
            line, _, rest = rest.partition(b"\r\n")
            self.wfile.write(b"+ " + line + b"\r\n")
        else:
            self.wfile.write(head)
        if plus:  # the client says what the server waited for
            self.script.heard.append(self.rfile.readline().strip())
            self.wfile.write(rest if name != b"IDLE" else b"")
        if said and tag + b" " not in said:
            self.wfile.write(tag + b" OK done\r\n")
        return bool(said)
