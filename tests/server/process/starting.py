"""Starts a service without models, and prints what it imports and when, as JSON.

python -m tests.server.process.starting FOLDER
"""

import asyncio
import json
import sys
from pathlib import Path

from gomlx.config.schema import Config, Model
from gomlx.runtime.rundir import Lease
from gomlx.server.http.places import Places
from gomlx.server.process.hooks import WorkerHooks
from gomlx.server.process.service import Service

_BEAT_SECONDS = 0.02


class Beats:
    """Counts how often the event loop gets a turn while TensorFlow is imported."""

    def __init__(self) -> None:
        self.before = 0  # the import has begun, but is not complete

    async def count(self) -> None:
        while True:
            module = sys.modules.get("tensorflow")
            self.before += module is not None and not hasattr(module, "__version__")
            await asyncio.sleep(_BEAT_SECONDS)


async def started(folder: Path) -> dict[str, object]:
    lease = Lease.acquire(folder)
    hooks = WorkerHooks(
        certificates=None,
        hand_over=lambda connections: asyncio.Protocol(),
        check_handed_over=lambda: None,
        places=Places(100, int, lambda address: False),
        may_use_h2c=lambda peer: False,
        replace=lambda: None,
    )
    config = Config(models=(Model(id="m", url="/nowhere"),))
    service = Service(config, lease.rundir, hooks)
    is_built_without = "tensorflow" not in sys.modules
    beats = Beats()
    counting = asyncio.create_task(beats.count())
    await service.startup()
    counting.cancel()
    service.stop_accepting()
    await service.shutdown()
    lease.release()
    return {
        "is_built_without_tensorflow": is_built_without,
        "has_tensorflow_when_started": "tensorflow" in sys.modules,
        "beats_during_the_import": beats.before,
    }


if __name__ == "__main__":
    json.dump(asyncio.run(started(Path(sys.argv[1]))), sys.stdout)
