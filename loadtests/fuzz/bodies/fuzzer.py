"""Bodies of any kind for models of the zoo; the answers are TensorFlow's.

A service answers each body three times: cold, warm, and sent another way (ways.py); and
its rows once more in a batch of another order. An error must be the client's, unless
TensorFlow refuses the row, too.
"""

import json
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from loadtests.fuzz.bodies import texts
from loadtests.fuzz.bodies.ways import WAYS, Told, Way, told
from loadtests.fuzz.cases import Case, Finding
from tests.support.service import Service, running

_MODELS_AT_ONCE = 10
_LONGEST_MESSAGE = 2000
_LEAST_NORMAL = 2.0**-126  # of float32
# What ends never, or has no other answer than the first, is left out.
NAMES = (
    "two numbers through dense layers",
    "Keras preprocessing of words, integers and prices",
    "Keras look-ups of any number of words, as a multi-hot and as counts",
    "words to ids and back",
    "buckets of floats and of large integers",
    "several words a row, joined with another input",
    "outputs of every kind beside each other",
    "ids of which some are out of range, and fail alone",
    "ids in a text",
    "answers of bytes that are no text",
    "numbers packed in bytes",
    "an LSTM over sequences of any length",
    "softmax over the batch, a request as a whole",
    "a threshold for the request",
    "a training flag for the request",
    "a scalar for the request, with a default",
    "missing numbers, which the config admits",
    "vectors with missing numbers",
    "whole floats for integers",
    "integers beyond a float's",
    "unsigned integers",
    "small integers",
    "doubles",
    "halves",
    "bfloat16",
    "truths",
    "a scalar a row",
    "a tensor a row",
    "of any rank",
    "an id that goes through",
    "rows of eight, by the signature",
    "class names beside scores",
)


class Served:
    """A model of the zoo that a service serves, and TensorFlow's answers."""

    def __init__(self, name: str, folder: Path, service: Service) -> None:
        from tests.models.zoo.catalogue import SITUATIONS
        from tests.models.zoo.reference import Reference

        self.situation = SITUATIONS[name]
        self._reference = Reference(self.situation, folder)
        self._path = f"/v1/api/model/{folder.name}"
        self._service = service
        self.shared = self._reference.of_requests

    def post(self, text: bytes) -> httpx.Response:
        """Send a body."""
        return self._service.client.post(f"{self._path}/eval", content=text)

    def send(self, way: Way, text: texts.Text) -> Told | None:
        """Send a body on another way, if that can be done."""
        return way(self._service.client, self._path, text)

    def expected(self, body: Any) -> Any:
        """Return what TensorFlow answers to a body; raises what it raises."""
        rows = self.rows(body)
        if self.situation.is_listwise:
            return self._reference.answer_together(rows)
        found = [self._reference.answer(row) for row in rows]
        return found if body.get("batch_size") is not None else found[0]

    def rows(self, body: dict[str, Any]) -> list[texts.Row]:
        """Return the rows of an accepted body."""
        size = body.get("batch_size")
        inputs = {n: v for n, v in body.items() if n not in ("batch_size", "cache_key")}
        if size is None:
            return [{name: self._unwrapped(name, v) for name, v in inputs.items()}]
        return [
            {name: self._element(name, v, size, i) for name, v in inputs.items()}
            for i in range(size)
        ]

    def _unwrapped(self, name: str, value: Any) -> Any:
        """Return the element of a row of one, which may be in a list or not."""
        shape = self._reference.inputs[name].shape
        is_one = shape.rank == 2 and shape[1] == 1
        return value[0] if is_one and isinstance(value, list) else value

    def _element(self, name: str, values: Any, size: int, place: int) -> Any:
        if name in self.shared and not self._is_column(name, values):
            return values
        return self._unwrapped(name, values[place if len(values) == size else 0])

    def _is_column(self, name: str, values: Any) -> bool:
        rank = self._reference.inputs[name].shape.rank or 0
        depth = 0
        while isinstance(values, list) and values:
            depth += 1
            values = values[0]
        return depth > rank


class Bodies:
    """Tries bodies for some models, in turns."""

    def __init__(self, models: Sequence[Served], service: Service) -> None:
        self._models = models
        self._service = service
        self._pids = service.worker_pids()

    def case(self, seed: int) -> str:
        """Send a body. Raises Finding."""
        model = self._models[seed % len(self._models)]
        name = model.situation.name
        rng = random.Random(f"{seed} {name}")
        text = texts.any_text(model.situation.rows, model.shared, rng)
        try:
            return self._try(model, text, rng)
        except Finding as finding:
            what = f"{name}: {text.data!r}\n{finding}"
            raise Finding(what, f'--only "{name}"') from None

    def _try(self, model: Served, text: texts.Text, rng: random.Random) -> str:
        cold = model.post(text.data)
        warm = model.post(text.data)
        if told(cold) != told(warm):
            raise Finding(f"cold {told(cold)}, warm {told(warm)}")
        way = rng.choice(WAYS)
        other = model.send(way, text)
        if other not in (None, told(cold)):
            raise Finding(f"posted {told(cold)}, {way.__name__} {other}")
        if self._service.worker_pids() != self._pids:
            raise Finding(f"a worker has ended: {self._service.text()[-5000:]}")
        if cold.status_code != 200:
            return _refused(model, cold, text)
        body = json.loads(text.data)
        _compare(model, cold, body)
        rows = model.rows(body)
        if len(rows) > 1 and not model.situation.is_listwise:
            rows = rng.sample(rows, len(rows))
            again = texts.batch(rows, model.shared)
            _compare(model, model.post(json.dumps(again).encode()), again)
        return "answered, as by TensorFlow"


def _refused(model: Served, response: httpx.Response, text: texts.Text) -> str:
    """Return a kind of outcome of what is not answered. Raises Finding."""
    message = response.text
    if not message or len(message) > _LONGEST_MESSAGE or "Traceback" in message:
        raise Finding(f"{response.status_code}: no message that helps: {message!r}")
    if 400 <= response.status_code < 500 and not text.is_valid:
        return "refused, as the client's error"
    try:
        expected = model.expected(json.loads(text.data))
    except Exception:  # TensorFlow raises anything
        return "failed, as in TensorFlow"
    raise Finding(f"{response.status_code} {message}\nTensorFlow: {expected}")


def _compare(model: Served, response: httpx.Response, body: Any) -> None:
    """Raise Finding unless the response has TensorFlow's answer."""
    from tests.models.zoo.test_zoo import agree

    try:
        expected = model.expected(body)
    except Exception as error:  # TensorFlow raises anything
        raise Finding(f"{response.text}\nTensorFlow: {error!r}") from None
    if response.status_code != 200:
        raise Finding(f"{response.text}\nTensorFlow: {expected}")
    found = _flushed(response.json()["data"])
    if not agree(found, _flushed(expected), rounds=model.situation.rounds):
        raise Finding(f"{found}\nTensorFlow: {expected}")


def _flushed(value: Any) -> Any:
    """Return an answer with zeros for floats that are nearly zero.

    TensorFlow's own threads have no subnormal numbers, those of the caller do.
    """
    if isinstance(value, dict):
        return {name: _flushed(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_flushed(one) for one in value]
    is_tiny = isinstance(value, float) and abs(value) < _LEAST_NORMAL
    return math.copysign(0.0, value) if is_tiny else value


@contextmanager
def opened(folder: Path, only: str) -> Iterator[Case]:
    """Serve some models, those whose name has `only` first; yield what tries a seed."""
    from tests.models.zoo.catalogue import SITUATIONS

    names = [name for name in NAMES if only in name]
    names = random.sample(names, min(len(names), _MODELS_AT_ONCE))
    models = []
    for place, name in enumerate(names):
        path = SITUATIONS[name].build(folder / f"m{place}")
        one = {"id": path.name, "url": str(path), "datastore": "answers"}
        models.append(one | dict(SITUATIONS[name].config))
    config = {"models": models, "datastores": [{"id": "answers", "memory_mb": 16}]}
    with running(folder, config) as service:
        served = [
            Served(name, folder / f"m{place}", service)
            for place, name in enumerate(names)
        ]
        yield Bodies(served, service).case
