"""New versions that are half written, broken or hostile; and expensive values."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from loadtests.faults.fault import Fault
from loadtests.faults.scene import Scene

_PIECES = 20
_PIECE_SECONDS = 0.1
_EXPENSIVE = 1e8  # numbers that a run adds up
_REFUSED_SECONDS = 30.0
_WRITTEN = Path("written-by-a-model")


def save_summing(path: Path) -> Path:
    """Save a model whose value says how much it computes: y = 0 + 1 + … + x - 1."""
    import tensorflow as tf

    from tests.support.saved_models import save, spec

    def total(x: Any) -> Any:
        top = tf.reduce_max(x)
        return {"y": 0.0 * x + tf.reduce_sum(tf.range(top))}

    return save(path, total, [spec("x")])


def save_writing(path: Path) -> Path:
    """Save a model that writes a file wherever it runs."""
    import tensorflow as tf

    from tests.support.saved_models import save, spec

    def write(x: Any) -> Any:
        writing = tf.io.write_file(str(path.parent / _WRITTEN), "written")
        with tf.control_dependencies([writing]):
            return {"y": tf.identity(x)}

    return save(path, write, [spec("x")])


@contextmanager
def _half_written(scene: Scene) -> Iterator[None]:
    """The files of a new version come slowly, in place of those of the old one."""
    name = scene.following()
    target = scene.service.folder / "m"
    source = scene.sources.paths[name]
    shutil.rmtree(target)
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            _write_slowly(copy, path.read_bytes())
    scene.live = name
    yield


def _write_slowly(path: Path, data: bytes) -> None:
    size = len(data) // _PIECES + 1
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(data), size):
            file.write(data[at : at + size])
            time.sleep(_PIECE_SECONDS)


@contextmanager
def _broken(breaks: Callable[[Path], object], scene: Scene) -> Iterator[None]:
    """A new version cannot be served: the one before has to stay; then a right one."""
    bad = scene.service.folder.parent / "bad"
    shutil.copytree(scene.sources.paths[scene.following()], bad)
    try:
        breaks(bad)
        scene.put_folder(bad)
        _wait_for_refusal(scene)
        yield
    finally:
        shutil.rmtree(bad)
        scene.put(scene.following())


@contextmanager
def _hostile(scene: Scene) -> Iterator[None]:
    """A new version would write files where it is tried, and where it runs."""
    scene.put_folder(scene.sources.hostile)
    _wait_for_refusal(scene)
    yield
    if (scene.sources.hostile.parent / _WRITTEN).exists():
        scene.notes.append("a file that a model has written")
    scene.put(scene.following())


def _wait_for_refusal(scene: Scene) -> None:
    """Wait until readiness says why the newest files are not served."""
    deadline = time.monotonic() + _REFUSED_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            model = scene.service.get_anew("/readyz").json()["models"]["m"]
            if "problem" in model:
                return
        time.sleep(0.1)
    scene.notes.append("no word of files that cannot be served")


def _no_graph(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(os.urandom(5000))


def _cut_weights(folder: Path) -> None:
    path = next(folder.glob("variables/variables.data-*"))
    os.truncate(path, path.stat().st_size // 2)


def _linked_asset(folder: Path) -> None:
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "words.txt").symlink_to("/etc/passwd")


@contextmanager
def _expensive_values(scene: Scene) -> Iterator[None]:
    """Requests whose values make runs long, for another model of the service."""
    done = threading.Event()

    def ask() -> None:
        with scene.service.connect() as client:
            while not done.is_set():
                with suppress(httpx.HTTPError):
                    client.post("/v1/api/model/sums/eval", json={"x": _EXPENSIVE})

    thread = threading.Thread(target=ask)
    thread.start()
    yield
    done.set()
    thread.join()


FAULTS = (
    Fault("files of a new version come slowly", _half_written, lasts=False),
    Fault("a new version has no graph", partial(_broken, _no_graph)),
    Fault("a new version's weights are cut off", partial(_broken, _cut_weights)),
    Fault("a new version links to /etc/passwd", partial(_broken, _linked_asset)),
    Fault("a new version would write files", _hostile),
    Fault("values make runs of another model long", _expensive_values),
)
