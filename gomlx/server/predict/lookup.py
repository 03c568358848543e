"""From the texts of requests for one live version to the answers that are cached."""

from collections.abc import Sequence

from gomlx.models.serving.current import LiveVersion
from gomlx.server.predict.parse import ParsedRequest, RequestParser
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.reply import Reply, answered, hit_status


class VersionLookup:
    """Parses requests for one live version, and answers them from this host's cache.

    digest: the version's. policy: the one in effect. is_local: a row that misses is
    computed at once. detail: of Cache-Status: the nearest tier, or why there is none.

    It outlives the version by a request, so it holds none of the version's resources.
    """

    def __init__(
        self,
        live: LiveVersion,
        policy: CachePolicy,
        max_rows: int,
        kept_rows: int = 8,
    ) -> None:
        """max_rows: of one request. kept_rows: of one that is remembered."""
        cache = policy.cache
        is_keyed = cache is not None
        self.digest = live.digest
        self.policy = policy
        self.is_local = is_keyed and policy.is_local
        self.detail = cache.name if cache else policy.bypass_reason
        self.parser = RequestParser(live.signature, live.dictionary, max_rows, is_keyed)
        self._kept_rows = kept_rows
        self._recent = self.parser.recent
        self._hit_status = hit_status(1, False, self.detail)

    def cached(self, parsed: Sequence[ParsedRequest | Exception]) -> dict[bytes, bytes]:
        """Return the answers that are in this host's cache, by key."""
        cache = self.policy.cache
        if cache is None:
            return {}
        keys = [
            key for one in parsed if isinstance(one, ParsedRequest) for key in one.keys
        ]
        return cache.get_many(keys) if keys else {}

    def hit(
        self,
        text: bytes | str,
        parsed: ParsedRequest,
        prefix: bytes,
        answers: Sequence[bytes],
    ) -> Reply:
        """Return the reply to a request whose rows are all cached.

        Its text is likely to come again, and is then not parsed again. Texts that miss
        are not remembered: most come once, and would push out those that recur.
        """
        if text not in self._recent and len(answers) <= self._kept_rows:
            self._recent.remember(text, parsed)
        is_batch = parsed.is_batch
        status = hit_status(len(answers), True, "") if is_batch else self._hit_status
        return answered(self.digest, prefix, answers, is_batch, status)
