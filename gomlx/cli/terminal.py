"""What all commands share: where they write, how they report errors, exit codes."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from gomlx.errors import ConfigInvalid, GomlxError
from gomlx.runtime.rundir import RunDirInUse, RunDirUnsafe

errors = Console(emoji=False, stderr=True, highlight=False, soft_wrap=True)
output = Console(emoji=False, highlight=False, soft_wrap=True)

# Exit codes: the command failed; it was called with a wrong argument or config.
FAILED = 1
INVALID = 2


@contextmanager
def errors_reported() -> Iterator[None]:
    """Print errors that the user can fix as sentences, and end with an exit code."""
    try:
        yield
    except ConfigInvalid as error:
        for line in str(error).splitlines():
            print_error(line)
        raise typer.Exit(INVALID) from None
    except ModuleNotFoundError as error:
        print_error(f"{error}; this needs: pip install 'gomlx[server]'")
        raise typer.Exit(FAILED) from None
    except (GomlxError, RunDirInUse, RunDirUnsafe, OSError) as error:
        print_error(str(error))
        raise typer.Exit(FAILED) from None


def print_error(problem: str) -> None:
    """Print a problem to standard error."""
    errors.print("[red]error:[/]", escape(problem))


def print_warning(problem: str) -> None:
    """Print a problem that does not end the command to standard error."""
    errors.print("[yellow]warning:[/]", escape(problem))


def usage_error(problem: str) -> typer.Exit:
    """Print the problem of a command's arguments; return the exit to raise."""
    print_error(problem)
    return typer.Exit(INVALID)
