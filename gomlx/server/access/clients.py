"""The clients of `endpoint.auth`: who asks, and for which models they may ask."""

from collections.abc import Iterator

from gomlx.config.schema import AuthClient
from gomlx.config.tokens import TokenFile, bearer_token
from gomlx.errors import Forbidden, Unauthorized
from gomlx.server.access.certificate import names_in


class KnownClient:
    """One client: its tokens, the subjects of its certificates, its models."""

    def __init__(self, client: AuthClient, option: str) -> None:
        path = client.token_file
        self.tokens = TokenFile(option, path) if path else None
        self.subjects = [names_in(subject) for subject in client.subjects]
        self._models = client.models

    def is_certified(self, names: frozenset[str]) -> bool:
        """Whether a certificate with these names is one of its."""
        return any(subject <= names for subject in self.subjects)

    def has(self, token: str) -> bool:
        """Whether a token is one of its."""
        return self.tokens is not None and self.tokens.has(token)

    def may_use(self, model: str) -> bool:
        """Whether it may ask for predictions of a model, or of one's signature."""
        return self._models is None or model.partition(":")[0] in self._models


class KnownClients:
    """All clients that may ask for predictions."""

    def __init__(self, clients: tuple[AuthClient, ...]) -> None:
        self._clients = [
            KnownClient(client, f"endpoint.auth.clients[{i}]")
            for i, client in enumerate(clients)
        ]

    @property
    def have_subjects(self) -> bool:
        """Whether some are known by their certificates."""
        return any(one.subjects for one in self._clients)

    def known(self, names: frozenset[str]) -> frozenset[str]:
        """Return those of a certificate's names that decide who it is."""
        subjects = (subject for one in self._clients for subject in one.subjects)
        return names.intersection(frozenset().union(*subjects))

    @property
    def token_files(self) -> Iterator[TokenFile]:
        """The files of their tokens."""
        return (one.tokens for one in self._clients if one.tokens)

    def check(
        self, model: str, authorization: str | None, names: frozenset[str]
    ) -> None:
        """Raise Unauthorized or Forbidden unless a request may ask for a model.

        names: those of its connection's certificate.
        """
        token = bearer_token(authorization)
        # All of them, whether or not one is found: in one time.
        known = [
            one for one in self._clients if one.has(token) or one.is_certified(names)
        ]
        if not known:
            raise Unauthorized.of_clients(bool(token))
        if not any(one.may_use(model) for one in known):
            raise Forbidden(model)
