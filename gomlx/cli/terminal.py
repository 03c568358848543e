"""What all commands share: where they write, how they report errors, exit codes."""

from collections.abc import Callable, Iterator
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


def print_error(problem: str) -> None:
    """Print a problem to standard error."""
    errors.print("[red]error:[/]", escape(problem))


@contextmanager
def errors_reported(report: Callable[[str], object] = print_error) -> Iterator[None]:
    """Print errors that the user can fix as sentences, and end with an exit code.

    report: what takes a sentence in place of standard error.
    """
    try:
        yield
    except ConfigInvalid as error:
        for line in str(error).splitlines():
            report(line)
        raise typer.Exit(INVALID) from None
    except ModuleNotFoundError as error:
        report(f"{error}; this needs: pip install 'gomlx[server]'")
        raise typer.Exit(FAILED) from None
    except (GomlxError, RunDirInUse, RunDirUnsafe, OSError) as error:
        report(str(error))
        raise typer.Exit(FAILED) from None


def print_warning(problem: str) -> None:
    """Print a problem that does not end the command to standard error."""
    errors.print("[yellow]warning:[/]", escape(problem))


def usage_error(problem: str) -> typer.Exit:
    """Print the problem of a command's arguments; return the exit to raise."""
    print_error(problem)
    return typer.Exit(INVALID)
