"""A TCP link that can be cut, silenced and healed; many connections at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import Self

HOST = "127.0.0.1"


class Link:
    """A proxy on a port of its own; ``port`` stays the same whatever happens to the other end."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._open: set[asyncio.StreamWriter] = set()
        self._heard = asyncio.Event()
        self._is_cut = False

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._heard.set()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, HOST, 0), self._loop
        ).result(30)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        self.cut()
        self._loop.call_soon_threadsafe(self._server.close)
        time.sleep(0.1)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def cut(self) -> None:
        """Break all connections, and take no new ones."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._break)

    def silence(self) -> None:
        """Let nothing pass any more; nobody is told."""
        self._loop.call_soon_threadsafe(self._heard.clear)

    def heal(self) -> None:
        """Let all pass again."""
        self._is_cut = False
        self._loop.call_soon_threadsafe(self._heard.set)

    def _break(self) -> None:
        for one in list(self._open):
            one.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection(HOST, self._upstream)
        except OSError:
            writer.transport.abort()
            self._open.discard(writer)
            return
        self._open.add(up_writer)
        await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        self._open -= {writer, up_writer}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._heard.wait()
                sink.write(data)
                await sink.drain()
        sink.close()
