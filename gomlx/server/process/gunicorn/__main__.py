"""Run Gunicorn's master in this process."""

import argparse
import faulthandler
import logging
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from gomlx.config.load import decoded
from gomlx.runtime.logs import STDERR, log_to_stderr
from gomlx.runtime.process import (
    die_with_parent,
    most_connections,
    raise_file_limit,
)
from gomlx.runtime.rundir import RunDir
from gomlx.server.process.gunicorn.application import Application

log = logging.getLogger(__name__)


def main() -> None:
    """Run Gunicorn's master in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--listeners", required=True)
    parser.add_argument("--log-descriptor", type=int, default=STDERR)
    parser.add_argument("--log-format", default="text")
    arguments = parser.parse_args()
    die_with_parent(arguments.parent, signal.SIGTERM)
    rundir = RunDir(arguments.run_dir)
    config = decoded(rundir.config.read_text())
    log_to_stderr(config.log_level, arguments.log_format, arguments.log_descriptor)
    faulthandler.enable()
    raise_file_limit()
    _warn_of_few_files(config.endpoint.max_connections)
    descriptors = arguments.listeners.split(",")
    listeners = [socket.socket(fileno=int(one)) for one in descriptors]
    sys.argv = sys.argv[:1]  # Gunicorn would parse the rest
    with suppress(KeyboardInterrupt):
        Application(config, rundir, listeners).run()


def _warn_of_few_files(wanted: int) -> None:
    most = most_connections()
    if most < wanted:
        log.warning(
            "max_connections is %d, but a worker may open files for %d connections "
            "only: raise the limit (ulimit -n, LimitNOFILE of systemd)",
            wanted,
            most,
        )


if __name__ == "__main__":
    main()
