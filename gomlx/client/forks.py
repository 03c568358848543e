"""Clients in the child of a fork connect again; the parent's connections stay open."""

import os
from collections.abc import Callable
from weakref import WeakMethod

_hooks: set[WeakMethod[Callable[[], None]]] = set()


def call_in_children(method: Callable[[], None]) -> None:
    """Have a bound method called in every child of a fork, while its object lives."""
    _hooks.add(WeakMethod(method, _hooks.discard))


def never_destroy(things: object) -> None:
    """Keep things alive for as long as this process, even when the interpreter ends.

    In the child of a fork, connections of the parent. A child shares its parent's
    sockets and the kernel's set of those that are polled. To close one here would take
    it out of the parent's set, so that the parent would never see a response again, or
    would end its TLS session.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(things))


def _after_fork() -> None:
    for hook in list(_hooks):
        if (method := hook()) is not None:
            method()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
