"""What a service needs of the worker process around it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gomlx.models.isolation.spawner import Spawner
from gomlx.runtime.networks import Networks
from gomlx.server.http.connections import Connections
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.places import Places
from gomlx.server.http.tls.certificates import Certificates


@dataclass(frozen=True)
class WorkerHooks:
    """What a service needs of the worker process around it.

    hand_over makes the protocol that a connection is handed over to, unless it is of
    HTTP/2 and its library is there. Once a second, check_handed_over closes those of
    them that are idle for too long. places: of connections on any protocol. may_use_h2c
    tells whether the peer with an address may speak HTTP/2 in the clear. replace has
    the worker stop gracefully, and another one take its place. spawner makes the
    processes of isolated models, if there are any. is_draining tells whether the
    service is about to stop. change_limits: of what hand_over makes from now on.
    proxies: those whose headers are trusted.
    """

    certificates: Certificates | None
    hand_over: Callable[[Connections], asyncio.Protocol]
    check_handed_over: Callable[[], None]
    places: Places
    may_use_h2c: Callable[[Any], bool]
    replace: Callable[[], None]
    spawner: Spawner | None = None
    is_draining: Callable[[], bool] = lambda: False
    change_limits: Callable[[HttpLimits], None] = lambda _: None
    proxies: Networks = field(default_factory=lambda: Networks(()))
