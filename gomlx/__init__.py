"""gomlx: TensorFlow predictions, each question computed once."""

from gomlx.errors import (
    ConfigInvalid,
    GomlxError,
    InvalidInput,
    ModelNotFound,
    NotReady,
    Overloaded,
    RunFailed,
    StageFailed,
    TooLarge,
)

__version__ = "0.1.0"

__all__ = [
    "ConfigInvalid",
    "GomlxError",
    "InvalidInput",
    "ModelNotFound",
    "NotReady",
    "Overloaded",
    "RunFailed",
    "StageFailed",
    "TooLarge",
    "__version__",
]
