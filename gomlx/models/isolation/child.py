"""The process of an isolated model: loads its graph, then answers frame by frame."""

import mmap
import os
import signal
import socket
from pathlib import Path

from gomlx.models.isolation.frames import Frames
from gomlx.models.isolation.spawner import Assignment
from gomlx.models.serving.servable import Description, Graph, load_here
from gomlx.models.serving.session import TensorFlowError, first_line
from gomlx.models.version import ModelVersion
from gomlx.runtime.process import limit_memory
from gomlx.runtime.sandbox import confine
from gomlx.runtime.seccomp import forbid_calls

_MOST_BYTES = 1 << 40  # the worker is trusted
_MESSAGE_CHARACTERS = 500


def serve(assignment: Assignment, connection: int, memory: int) -> int:
    """Serve a worker until it closes the connection; return this process's exit code.

    connection, memory: file descriptors of a connected socket and of shared memory.
    """
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)
    shared = mmap.mmap(memory, os.fstat(memory).st_size)
    os.close(memory)
    frames = Frames(socket.socket(fileno=connection), shared, _MOST_BYTES)
    limit_memory(assignment.memory_mb << 20)
    if assignment.is_confined:
        confine([], may_connect=False)
        forbid_calls()
    try:
        graph = _loaded(assignment)
    except Exception as error:
        frames.send([], error=f"{type(error).__name__}: {first_line(error)}")
        return 1
    frames.send([])
    while True:
        try:
            arrays = frames.receive()
        except (EOFError, OSError):
            return 0
        _answer(frames, graph, arrays)


def _loaded(assignment: Assignment) -> Graph:
    directory = Path(assignment.directory)
    version = ModelVersion(assignment.name, directory.name, directory)
    return load_here(version, Description.read(directory), assignment.threads)


def _answer(frames: Frames, graph: Graph, arrays: list[object]) -> None:
    try:
        found = graph.call(*arrays)
    except TensorFlowError as error:
        frames.send([], error=str(error.message)[:_MESSAGE_CHARACTERS])
    except MemoryError:
        frames.send([], error="out of memory")
    else:
        frames.send(found)
