"""Clients in the child of a fork: each begins anew, and leaves its parent's alone."""

import os
import weakref
from typing import Protocol


class Client(Protocol):
    """Either of the two."""

    def _forked(self) -> None:
        """Forget, in a child, what belongs to the parent."""


_known: "weakref.WeakSet[Client]" = weakref.WeakSet()


def remember(client: Client) -> None:
    """See that a client is told when it finds itself in a child."""
    _known.add(client)


def leave_alone(things: object) -> None:
    """Let things of the parent never be destroyed here, not even at the end.

    A child shares its parent's sockets and the kernel's set of those that are waited
    for. Whatever closed a connection here would take it out of the parent's set, which
    would never hear of an answer again, or would end its TLS.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(things))


def _in_child() -> None:
    for client in list(_known):
        client._forked()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)
