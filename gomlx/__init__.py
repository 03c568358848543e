"""gomlx: TensorFlow predictions, each row computed once."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gomlx.errors import (
    BadResponse,
    ConfigInvalid,
    ConnectionFailed,
    DeadlineExceeded,
    Forbidden,
    GomlxError,
    InvalidInput,
    ModelNotFound,
    NoHost,
    NotReady,
    Overloaded,
    RunFailed,
    StageFailed,
    TooLarge,
    Unauthorized,
)

if TYPE_CHECKING:
    from gomlx.client.answer import Answer
    from gomlx.client.async_client import AsyncClient
    from gomlx.client.client import Client
    from gomlx.client.network.transport import FakeTransport, Transport
    from gomlx.client.options import Options
    from gomlx.service import RunningService, running, serve

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
    "Forbidden",
    "GomlxError",
    "InvalidInput",
    "ModelNotFound",
    "NoHost",
    "NotReady",
    "Options",
    "Overloaded",
    "RunFailed",
    "RunningService",
    "StageFailed",
    "TooLarge",
    "Transport",
    "Unauthorized",
    "__version__",
    "running",
    "serve",
]
_LAZY = {
    "Answer": "client.answer",
    "AsyncClient": "client.async_client",
    "Client": "client.client",
    "FakeTransport": "client.network.transport",
    "Options": "client.options",
    "RunningService": "service",
    "Transport": "client.network.transport",
    "running": "service",
    "serve": "service",
}


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]


def __getattr__(name: str) -> Any:
    """Import what is lazy on its first use: `import gomlx` stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gomlx.{_LAZY[name]}"), name)
