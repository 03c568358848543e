"""How much the tiers hold. Shared ones tell one worker now and then, which notes it.

Any worker reads that when it is scraped, so no request and no scrape waits for a tier.
The file belongs in shared memory, beside the counts:

    {"time": seconds since 1970, "datastores": {ID: {TIER: numbers, or a problem}}}
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from gomlx.cache.remote.tier import Remote
from gomlx.errors import TierFailed
from gomlx.metrics.exposition import ScrapedMetric
from gomlx.runtime.masking import without_folders
from gomlx.runtime.rundir import replace_privately
from gomlx.server.process.stores import Store

log = logging.getLogger(__name__)

_Json = dict[str, Any]

_PERIOD_SECONDS = 15.0
_KNOWN_SECONDS = 60.0  # what is older is not shown
_METRICS = {
    "size_bytes": "gomlx_store_size_bytes",
    "bytes": "gomlx_store_bytes",
    "entries": "gomlx_store_entries",
    "overwritten_bytes": "gomlx_store_evicted_bytes_total",
    "evicted_entries": "gomlx_store_evicted_entries_total",
}


class TierUsages:
    """What the tiers of each datastore hold.

    folder: where all workers of the host find the file.
    """

    def __init__(
        self,
        stores: Mapping[str, Store],
        folder: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stores = stores
        self._path = folder / "shared_tiers.json"
        self._clock = clock
        self._refused: dict[Remote, str] = {}

    async def keep(self) -> None:
        """Ask the shared tiers, again and again: in one worker of the host."""
        while True:
            await self.look()
            await asyncio.sleep(_PERIOD_SECONDS)

    async def look(self) -> None:
        """Ask the shared tiers, one after the other, and note what they say."""
        found = {
            name: {one.name: await self._usage(one) for one in store.tiers.remotes}
            for name, store in self._stores.items()
        }
        document = {"time": self._clock(), "datastores": found}
        try:
            replace_privately(self._path, orjson.dumps(document))
        except OSError as error:
            log.debug("cannot note how much shared tiers hold: %s", error)

    def read(self) -> dict[str, _Json]:
        """Return the tiers of each datastore, as /v1/api/stats has them.

        Shared ones are missing while it is not known: for a moment after the start.
        """
        shared = self._shared()
        return {
            name: store.stats() | shared.get(name, {})
            for name, store in self._stores.items()
        }

    def metrics(self) -> list[ScrapedMetric]:
        """Return the metrics of what each tier holds."""
        metrics = {field: ScrapedMetric(name) for field, name in _METRICS.items()}
        for store, tiers in self.read().items():
            for tier, numbers in tiers.items():
                for field in metrics.keys() & numbers.keys():
                    metrics[field].add(numbers[field], store, tier)
        return [*metrics.values()]

    def _shared(self) -> dict[str, _Json]:
        try:
            document = orjson.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        is_known = self._clock() - document["time"] < _KNOWN_SECONDS
        return document["datastores"] if is_known else {}

    async def _usage(self, remote: Remote) -> _Json:
        """Return what a tier says; one that refuses to say so gets no other request.

        Redis notes each command that it refuses a user.
        """
        if remote not in self._refused:
            try:
                usage = await remote.usage()
            except TierFailed as error:
                if error.fault != "permission":
                    return {"problem": without_folders(str(error))}
                self._refused[remote] = without_folders(str(error))
                log.info("%s: how much it holds is not known: %s", remote.name, error)
            else:
                return {name: n for name, n in usage._asdict().items() if n is not None}
        return {"problem": self._refused[remote]}
