"""The command line; `gomlx.cli` has the commands."""

import sys


def main() -> None:
    """Run a command, or say what to install for it."""
    # The service's processes start with -m, which finds a user's modules in the working
    # directory; what explains them must find the same.
    if "" not in sys.path and not sys.flags.safe_path:
        sys.path.insert(0, "")
    try:
        from gomlx.cli import app
    except ModuleNotFoundError as error:
        sys.exit(
            f"gomlx: {error}; the command needs: pip install 'gomlx[cli]', and to serve"
            " models: pip install 'gomlx[server]'"
        )
    app()


if __name__ == "__main__":
    main()
