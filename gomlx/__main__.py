"""The command line; `gomlx.cli` has the commands."""

import sys


def main() -> None:
    """Run a command; exit with what to install if a library is missing."""
    # The service's processes start with `python -m`, which imports transformers from
    # the working directory. `gomlx` must do the same to inspect their models.
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
