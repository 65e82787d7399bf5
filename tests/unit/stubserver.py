"""A web server on loopback that answers as a test wants it to."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.letters import mbox


@dataclass(frozen=True)
class Reply:
    """One answer; Content-Length is that of the body unless the headers give another."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str  # with the query
    headers: Mapping[str, str]
    body: bytes


Answering = Callable[[Asked], Reply]


def packed(mails: list[bytes]) -> Reply:
    """Return mails as public-inbox sends them."""
    return Reply(200, gzip.compress(mbox(mails)), {"Content-Type": "application/gzip"})


@contextmanager
def serving(answering: Answering) -> Iterator[str]:
    """Serve while the block runs; gives scheme://host."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            reply = answering(Asked(self.command, self.path, dict(self.headers), body))
            self.send_response(reply.status)
            headers = {"Content-Length": str(len(reply.body)), **reply.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = do_HEAD = _answer  # noqa: N815 - names of the library

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
