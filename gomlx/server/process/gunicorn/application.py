"""Gunicorn's application, with settings from our config."""

import logging
import socket
from collections.abc import Sequence
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from gomlx.config.load import decoded
from gomlx.config.schema import Config
from gomlx.runtime.rundir import SHARED_MEMORY, RunDir
from gomlx.server.http.tls.certificates import Certificates
from gomlx.server.process.gunicorn.worker import Worker

log = logging.getLogger(__name__)


class PassedOnLogger(Logger):  # type: ignore[misc]  # Gunicorn has no types
    """Gunicorn's messages as records of our log."""

    def setup(self, cfg: Any) -> None:
        """Set the level that Gunicorn is configured with."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class Application(BaseApplication):  # type: ignore[misc]  # Gunicorn has no types
    """Gunicorn with settings from our config instead of its own."""

    def __init__(
        self, config: Config, rundir: RunDir, listeners: Sequence[socket.socket]
    ) -> None:
        tls = config.endpoint.tls
        self.config = config
        self.rundir = rundir
        self.certificates = Certificates(tls) if tls else None
        self.listeners = listeners
        super().__init__()

    def current_config(self) -> Config:
        """Return the config as it is now: it may have changed since the start."""
        try:
            return decoded(self.rundir.config.read_text())
        except OSError:
            return self.config

    def load_config(self) -> None:
        """Set Gunicorn's options."""
        for name, value in (self._process_options() | self._http_options()).items():
            self.cfg.set(name, value)

    def load(self) -> None:
        """Nothing: each worker builds its own application."""

    def _process_options(self) -> dict[str, Any]:
        endpoint = self.config.endpoint
        return {
            "bind": [],  # the workers accept on sockets of ours
            "workers": self.config.workers,
            "worker_class": Worker,
            "asgi_loop": "uvloop",
            "worker_tmp_dir": str(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None,
            "timeout": endpoint.worker_timeout_seconds,
            "graceful_timeout": int(endpoint.graceful_seconds) or 1,
            "max_requests": endpoint.max_requests,
            "max_requests_jitter": endpoint.max_requests // 10,
            "control_socket_disable": True,
            "loglevel": "warning",
            "logger_class": PassedOnLogger,
            "proc_name": "gomlx",
        }

    def _http_options(self) -> dict[str, Any]:
        endpoint = self.config.endpoint
        return {
            "limit_request_field_size": min(endpoint.max_header_bytes, 65_536),
            "asgi_disconnect_grace_period": 0,  # abandoned work is dropped at once
            "http_protocols": "h1,h2",
            # Not with TLS: Gunicorn recognizes that by the certificate's file.
            "http2_cleartext": "both",
            "certfile": endpoint.tls and endpoint.tls.certificate,
            "http2_max_concurrent_streams": 128,  # RFC 9113: no less than 100
            "forwarded_allow_ips": ",".join(endpoint.trusted_proxies),
        }
