"""Whatever goes wrong while a version is staged → why it cannot be."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from gomlx.errors import GomlxError, StageFailed, StageInterrupted
from gomlx.runtime.masking import masked

log = logging.getLogger(__name__)

_LONGEST_REASON = 500  # characters of an error of TensorFlow


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise StageFailed, or StageInterrupted if it may pass, instead of other errors.

    name: the model's.
    """
    try:
        yield
    except GomlxError:
        raise
    except Exception as error:  # a hostile model can make TensorFlow raise anything
        log.exception("model %s: staging failed", name)
        text = str(error)[:_LONGEST_REASON]
        passes = isinstance(error, OSError | MemoryError)  # a full disk, or memory
        kind = StageInterrupted if passes else StageFailed
        raise kind(masked(f"{type(error).__name__}: {text}")) from error
