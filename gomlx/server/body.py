"""Bodies of requests as they arrive: linear in their bytes, and bounded together."""

from gomlx.errors import GomlxError

# Texts from here on take half a millisecond or more (loadtests/parts/images.py): they
# are joined and parsed in a thread.
LARGE_BYTES = 1 << 15
_PIECE_BYTES = (
    1 << 14
)  # parts below are joined as they come: a list entry costs as much


class TooManyBodies(GomlxError):
    """The bodies that are under way have as many bytes as they may have together."""

    status = 503
    retry_after = 1

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the bodies of all requests under way have more than {limit} bytes "
            "(endpoint.max_bodies_mb): try again"
        )


class BodyBudget:
    """The bodies under way in one worker. held: their bytes.

    Beyond the limit the body that grows is refused. Not to read on instead would end
    nothing: bodies that are incomplete, all of them, would wait for each other.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.held = 0
        self.limit = limit


class BodyParts:
    """One body, in parts. They are held until its `release`, or its own end."""

    __slots__ = ("_bodies", "_held", "_parts", "_size", "_tail")

    def __init__(self, bodies: BodyBudget) -> None:
        self._bodies = bodies
        self._parts: list[bytes] = []
        self._tail = bytearray()  # what has come in small parts since
        self._size = 0
        self._held = 0

    def __len__(self) -> int:
        return self._size

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Drop the parts: what they say is known."""
        self._bodies.held -= self._held
        self._held = 0
        self._parts = []
        self._tail = bytearray()

    def add(self, part: bytes) -> None:
        """Receive another part. Raises TooManyBodies."""
        size = len(part)
        bodies = self._bodies
        if bodies.held + size > bodies.limit:
            raise TooManyBodies(bodies.limit)
        bodies.held += size
        self._held += size
        self._size += size
        if size >= _PIECE_BYTES:
            self._end_tail()
            self._parts.append(part)
            return
        self._tail += part
        if len(self._tail) >= LARGE_BYTES:
            self._end_tail()

    def joined(self) -> bytes:
        """Return the whole body. Any thread may ask, once all of it has arrived.

        The interpreter is free meanwhile, as all parts are bytes.
        """
        self._end_tail()
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = [whole]
        return whole

    def text(self) -> "bytes | BodyParts":
        """Return a whole small body as bytes; a large one is joined in a thread."""
        return self.joined() if self._size < LARGE_BYTES else self

    def _end_tail(self) -> None:
        if self._tail:
            self._parts.append(bytes(self._tail))
            self._tail.clear()
