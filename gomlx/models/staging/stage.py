"""Stages one version of a model, in a process of its own.

fetch      copy the newest files of the source; digest names, bytes and settings
prepare    check, prove, export, try (prepare.py), unless the version exists
rename     the finished work folder becomes DIRECTORY/DIGEST, complete or not at all
"""

import json
import logging
import shutil
import tempfile
from pathlib import Path

from gomlx.contract.dictionary import digest
from gomlx.errors import GomlxError, StageFailed, StageInterrupted
from gomlx.models import libraries
from gomlx.models.serving.transformer import Code, code
from gomlx.models.source import Source
from gomlx.models.version import (
    NOTHING_THERE,
    ModelVersion,
    StageRequest,
    staged_version,
)
from gomlx.runtime.masking import masked

log = logging.getLogger(__name__)

# To be raised when what staging writes, or the form of keys or answers, changes.
FORMAT = 15
_LONGEST_REASON = 500  # characters of an error of TensorFlow


def stage(request: StageRequest) -> ModelVersion:
    """Stage a source's newest version and return it. Raises StageFailed."""
    source = Source(request.url)
    snapshot = source.snapshot()
    if snapshot is None:
        raise StageInterrupted(NOTHING_THERE)
    request.into.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".staging-", dir=request.into))
    try:
        content = source.fetch(snapshot, work / "saved_model")
        if source.snapshot() != snapshot:
            raise StageInterrupted("the files changed while they were copied")
        return _stage_content(content, work, request)
    except GomlxError:
        raise
    except Exception as error:  # a hostile model can make TensorFlow raise anything
        log.exception("model %s: staging failed", request.name)
        text = str(error)[:_LONGEST_REASON]
        passes = isinstance(error, OSError | MemoryError)  # a full disk, or memory
        kind = StageInterrupted if passes else StageFailed
        raise kind(masked(f"{type(error).__name__}: {text}")) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _stage_content(content: str, work: Path, request: StageRequest) -> ModelVersion:
    """Complete the fetched files and move them into place. content: their digest."""
    transformer = code(request.settings.transformer, request.name)
    directory = request.into / _digest(content, transformer, request)
    if not directory.exists():
        transformer.write(work)
        libraries.write(work, request.settings.libraries)
        # TensorFlow is imported only for a version that does not exist yet.
        from gomlx.models.staging.prepare import prepare

        prepare(work, request)
        work.rename(directory)
    return staged_version(request.name, directory)


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
