"""Stages one version of a model, in a process of its own.

fetch      copy the newest files of the source; digest names, bytes and settings
prepare    check, prove, export, try (prepare.py), unless the version exists
rename     the finished work folder becomes DIRECTORY/DIGEST, complete or not at all
further    the same for its other signatures, below that (signature/further.py)
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gomlx.contract.dictionary import digest
from gomlx.errors import StageInterrupted
from gomlx.models import files, libraries
from gomlx.models.serving.transformer import NO_CODE, Code, code
from gomlx.models.source import Snapshot, Source
from gomlx.models.staging.failures import translated
from gomlx.models.version import (
    NOTHING_THERE,
    ModelVersion,
    StageRequest,
    staged_version,
)

# To be raised when what staging writes, or the form of keys or answers, changes.
FORMAT = 21


def stage(
    request: StageRequest,
    on_begun: Callable[[str], None] = lambda _: None,
    on_fetched: Callable[[], object] = lambda: None,
) -> ModelVersion:
    """Stage a source's newest version and return it. Raises StageFailed.

    on_begun is called with the name of each further signature, before it is tried;
    on_fetched when all files are there, before anything of them is loaded.
    """
    source = Source(request.url)
    snapshot = source.snapshot()
    if snapshot is None:
        raise StageInterrupted(NOTHING_THERE)
    try:
        return _stage_snapshot(source, snapshot, request, on_begun, on_fetched)
    except (StageInterrupted, OSError):
        # A full disk has no room for a copy, but what is staged already can be served.
        if any(request.into.glob("[!.]*")):
            transformer = code(request.settings.transformer, request.name)
            found = _staged(source.digest(snapshot), transformer, request)
            if found:
                return found
        raise


def _stage_snapshot(
    source: Source,
    snapshot: Snapshot,
    request: StageRequest,
    on_begun: Callable[[str], None],
    on_fetched: Callable[[], object],
) -> ModelVersion:
    request.into.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".staging-", dir=request.into))
    try:
        with translated(request.name):
            content = source.fetch(snapshot, work / "saved_model")
            if source.snapshot() != snapshot:
                raise StageInterrupted("the files changed while they were copied")
            on_fetched()
            return _stage_content(content, work, request, on_begun)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _stage_content(
    content: str, work: Path, request: StageRequest, on_begun: Callable[[str], None]
) -> ModelVersion:
    """Make a version of the fetched files. content: their digest."""
    transformer = code(request.settings.transformer, request.name)
    if found := _staged(content, transformer, request):
        return found
    directory = request.into / _digest(content, transformer, request)
    is_there = directory.exists()
    # TensorFlow is imported only for a version that does not exist yet.
    from gomlx.models.staging.keras_file import export_keras_file
    from gomlx.models.staging.signature.further import Fetched, Further

    libraries.write(work, request.settings.libraries)
    libraries.load(work)
    export_keras_file(work / "saved_model")
    fetched = Fetched(work / "saved_model", partial(_digest, content, NO_CODE))
    if not is_there:
        fetched.stage(request, work / "version", transformer)
        (work / "version").rename(directory)
    version = staged_version(request.name, directory)
    return Further(version, fetched, request, on_begun).staged()


def _staged(
    content: str, transformer: Code, request: StageRequest
) -> ModelVersion | None:
    """Return the version of some files if it is staged; remove what is left of it."""
    directory = request.into / _digest(content, transformer, request)
    files.keep_intact(directory)
    found = ModelVersion.recorded(request.name, directory, request.signatures)
    if found and all(files.keep_intact(one.directory) for one in found.further):
        return found
    return None


def _digest(content: str, transformer: Code, request: StageRequest) -> str:
    """Digest all that changes an answer or a key; no times, no paths."""
    settings = request.settings
    parts = [
        str(FORMAT),
        content,
        request.signature,
        settings.digested,
        transformer.digest,
        libraries.digest(settings.libraries),
        # The example influences what staging finds out about a version.
        json.dumps(sorted(request.example.items())),
    ]
    return digest(part.encode() for part in parts)
