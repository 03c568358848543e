"""The command line; `gomlx.cli` has the commands."""

import sys


def main() -> None:
    """Run a command, or say what to install for it."""
    try:
        from gomlx.cli import app
    except ModuleNotFoundError as error:
        sys.exit(f"gomlx: {error}; the service needs: pip install 'gomlx[server]'")
    app()


if __name__ == "__main__":
    main()
