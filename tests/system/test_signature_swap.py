"""A reload that changes a model's signatures, while requests for each of them run."""

import threading
from pathlib import Path
from typing import Any

from tests.support.service import Service, running, wait_for
from tests.system.test_signatures import refused, saved

NAMES = ["serving_default", "double", "leaving", "coming", "alias"]


class Asking:
    """A thread that asks for the signatures in turn, on one connection each."""

    def __init__(self, service: Service, names: list[str]) -> None:
        self._service = service
        self._names = names
        self._is_done = threading.Event()
        self.seen: list[tuple[str, int, Any]] = []  # name, status, answer
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> list[tuple[str, int, Any]]:
        self._is_done.set()
        self._thread.join()
        return self.seen

    def _run(self) -> None:
        with self._service.connect() as client:
            while not self._is_done.is_set():
                for i, name in enumerate(self._names):
                    url = f"/v1/api/model/m/eval?signature={name}"
                    x = len(self.seen) % 50 + i + 1.0
                    try:
                        found = client.post(url, json={"x": x})
                        answer = found.json().get("data", {}).get("y", 0.0) / x
                    except Exception as error:
                        self.seen.append((name, 0, repr(error)))
                        return
                    self.seen.append((name, found.status_code, answer))


def replaced(service: Service, **functions: Any) -> None:
    """Replace the model, and wait until its next version is published and live."""
    before = service.version("m")
    target = service.folder / "m"
    new = saved(service.folder / "new", **functions)
    target.rename(service.folder / f"old-{before}")
    new.rename(target)

    def is_live() -> bool:
        version: str = service.ready()["models"]["m"]["version"]
        return version == service.version("m") != before

    wait_for(is_live)


def test_signatures_come_and_go_with_a_version(tmp_path: Path) -> None:
    first = {"serving_default": 1, "double": 2, "leaving": 3, "alias": 1}
    second = {"serving_default": 10, "double": 20, "coming": 40, "alias": 50}
    saved(tmp_path / "m", **first)
    stores = [{"id": "a", "memory_mb": 16}]
    config = {
        "models": [{"id": "m", "url": "m", "datastore": "a"}],
        "datastores": stores,
        "endpoint": {"workers": 1},
    }
    with running(tmp_path, config) as service:
        asking = [Asking(service, NAMES), Asking(service, NAMES[:2])]
        replaced(service, **second)
        after = {name: asked(service, name) for name in NAMES}
        seen = [one.stop() for one in asking]
        replaced(service, serving_default=5, double=refused(), leaving=7)
        last = {name: asked(service, name) for name in NAMES}
    assert after == {n: (200, second[n]) for n in second} | {"leaving": (503, 0.0)}
    for name, status, answer in (one for some in seen for one in some):
        expected: list[Any] = [(200, v[name]) for v in (first, second) if name in v]
        if name not in first:
            expected.append((404, 0.0))
        if name not in second:
            expected.append((503, 0.0))
        assert (status, answer) in expected
    for some in seen:
        assert is_in_order([one for one in some if one[0] in NAMES[:2]], first)
    assert last == {
        "serving_default": (200, 5.0),
        "double": (503, 0.0),
        "leaving": (200, 7.0),
        "coming": (503, 0.0),
        "alias": (503, 0.0),
    }


def asked(service: Service, name: str) -> tuple[int, float]:
    url = f"/v1/api/model/m/eval?signature={name}"
    found = service.client.post(url, json={"x": 2.0})
    return found.status_code, found.json().get("data", {}).get("y", 0.0) / 2.0


def is_in_order(seen: list[tuple[str, int, Any]], first: dict[str, int]) -> bool:
    """Whether no signature answers by the old version after one did by the new."""
    is_old = [answer == first[name] for name, _, answer in seen]
    return any(is_old) and not all(is_old) and is_old == sorted(is_old, reverse=True)
