"""Documents of models are made once a version, in a thread; scrapes are shared."""

import asyncio
import gzip
import threading
from collections.abc import Callable

import pytest

from gomlx.server.routes.meta.kept import KeptDocuments
from gomlx.server.routes.shared import SharedWork

pytestmark = pytest.mark.asyncio


class Maker:
    """Makes documents, each when a test lets it; counts how many at a time."""

    def __init__(self) -> None:
        self.made: list[tuple[str, threading.Thread]] = []
        self.most = 0
        self.may_end = threading.Event()
        self._running = 0

    def of(self, text: str) -> Callable[[], bytes]:
        def make() -> bytes:
            self.made.append((text, threading.current_thread()))
            self._running += 1
            self.most = max(self.most, self._running)
            assert self.may_end.wait(10)
            self._running -= 1
            return text.encode()

        return make


async def test_a_document_is_made_once_for_all_who_ask() -> None:
    maker = Maker()
    documents = KeptDocuments()
    gets = [documents.get("m", "v1", maker.of("a" * 2000)) for _ in range(5)]
    asked = asyncio.gather(*gets)
    await asyncio.sleep(0)
    maker.may_end.set()
    first, *others = await asked
    assert all(other is first for other in others)
    assert (first.tag, gzip.decompress(first.zipped)) == ("v1", first.body)
    assert await documents.get("m", "v1", maker.of("not made")) is first
    ((_, thread),) = maker.made
    assert thread is not threading.main_thread()


async def test_documents_are_made_one_at_a_time_and_anew_for_a_version() -> None:
    maker = Maker()
    documents = KeptDocuments()
    asked = asyncio.gather(
        documents.get("m", "v1", maker.of("one")),
        documents.get("m", "v2", maker.of("two")),
        documents.get("n", "v1", maker.of("three")),
    )
    await asyncio.sleep(0.05)
    maker.may_end.set()
    bodies = [document.body for document in await asked]
    assert bodies == [b"one", b"two", b"three"]
    assert maker.most == 1
    assert (await documents.get("m", "v2", maker.of("no"))).zipped == b""  # it is short


async def test_who_gives_up_does_not_end_the_making() -> None:
    maker = Maker()
    documents = KeptDocuments()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await documents.get("m", "v1", maker.of("one"))
    maker.may_end.set()
    assert (await documents.get("m", "v1", maker.of("two"))).body == b"one"


class Scrape:
    """Work that ends when a test lets it; its result says when it began."""

    def __init__(self) -> None:
        self.begun = 0
        self.running = 0
        self.may_end = asyncio.Event()
        self.fails = False

    async def __call__(self) -> int:
        self.begun += 1
        self.running += 1
        assert self.running == 1
        number = self.begun
        try:
            await self.may_end.wait()
            if self.fails:
                raise OSError(str(number))
            return number
        finally:
            self.running -= 1


async def ask(work: SharedWork[int], count: int) -> "list[asyncio.Task[int]]":
    tasks = [asyncio.create_task(work.result()) for _ in range(count)]
    await asyncio.sleep(0.01)
    return tasks


async def test_who_asks_meanwhile_shares_the_next_scrape() -> None:
    scrape = Scrape()
    work = SharedWork(scrape)
    first = await ask(work, 1)
    later = await ask(work, 4)
    assert scrape.begun == 1
    scrape.may_end.set()
    assert await asyncio.gather(*first, *later) == [1, 2, 2, 2, 2]
    assert await work.result() == 3


async def test_a_scrape_that_fails_fails_for_those_who_share_it() -> None:
    scrape = Scrape()
    scrape.fails = True
    work = SharedWork(scrape)
    first = await ask(work, 2)
    later = await ask(work, 2)
    scrape.may_end.set()
    found = await asyncio.gather(*first, *later, return_exceptions=True)
    assert list(map(str, found)) == ["1", "1", "2", "2"]
    scrape.fails = False
    assert await work.result() == 3


async def test_who_leaves_does_not_end_a_scrape() -> None:
    scrape = Scrape()
    work = SharedWork(scrape)
    (gone, other) = await ask(work, 2)
    gone.cancel()
    scrape.may_end.set()
    assert await other == 1
