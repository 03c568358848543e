"""A small model server with a cache, right or with one deliberate fault.

It runs the models that `gomlx conformance --format triton` writes: each request reads
the newest recipe of its model, so that it has every version at once.
"""

import gzip
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gomlx.conformance import formulas

_MODEL = re.compile(r"/(?:models?)/(\w+)(?:/versions/(\d+))?(?:[:/])(\w+)$")
_DATATYPES = {"a": "BYTES", "b": "BYTES", "n": "INT64", "x": "FP32"}


@dataclass(frozen=True)
class Asked:
    """What a request says: rows, with values nested, in the order of its inputs."""

    model: str
    number: int
    recipe: str
    rows: list[dict[str, Any]]
    outputs: tuple[str, ...] = ()


def right_key(asked: Asked) -> Any:
    return (asked.model, asked.recipe, json.dumps(asked.rows), asked.outputs)


def flattened(asked: Asked) -> Any:
    """Text of all values, one after the other."""
    values = [str(one) for row in asked.rows for one in _flat([*row.values()])]
    return (asked.model, asked.recipe, "/".join(values), asked.outputs)


def without_model(asked: Asked) -> Any:
    return (json.dumps(asked.rows), asked.outputs)


def by_number(asked: Asked) -> Any:
    """The version's number stands for what is in it."""
    return (asked.model, asked.number, json.dumps(asked.rows), asked.outputs)


def without_outputs(asked: Asked) -> Any:
    return (asked.model, asked.recipe, json.dumps(asked.rows))


def as_floats(asked: Asked) -> Any:
    rows = [
        {k: float(v) if k == "n" else v for k, v in row.items()} for row in asked.rows
    ]
    return (asked.model, asked.recipe, json.dumps(rows), asked.outputs)


def without_n(asked: Asked) -> Any:
    """One input is left out."""
    rows = [{k: v for k, v in row.items() if k != "n"} for row in asked.rows]
    return (asked.model, asked.recipe, json.dumps(rows), asked.outputs)


def first_row(asked: Asked) -> Any:
    """A batch is known by its first row and its length."""
    return (asked.recipe, json.dumps(asked.rows[0]), len(asked.rows), asked.outputs)


@dataclass(frozen=True)
class Faults:
    """How the server caches. keeps: what is kept beside the outputs."""

    key: Callable[[Asked], Any] = right_key
    keeps: str = ""  # id, coding or errors
    ttl_seconds: float = 1e9


@dataclass
class Cache:
    """Answers by key, for each protocol; one server's."""

    models: Path
    faults: Faults
    kept: dict[Any, tuple[float, Any]] = field(default_factory=dict)

    def answer(self, asked: Asked, extra: dict[str, str]) -> tuple[Any, dict[str, str]]:
        """Return the outputs of each row, and the id and coding that go with them.

        Raises ZeroDivisionError.
        """
        key = self.faults.key(asked)
        when, found = self.kept.get(key, (0.0, None))
        if found and time.monotonic() - when < self.faults.ttl_seconds:
            outputs, kept = found
            return outputs, extra | kept
        keeps = self.faults.keeps
        kept = {k: v for k, v in extra.items() if k == keeps}
        recipe = json.loads(asked.recipe)
        with Path(recipe["runs"]).open("a") as runs:
            runs.writelines("row\n" for _ in asked.rows)
        try:
            rows = [formulas.answer(recipe, row) for row in asked.rows]
        except ZeroDivisionError:
            if keeps == "errors":
                self.kept[key] = (time.monotonic(), ([], {}))
            raise
        outputs = [
            {k: v for k, v in row.items() if k in (asked.outputs or row)}
            for row in rows
        ]
        self.kept[key] = (time.monotonic(), (outputs, kept))
        return outputs, extra

    def recipe(self, model: str, version: str | None) -> tuple[int, str]:
        """Return a version's number and recipe. Raises OSError, ValueError."""
        folder = self.models / model
        number = int(version or max(int(p.name) for p in folder.glob("[0-9]*")))
        text = (folder / str(number) / "recipe.json").read_text()
        json.loads(text)  # it may be half written
        return number, text


class _Handler(BaseHTTPRequestHandler):
    cache: Cache

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = _MODEL.search(self.path)
        assert found
        model, version, verb = found.groups()
        if verb == "load":
            self._send(200, {})
            return
        document = json.loads(body)
        decode, encode = _CODECS[verb]
        extra = {"id": document.get("id", "")}
        extra["coding"] = self.headers.get("Accept-Encoding", "")
        try:
            number, recipe = self.cache.recipe(model, version)
            rows, outputs = decode(document)
            asked = Asked(model, number, recipe, rows, outputs)
            answers, extra = self.cache.answer(asked, extra)
        except (ZeroDivisionError, OSError, ValueError) as error:
            self._send(400, {"error": str(error)})
            return
        self._send(200, encode(answers, extra), extra["coding"])

    def _send(self, status: int, document: Any, coding: str = "") -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        if coding == "gzip":
            body = gzip.compress(body)
            self.send_header("Content-Encoding", coding)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _from_mly(document: Any) -> Any:
    size = document.pop("batch_size", None)
    if size is None:
        return [document], ()
    names = list(document)
    return [{k: document[k][i] for k in names} for i in range(size)], ()


def _to_mly(answers: Any, _: Any) -> Any:
    return {"data": answers[0] if len(answers) == 1 else answers}


def _from_tfserving(document: Any) -> Any:
    return [
        {k: v if k == "x" else v[0] for k, v in row.items()}
        for row in document["instances"]
    ], ()


def _to_tfserving(answers: Any, _: Any) -> Any:
    rows = [{k: [v] for k, v in row.items()} for row in answers]
    if rows and len(rows[0]) == 1:
        return {"predictions": [value for row in rows for value in row.values()]}
    return {"predictions": rows}


def _from_oip(document: Any) -> Any:
    columns = {}
    for tensor in document["inputs"]:
        if tensor["datatype"] != _DATATYPES[tensor["name"]]:
            raise ValueError(f"{tensor['name']}: not a {tensor['datatype']}")
        columns[tensor["name"]] = _nested(tensor["data"], tensor["shape"])
    count = document["inputs"][0]["shape"][0]
    rows = [
        {k: v[i] if k == "x" else v[i][0] for k, v in columns.items()}
        for i in range(count)
    ]
    return rows, tuple(one["name"] for one in document.get("outputs", ()))


def _to_oip(answers: Any, extra: dict[str, str]) -> Any:
    names = answers[0] if answers else {}
    outputs = [{"name": k, "data": [row[k] for row in answers]} for k in names]
    return {"id": extra["id"], "outputs": outputs}


def _nested(data: list[Any], shape: list[int]) -> list[Any]:
    if len(shape) == 1:
        return data
    size = len(data) // shape[0]
    parts = [data[i * size : (i + 1) * size] for i in range(shape[0])]
    return [_nested(part, shape[1:]) for part in parts]


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    else:
        yield value


_CODECS: dict[str, Any] = {
    "eval": (_from_mly, _to_mly),
    "predict": (_from_tfserving, _to_tfserving),
    "infer": (_from_oip, _to_oip),
}


@contextmanager
def serving(models: Path, faults: Faults) -> Iterator[str]:
    """Run a server on a free port; yield its URL."""
    handler = type("_Handler", (_Handler,), {"cache": Cache(models, faults)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
