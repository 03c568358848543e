"""A relay between a client and a server, which can be slow, or hold bytes back."""

import asyncio
import ssl
import threading
from contextlib import suppress

from tests.support.listening import listening


class Relay:
    """Forwards bytes to a server, with TLS if it has a context.

    What the server sends can be delayed, or held back.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.target = port
        self.delay_seconds = 0.0  # of what the server sends
        self.holds = False  # hold it back until this is False again
        self.lets_one = False  # nevertheless let one piece pass
        self.port = 0
        self._context = context
        self._ready = threading.Event()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._run(),), daemon=True
        )

    def __enter__(self) -> "Relay":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._loop.set_exception_handler(lambda *_: None)  # refused handshakes
        async with listening(self._connected, tls=self._context) as self.port:
            self._ready.set()
            await self._ended.wait()

    async def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            await asyncio.gather(
                self._pump(reader, back), self._pump(there, writer, True)
            )
        finally:
            back.transport.abort()

    def _lets(self) -> bool:
        lets = self.lets_one
        self.lets_one = False
        return lets

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        delayed: bool = False,
    ) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                if delayed and self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                while delayed and self.holds and not self._lets():
                    await asyncio.sleep(0.005)
                sink.write(data)
                await sink.drain()
        with suppress(OSError, RuntimeError):
            sink.close()
