"""A server that behaves as an mly server does, faults included."""

import asyncio
import gzip
import json
from typing import Any

from tests.client.fake import Host, http

CONFIG: dict[str, Any] = {
    "Connections": None,
    "ID": "m",
    "Cache": {"SizeMb": 8},
    "TimeToLiveMs": 900000,
    "Inputs": [
        {"Name": "word", "Index": 0, "DataType": "string"},
        {"Name": "n", "Index": 0, "DataType": "int64"},
        {"Name": "price", "Index": 0, "DataType": "float", "Precision": 2},
        {"Name": "x", "Index": 0, "DataType": "float64"},
        {"Name": "place", "DataType": "string", "Auxiliary": True, "Wildcard": True},
    ],
    "Outputs": [{"Name": "y", "Index": 0, "DataType": "float32"}],
}
LAYERS = [
    {"Name": "n", "Strings": None, "Ints": [0, 3, 5], "Hash": 1},
    {"Name": "word", "Strings": ["", "[UNK]", "a", "b"], "Ints": None, "Hash": 2},
]
BUFFER = 131072


class Dropped(Exception):
    """The handler panics: the connection is closed without a response."""


class Refused(Exception):
    """A response with another status than 200: its text."""


class MlyHost(Host):
    """Answers y = price + x + 1000 n with the word and the place beside it."""

    def __init__(self) -> None:
        super().__init__(self._respond)
        self.config = CONFIG
        self.dictionary: dict[str, Any] | None = {"Layers": LAYERS, "Hash": -77}
        self.dict_hash = -77
        self.requests: list[dict[str, Any]] = []
        self.next_responses: list[bytes | None] = []

    def _contract(self, head: str) -> bytes:
        path = head.split()[1]
        if path.endswith("/model/m/meta/config"):
            return http(json.dumps(self.config).encode())
        if path.endswith("/model/m/meta/dictionary"):
            body = gzip.compress(json.dumps(self.dictionary).encode())
            return http(body, Content_Encoding="gzip")
        return _text("404 Not Found", "404 page not found")

    async def _respond(self, body: bytes, _: asyncio.StreamWriter) -> bytes | None:
        if self.next_responses:
            return self.next_responses.pop(0)
        if len(body) >= BUFFER:
            reason = "entity too large - buffer too small\nno request"
            return _text("413 Request Entity Too Large", reason)
        try:
            data = self._data(
                json.loads(body, object_pairs_hook=list, parse_float=_float)
            )
        except Dropped:
            return None
        except Refused as error:  # mly does not stop here: a result follows the reason
            return _text(
                "400 Bad Request", f"{error} (are your input types correct?)\n{{}}"
            )
        document = {"status": "ok", "serviceTimeMcs": 56, "data": data}
        if self.dict_hash:
            document["dictHash"] = self.dict_hash
        return http(json.dumps(document).encode(), Content_Type="text/plain")

    def _data(self, pairs: list[tuple[str, Any]]) -> Any:
        names = [one["Name"] for one in self.config["Inputs"]]
        size = 0
        columns: dict[str, list[Any]] = {}
        for name, value in pairs:
            if name == "batch_size":
                size = value
            elif name not in names:
                raise Refused(f"unknown field:{name}, available:map[…]")
            else:
                columns[name] = self._column(name, value, size)
        if missing := set(names) - columns.keys():
            raise Refused(f"failed to build request due to missing fields: {missing}")
        self.requests.append({"batch_size": size, **columns})
        rows = [
            self._row({k: v[i] if i < len(v) else v[0] for k, v in columns.items()})
            for i in range(size or 1)
        ]
        return rows if size else rows[0]

    def _column(self, name: str, value: Any, size: int) -> list[Any]:
        if not size and isinstance(value, list):
            raise Dropped
        if size and (not isinstance(value, list) or not 1 <= len(value) <= size):
            raise Dropped
        column = value if size else [value]
        wanted: tuple[type, ...] = (str,) if name in ("word", "place") else (int, float)
        if not all(isinstance(v, wanted) for v in column):
            raise Refused(f"Cannot unmarshal JSON to type '{name}'")
        return column

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        y = row["price"] + row["x"] + 1000 * row["n"]
        return {"word": row["word"], "y": y, "place": row["place"]}


def _float(text: str) -> float:
    if "e" in text.lower():
        raise Refused(f"Invalid JSON, {text}")
    return float(text)


def _text(status: str, text: str) -> bytes:
    return http(f"{text}\n".encode(), status, Content_Type="text/plain; charset=utf-8")
