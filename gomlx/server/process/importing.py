"""TensorFlow is imported while the event loop answers: probes do not wait for it."""

import asyncio
import ctypes
import gc
import importlib
import importlib.util
import os
from pathlib import Path

from gomlx.server.parsing import COLLECTOR

_SERVABLE = "gomlx.models.serving.servable"
# Most of the code that the import loads.
_LIBRARIES = ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")
# PERF: what Gunicorn and Falcon leave of a request is in cycles. A collection of as
# many objects takes a millisecond or two; with 25,000 all that a flood of requests has
# left is collected for 10 to 20 ms at once (python -m loadtests.attack).
_YOUNG_OBJECTS = 2_500
# What these leave is looked at after five, at 4 ms; all that models hold, for 20 to 100
# ms (python -m loadtests.blocking), after so many of those, as with 25,000.
_COLLECTIONS = (5, 200)
# Or all sessions of the process would use the threads of the first one.
_THREADS_OF_SESSIONS = "TF_OVERRIDE_GLOBAL_THREADPOOL"


async def import_tensorflow() -> None:
    """Import TensorFlow in a thread: the event loop runs on for these seconds.

    What is in memory then stays, TensorFlow's modules first of all: it is frozen, or
    each full garbage collection would look at it. There is none meanwhile, for the
    import has thousands of modules and 2,000 objects of garbage, and each collection
    would keep the loop for up to half a second. Models come and go, so they are loaded
    later.
    """
    os.environ.setdefault(_THREADS_OF_SESSIONS, "1")
    with COLLECTOR.paused():
        await asyncio.to_thread(_import)
        gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *_COLLECTIONS)


def _import() -> None:
    open_libraries()
    importlib.import_module(_SERVABLE)


def open_libraries() -> None:
    """Open TensorFlow's libraries without the interpreter.

    An import holds it while it opens one, which takes half a second. The linker's own
    function, called as any other of C, does not; the import finds them open.
    """
    package = importlib.util.find_spec("tensorflow")
    if package is None or package.origin is None:
        return
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes = [ctypes.c_char_p, ctypes.c_int]
    dlopen.restype = ctypes.c_void_p
    for name in _LIBRARIES:
        path = Path(package.origin).with_name(name)
        if path.exists():
            dlopen(os.fsencode(path), os.RTLD_NOW)  # the import tells why it fails
