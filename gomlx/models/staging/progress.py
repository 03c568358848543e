"""How far a staging is: what its process tells the supervisor."""

from collections.abc import Callable
from dataclasses import dataclass


def _ignored(_: str) -> None:
    pass


@dataclass(frozen=True)
class Progress:
    """Whom a staging tells how far it is.

    on_begun is called with the name of each further signature, before it is tried;
    on_fetched when all files are there, before anything of them is loaded; on_phase
    with what is done from now on, in words.
    """

    on_begun: Callable[[str], None] = _ignored
    on_fetched: Callable[[], object] = lambda: None
    on_phase: Callable[[str], None] = _ignored


QUIET = Progress()  # nobody is told
