"""A transport whose peer is the client of a proxy."""

import asyncio
from typing import Any


class ProxiedTransport(asyncio.Transport):
    """A transport whose peer is a proxy's client. All else is that of another one."""

    def __init__(self, transport: asyncio.Transport, client: tuple[str, int]) -> None:
        super().__init__()
        self.raw = transport
        self.client = client
        self.write = transport.write  # type: ignore[method-assign]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return self.client
        return self.raw.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self.raw.is_closing()

    def close(self) -> None:
        self.raw.close()

    def abort(self) -> None:
        self.raw.abort()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.raw.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.raw.get_protocol()

    def pause_reading(self) -> None:
        self.raw.pause_reading()

    def resume_reading(self) -> None:
        self.raw.resume_reading()

    def is_reading(self) -> bool:
        return self.raw.is_reading()

    def write(self, data: Any) -> None:
        """Write; each instance has its transport's own method."""
        self.raw.write(data)

    def writelines(self, list_of_data: Any) -> None:
        self.raw.writelines(list_of_data)

    def write_eof(self) -> None:
        self.raw.write_eof()

    def can_write_eof(self) -> bool:
        return self.raw.can_write_eof()

    def get_write_buffer_size(self) -> int:
        return self.raw.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self.raw.get_write_buffer_limits()

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        self.raw.set_write_buffer_limits(high, low)


def raw_of(transport: asyncio.Transport) -> asyncio.Transport:
    """Return the transport itself, for what needs one of the event loop's own."""
    return transport.raw if isinstance(transport, ProxiedTransport) else transport


def proxied_as(
    transport: asyncio.Transport, other: asyncio.Transport
) -> asyncio.Transport:
    """Return a transport with the same client as another one of its connection."""
    if isinstance(other, ProxiedTransport):
        return ProxiedTransport(transport, other.client)
    return transport
