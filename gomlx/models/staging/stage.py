"""Stages one version of a model, in a process of its own.

fetch      digest names, bytes and settings; copy what is not on this machine
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
from typing import NamedTuple

from gomlx.contract.dictionary import digest
from gomlx.errors import StageInterrupted
from gomlx.models import files, libraries
from gomlx.models.serving.transformer import NO_CODE, Code, code
from gomlx.models.source import Snapshot, Source
from gomlx.models.staging.failures import translated
from gomlx.models.staging.progress import QUIET, Progress
from gomlx.models.version import (
    NOTHING_THERE,
    ModelVersion,
    StageRequest,
    staged_version,
)

# To be raised when what staging writes, or the form of keys or answers, changes.
FORMAT = 21


def stage(request: StageRequest, progress: Progress = QUIET) -> ModelVersion:
    """Stage a source's newest version and return it. Raises StageFailed."""
    source = Source(request.url)
    snapshot = source.snapshot()
    if snapshot is None:
        raise StageInterrupted(NOTHING_THERE)
    try:
        return _stage_snapshot(source, snapshot, request, progress)
    except (StageInterrupted, OSError):
        # A full disk has no room for a copy, but what is staged already can be served.
        if any(request.into.glob("[!.]*")):
            transformer = code(request.settings.transformer, request.name)
            found = _staged(source.digest(snapshot), transformer, request)
            if found:
                return found
        raise


def _stage_snapshot(
    source: Source, snapshot: Snapshot, request: StageRequest, progress: Progress
) -> ModelVersion:
    request.into.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".staging-", dir=request.into))
    try:
        with translated(request.name):
            progress.on_phase("its files are read")
            content = source.fetch(snapshot, work / "saved_model")
            check = partial(_check, source, snapshot)
            check()
            progress.on_fetched()
            # What is on this machine is read again, and may change again.
            is_local = source.local_path is not None
            fetched = _Fetched(work, content, check if is_local else lambda: None)
            return _stage_content(fetched, request, progress)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check(source: Source, snapshot: Snapshot) -> None:
    """Raise StageInterrupted if the source is another one by now."""
    if source.snapshot() != snapshot:
        raise StageInterrupted("the files changed while they were read")


class _Fetched(NamedTuple):
    """A work folder with fetched files, their digest, and `_check` of their source."""

    work: Path
    content: str
    check: Callable[[], None]


def _stage_content(
    fetched: _Fetched, request: StageRequest, progress: Progress
) -> ModelVersion:
    """Make a version of the fetched files."""
    work = fetched.work
    content = fetched.content
    transformer = code(request.settings.transformer, request.name)
    if found := _staged(content, transformer, request):
        return found
    directory = request.into / _digest(content, transformer, request)
    is_there = directory.exists()
    progress.on_phase("TensorFlow is imported")
    # TensorFlow is imported only for a version that does not exist yet.
    from gomlx.models.staging.keras_file import export_keras_file
    from gomlx.models.staging.signature.further import Fetched, Further

    libraries.write(work, request.settings.libraries)
    libraries.load(work)
    export_keras_file(work / "saved_model")
    digests = partial(_digest, content, NO_CODE)
    model = Fetched(work / "saved_model", digests, fetched.check)
    if not is_there:
        model.stage(request, work / "version", progress, transformer)
        (work / "version").rename(directory)
    version = staged_version(request.name, directory)
    return Further(version, model, request, progress).staged()


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
