"""Large tensors through a whole service: on both protocols, cached, and in order."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import tensorflow as tf

from tests.support.saved_models import save, spec
from tests.support.service import PLAIN, Service, running

SIZE = 64
RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, SIZE, SIZE, 3), np.float32)


def mean(image: Any) -> Any:
    return {"y": tf.reduce_max(image, [1, 2, 3]) - tf.reduce_min(image, [1, 2, 3])}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("images")
    image = spec("image", shape=(None, SIZE, SIZE, 3))
    url = str(save(folder / "image", mean, [image]))
    config = {
        "datastores": [{"id": "answers"}],
        "models": [{"id": "m", "url": url, "datastore": "answers"}],
    }
    with running(folder, config) as one:
        yield one


def body(image: Any) -> bytes:
    text = orjson.dumps({"image": image}, option=orjson.OPT_SERIALIZE_NUMPY)
    assert len(text) > 1 << 16
    return text


def expected(image: Any) -> float:
    return float(image.max() - image.min())


async def answers(service: Service, http2: bool) -> list[httpx.Response]:
    url = f"{service.url}/v1/api/model/m/eval"
    async with httpx.AsyncClient(
        http1=not http2, http2=http2, verify=PLAIN, timeout=60
    ) as client:
        posts = [client.post(url, content=body(image)) for image in IMAGES]
        if http2:  # httpx mixes up the windows of several bodies on one connection
            return [await post for post in posts]
        return await asyncio.gather(*posts)


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_images_are_answered_and_cached(service: Service, http2: bool) -> None:
    for _ in range(2):
        responses = asyncio.run(answers(service, http2))
        found = [response.json()["data"]["y"] for response in responses]
        assert found == pytest.approx([expected(image) for image in IMAGES])
    assert {r.headers["cache-status"] for r in responses} == {"gomlx; hit; detail=L1"}


def test_a_batch_of_images_has_the_keys_of_each(service: Service) -> None:
    document = {"batch_size": 4, "image": IMAGES}
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    asyncio.run(answers(service, http2=False))
    response = httpx.post(f"{service.url}/v1/api/model/m/eval", content=text)
    found = [answer["y"] for answer in response.json()["data"]]
    assert found == pytest.approx([expected(image) for image in IMAGES])
    assert response.headers["cache-status"].endswith('"rows=4,hits=4"')


def test_pipelined_images_are_answered_in_order(service: Service) -> None:
    """Among small requests, which take no thread."""
    address = httpx.URL(service.url)
    head = (
        b"POST /v1/api/model/m/eval HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
    )
    texts = [body(IMAGES[0]), b"{}", body(IMAGES[1]), b"[]", body(IMAGES[0])]
    sent = b"".join(head % len(text) + text for text in texts)
    with socket.create_connection((address.host, address.port or 80)) as connection:
        connection.settimeout(60)
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    received = received.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")  # a probe
    statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"400", b"200", b"400", b"200"]
    found = [
        orjson.loads(part.split(b"\r\n\r\n")[1])["data"]["y"]
        for part in received.split(b"HTTP/1.1 200")[1:]
        for part in [part.split(b"HTTP/1.1 400")[0]]
    ]
    assert found == pytest.approx([expected(IMAGES[n]) for n in (0, 1, 0)])


def test_a_client_that_leaves_hurts_no_other(service: Service) -> None:
    address = httpx.URL(service.url)
    head = (
        b"POST /v1/api/model/m/eval HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
    )
    text = body(IMAGES[2])
    for _ in range(20):
        with socket.create_connection((address.host, address.port or 80)) as connection:
            connection.sendall(head % len(text) + text)
    assert service.post("m", {"image": IMAGES[3].tolist()}).json()["data"][
        "y"
    ] == pytest.approx(expected(IMAGES[3]))
