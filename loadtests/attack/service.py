"""A service of our own to attack: one worker, and little room for connections."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loadtests.attack.target import Target
from loadtests.load import procfs
from tests.support.service import running

CONNECTIONS = 300
_WORDS = 100_000
_TEXTS = 9
_MODEL = "attacked"


@contextmanager
def own_service(is_tls: bool) -> Iterator[Target]:
    """Run a service on the first core, and stop it at the end."""
    from tests.support.certificates import Endpoint

    with tempfile.TemporaryDirectory(prefix="gomlx-") as temporary:
        folder = Path(temporary)
        endpoint: dict[str, Any] = {"max_connections": CONNECTIONS}
        files = Endpoint(folder / "certificates")
        if is_tls:
            endpoint["tls"] = files.config()
        config = {
            "endpoint": endpoint,
            "models": [
                {"id": _MODEL, "url": str(_save(folder)), "datastore": "answers"}
            ],
            "datastores": [{"id": "answers", "memory_mb": 64}],
        }
        with running(folder, config, trust=files.trust(False)) as service:
            for pid in service.worker_pids():
                procfs.pin(pid, procfs.cores()[:1])
            row = {"x": 1.5, "word": "a-word-of-some-length-7"}
            row |= {f"t{n}": "a" for n in range(_TEXTS)}
            yield Target(service.url, _MODEL, row, str(files.ca) if is_tls else "")
            if "Traceback" in (text := service.text()):
                raise RuntimeError(text[-3000:])


def _save(folder: Path) -> Path:
    """Save a model of a number, a word that it knows, and texts that are words."""
    import tensorflow as tf

    from tests.support.saved_models import save, spec

    words = tf.constant([f"a-word-of-some-length-{n}" for n in range(_WORDS)])
    numbers = tf.range(_WORDS, dtype=tf.int64)
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(words, numbers), default_value=-1
    )

    def total(x: Any, word: Any, *texts: Any) -> Any:
        lengths = tf.add_n([tf.strings.length(text) for text in texts])
        number = tf.cast(table.lookup(word), tf.float32)
        return {"y": x + number + tf.cast(lengths, tf.float32)}

    names = [f"t{n}" for n in range(_TEXTS)]
    specs = [spec("x"), *[spec(name, "string") for name in ("word", *names)]]
    return save(folder / _MODEL, total, specs, table)
