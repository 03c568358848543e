"""What all commands share: where they write, how they end."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from gomlx.errors import ConfigInvalid, GomlxError
from gomlx.runtime.rundir import RunDirInUse

errors = Console(stderr=True, highlight=False, soft_wrap=True)
output = Console(highlight=False, soft_wrap=True)

FAILED, INVALID = 1, 2  # exit codes


@contextmanager
def reported() -> Iterator[None]:
    """Errors that a person can mend are sentences, not stack traces."""
    try:
        yield
    except ConfigInvalid as error:
        for line in str(error).splitlines():
            tell(line)
        raise typer.Exit(INVALID) from None
    except ModuleNotFoundError as error:
        tell(f"{error}; this needs: pip install 'gomlx[server]'")
        raise typer.Exit(FAILED) from None
    except (GomlxError, RunDirInUse, OSError) as error:
        tell(str(error))
        raise typer.Exit(FAILED) from None


def tell(problem: str) -> None:
    """Write an error."""
    errors.print("[red]error:[/]", escape(problem))


def wrong(problem: str) -> typer.Exit:
    """Write what is wrong with how a command was called; return its end."""
    tell(problem)
    return typer.Exit(INVALID)
