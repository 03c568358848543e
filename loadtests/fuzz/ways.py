"""The ways to a service: HTTP/1.1 and HTTP/2, each by two implementations.

HTTP/1.1             the hot protocol           Gunicorn's, after another request
HTTP/2               ours, over ngh2            Gunicorn's, where ngh2 is missing
"""

import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from loadtests.fuzz import frames
from loadtests.fuzz.http1 import Answers
from loadtests.fuzz.http2 import RawHttp2
from loadtests.fuzz.malformed import EVAL
from loadtests.fuzz.reply import Reply
from loadtests.fuzz.requests import AnyRequest
from tests.support import saved_models
from tests.support.service import Service, running

CONFIG: dict[str, Any] = {
    "endpoint": {"max_body_bytes": 1024, "receive_seconds": 2, "keepalive_seconds": 2},
    "models": [{"id": "m", "url": "./model", "datastore": "s"}],
    "datastores": [{"id": "s", "memory_mb": 16}],
}
_TRIES = 3  # to reproduce a difference: a busy machine is late with a body
_XS = 400  # rows of the witness


class Ways:
    """Two services with one worker each: with ngh2, and without it."""

    def __init__(self, service: Service, fallback: Service) -> None:
        self.services = {"ngh2": service, "Gunicorn": fallback}
        self.ports = {
            name: int(one.url.rpartition(":")[2]) for name, one in self.services.items()
        }

    def replies(
        self, requests: Sequence[AnyRequest], rng: random.Random
    ) -> dict[str, list[Reply]]:
        """Return the responses by the name of the way."""
        http1 = Answers(self.ports["ngh2"])
        found: dict[str, list[Reply]] = {"HTTP/1.1": [], "HTTP/1.1, Gunicorn": []}
        for request in requests:
            cuts = _cuts(request.text, rng)
            found["HTTP/1.1"].append(http1.reply(request, cuts, False))
            found["HTTP/1.1, Gunicorn"].append(http1.reply(request, cuts, True))
        for name, port in self.ports.items():
            data = frames.requests(requests, rng)
            with RawHttp2(port) as connection:
                connection.send(data, _cuts(data, rng))
                numbers = range(1, 2 * len(requests), 2)
                found[f"HTTP/2, {name}"] = connection.replies(numbers)
        return found

    def differences(self, requests: Sequence[AnyRequest], rng: random.Random) -> str:
        """Return how responses differ, or are wrong in themselves; else nothing."""
        text = ""
        state = rng.getstate()
        for _ in range(_TRIES):
            rng.setstate(state)  # the same bytes, cut at the same places
            found = self.replies(requests, rng)
            text = "\n".join(_differences(requests, found))
            if not text:
                return ""
        return text

    def disturb(self, rng: random.Random) -> str:
        """Break rules on connections of HTTP/2, while others are used.

        Returns what was wrong: others must be answered, by the same worker.
        """
        data = frames.hostile(rng)
        for name, port in self.ports.items():
            with RawHttp2(port) as witness, RawHttp2(port) as hostile:
                hostile.send(data.removeprefix(frames.PREFACE), _cuts(data[24:], rng))
                x = rng.randrange(_XS)
                asked = AnyRequest(b"GET", EVAL + b"?x=%d" % x, (), None, True)
                witness.send(frames.requests([asked], rng))
                (reply,) = witness.replies([1])
            status, _, documents, ends = reply.told()
            if status != 200 or ends or documents[0]["data"] != {"y": 2.0 * x}:
                return f"{name}: {data!r}\n{reply}"
        return ""


def _differences(
    requests: Sequence[AnyRequest], found: dict[str, list[Reply]]
) -> Iterator[str]:
    for n, request in enumerate(requests):
        each = {way: replies[n] for way, replies in found.items()}
        first = each["HTTP/1.1"]
        # Each protocol has its own words for what is malformed.
        is_refused = any(reply.is_refused for reply in each.values())
        for way, reply in each.items():
            is_alike = reply.told() == first.told()
            if is_refused:
                is_alike = reply.is_bad_request
            if not is_alike or reply.problem:
                yield f"{request}\n  {way}: {reply}\n  HTTP/1.1: {first}"


def _cuts(data: bytes, rng: random.Random) -> list[int]:
    return sorted(rng.randrange(len(data) + 1) for _ in range(rng.randint(0, 3)))


@contextmanager
def open_ways(folder: Path) -> Iterator[Ways]:
    """Run two services with a model `m`, y = 2 x; the second one has no ngh2."""
    import pytest

    hidden = folder / "hidden"
    hidden.mkdir()
    (hidden / "ngh2.py").write_text("raise ImportError('not installed')\n")
    model = saved_models.scale(folder / "model", 2.0)
    with ExitStack() as stack:
        services = []
        # Their configs differ, and nothing else: a difference that is known.
        for name, seconds in (("ngh2", 0.5), ("Gunicorn", 0.6)):
            root = folder / name
            root.mkdir()
            shutil.copytree(model, root / "model")
            with pytest.MonkeyPatch.context() as patch:
                if name == "Gunicorn":
                    patch.setenv("PYTHONPATH", str(hidden), prepend=":")
                config = CONFIG | {"watch": {"poll_seconds": seconds}}
                services.append(stack.enter_context(running(root, config)))
        yield Ways(*services)
