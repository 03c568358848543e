"""Who may do what at one listener, and the files that say so, which are followed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gomlx.config.schema import Endpoint
from gomlx.config.tokens import TokenFile
from gomlx.errors import Forbidden, Unauthorized
from gomlx.server.access.admins import Admins
from gomlx.server.access.clients import KnownClients

_LOOK_SECONDS = 0.5  # between looks at the files


@dataclass(frozen=True)
class Permissions:
    """Who may do what at one listener.

    admins: they may do everything; None: there are none, so that details are for all.
    clients: they may predict; None: all may. has_details: whether there are routes of
    details. is_for_admins: whether all but the probes is. open_meta: whether the words
    of models are for who may predict. shows_page: whether there is a page for people,
    which anybody may load: it asks for a token. speaks_tls: if the service does.
    """

    admins: Admins | None = None
    clients: KnownClients | None = None
    has_details: bool = True
    is_for_admins: bool = False
    open_meta: bool = True
    shows_page: bool = True
    speaks_tls: bool = True

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything."""
        return not (self.admins or self.clients) and self.has_details

    def may_predict(
        self, model: str, authorization: str | None, names: frozenset[str]
    ) -> bool:
        """Whether a request with a certificate of these names may, as a client."""
        if self.clients is None:
            return True
        try:
            self.clients.check(model, authorization, names)
        except (Unauthorized, Forbidden):
            return False
        return True


OPEN = Permissions()


class ServicePermissions:
    """What a config allows at its listeners, and the files of tokens that say so.

    public: at the endpoint's own. admin: at that of admins, if there is one.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        auth = endpoint.auth
        admin = endpoint.admin
        clients = KnownClients(auth.clients) if auth else None
        admins = Admins(admin) if admin else None
        has_own = admin is not None and admin.has_listener
        has_details = not has_own and (admins is not None or clients is None)
        has_page = admin is None or admin.page
        self.public = Permissions(
            None if has_own else admins,
            clients,
            has_details=has_details,
            open_meta=admin is None or admin.open_meta,
            shows_page=has_page and has_details,
        )
        self.admin = None
        if admin and has_own:
            self.admin = Permissions(
                admins,
                is_for_admins=True,
                shows_page=has_page,
                speaks_tls=admin.tls,
            )
        self.files: list[TokenFile] = [*clients.token_files] if clients else []
        if admins and admins.tokens:
            self.files.append(admins.tokens)

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything."""
        return self.public.is_open

    @property
    def shows_page(self) -> bool:
        """Whether one of the listeners has the page."""
        return any(one.shows_page for one in (self.public, self.admin) if one)

    async def follow(self, changed: Callable[[], None]) -> None:
        """Read the files whenever they change; call then."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            # A file may be on a network.
            looks = await asyncio.to_thread(lambda: [one.look() for one in self.files])
            if any(looks):
                changed()
