"""The admins of `endpoint.admin`: who may see the details of the service."""

from collections.abc import Sequence

from gomlx.config.schema import Admin
from gomlx.config.tokens import TokenFile, bearer_token
from gomlx.errors import Forbidden, Unauthorized
from gomlx.runtime.networks import Networks


class Admins:
    """Who has one of the tokens, if there are any, and is in one of the networks.

    An address is that of the connection's peer, or one that a trusted proxy tells.
    """

    def __init__(self, admin: Admin) -> None:
        path = admin.token_file
        self.tokens = TokenFile("endpoint.admin", path) if path else None
        self._networks = Networks(admin.allow) if admin.allow else None

    def admits(self, authorization: str | None, address: str) -> bool:
        """Whether a request from an address is an admin's."""
        token = bearer_token(authorization)
        has_token = self.tokens is None or self.tokens.has(token)
        return has_token and self._is_near(address)

    def refusal(self, path: str, addresses: Sequence[str]) -> Forbidden | Unauthorized:
        """Return the error for a request of others."""
        for address in addresses:
            if not self._is_near(address):
                return Forbidden.of_address(path, address)
        return Unauthorized.of_admins(path)

    def _is_near(self, address: str) -> bool:
        return self._networks is None or address in self._networks
