"""gomlx: TensorFlow predictions, each row computed once."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gomlx.errors import (
    BadResponse,
    ConfigInvalid,
    ConnectionFailed,
    DeadlineExceeded,
    GomlxError,
    InvalidInput,
    ModelNotFound,
    NoHost,
    NotReady,
    Overloaded,
    RunFailed,
    StageFailed,
    TooLarge,
)

if TYPE_CHECKING:
    from gomlx.client.answer import Answer
    from gomlx.client.async_client import AsyncClient
    from gomlx.client.client import Client
    from gomlx.client.network.transport import FakeTransport, Transport
    from gomlx.client.options import Options

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AsyncClient",
    "BadResponse",
    "Client",
    "ConfigInvalid",
    "ConnectionFailed",
    "DeadlineExceeded",
    "FakeTransport",
    "GomlxError",
    "InvalidInput",
    "ModelNotFound",
    "NoHost",
    "NotReady",
    "Options",
    "Overloaded",
    "RunFailed",
    "StageFailed",
    "TooLarge",
    "Transport",
    "__version__",
]
_LAZY = {
    "Answer": "answer",
    "AsyncClient": "async_client",
    "Client": "client",
    "FakeTransport": "network.transport",
    "Options": "options",
    "Transport": "network.transport",
}


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]


def __getattr__(name: str) -> Any:
    """Import a client's class on its first use: `import gomlx` stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gomlx.client.{_LAZY[name]}"), name)
