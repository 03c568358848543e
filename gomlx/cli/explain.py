"""A model of a URL, explained: for `gomlx inspect` and `gomlx key`.

Stages the model in a temporary folder, as a service does, and reads what staging found.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gomlx.contract.canonical import parse
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.explain import Explainer
from gomlx.errors import StageFailed
from gomlx.models.version import StageRequest
from gomlx.runtime.masking import masked


@contextmanager
def staged(request: StageRequest) -> Iterator[Explainer]:
    """Stage a version in a folder that is removed at the end. Raises StageFailed.

    A further signature that the request wants is staged instead of the model's own.
    """
    from gomlx.models.serving.servable import Description
    from gomlx.models.staging.stage import stage

    with tempfile.TemporaryDirectory(prefix="gomlx-inspect-") as folder:
        try:
            version = stage(replace(request, into=Path(folder)))
            for reason in version.refused.values():
                raise StageFailed(reason)
        except StageFailed as error:
            raise StageFailed(f"{masked(request.url)}: {error}") from None
        version = next(iter(version.further), version)
        description = Description.read(version.directory)
        signature = description.signature
        kinds = parse((version.directory / "dictionary").read_bytes())
        dictionary = Dictionary(version.digest, signature, kinds)
        yield Explainer(
            version.digest,
            signature,
            dictionary,
            description.rows_apart,
            description.rows_together,
        )
