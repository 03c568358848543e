"""The cost of a large tensor: python -m loadtests.parts.images

An image of 224 x 224 x 3 float32 numbers in a JSON body. Prints what a hit costs to
parse (from the body to its key), in milliseconds of CPU: as the client sends it, with
17 digits a number, and as a batch of one; for how long other work of the process waits
while it is parsed in the thread where the service parses it; the bytes that the client
sends, and the CPU that it takes to check and write them. The best of several repeats.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from gomlx import Client, FakeTransport
from gomlx.contract.canonical import Exact
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.document import Contract
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.server.predict.parse import RequestParser

SHAPE = (224, 224, 3)
IMAGE = np.random.default_rng(0).random(SHAPE, np.float32)
SIGNATURE = Signature((Tensor("image", "float32", SHAPE),), ())
KINDS = (Exact("float32", ""),)
VERSION = "0" * 32
_REPEATS = 20


def main() -> None:
    """Print the table."""
    sent = body_of_client()
    wide = orjson.dumps({"image": IMAGE.tolist()})
    batch = orjson.dumps(
        {"batch_size": 1, "image": IMAGE[None]}, option=orjson.OPT_SERIALIZE_NUMPY
    )
    lines = {
        "parse, as sent": f"{milliseconds(lambda: parse(sent)):.1f} ms",
        "parse, 17 digits": f"{milliseconds(lambda: parse(wide)):.1f} ms",
        "parse, a batch": f"{milliseconds(lambda: parse(batch)):.1f} ms",
        "others wait": f"{longest_wait(sent) * 1e3:.1f} ms",
        "the client sends": f"{len(sent) / 1e6:.2f} MB",
        "the client takes": f"{milliseconds(body_of_client):.1f} ms",
    }
    for name, figure in lines.items():
        print(f"{name:20} {figure:>10}")  # noqa: T201


def parse(body: bytes) -> None:
    """Do what the service does from a body to its key."""
    parser = RequestParser(SIGNATURE, Dictionary(VERSION, SIGNATURE, KINDS), 9, True)
    large = getattr(parser, "parse_large", None)  # older versions have none
    parsed = large(body) if large else parser.parse([body])[0]
    assert not isinstance(parsed, Exception)


def body_of_client() -> bytes:
    """Return what the client sends for the image."""
    contract = Contract("m", VERSION, SIGNATURE, KINDS, True, 60.0, 9, 1 << 24)
    inputs = {"image": "float32"}
    transport = FakeTransport(lambda row: {"y": 1.0}, inputs)
    with Client("m", "http://f", contract=contract, transport=transport) as client:
        client.predict(image=IMAGE)
    (body,) = [one.body for one in transport.requests if one.body]
    return body


def milliseconds(call: Callable[[], Any]) -> float:
    """Return the least CPU time of a call."""
    times = []
    for _ in range(_REPEATS):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return min(times) * 1e3


def longest_wait(body: bytes) -> float:
    """Return for how long another thread waits while a body is parsed, in seconds.

    The median of the longest waits of several repeats.
    """
    return sorted(_longest_wait(body) for _ in range(_REPEATS))[_REPEATS // 2]


def _longest_wait(body: bytes) -> float:
    thread = threading.Thread(target=parse, args=(body,))
    longest = 0.0
    thread.start()
    last = time.perf_counter()
    while thread.is_alive():
        time.sleep(0.0001)
        now = time.perf_counter()
        longest = max(longest, now - last)
        last = now
    thread.join()
    return longest


if __name__ == "__main__":
    main()
