"""Errors for what a light installation does not include."""


def missing_extra(what: str, extra: str, error: ModuleNotFoundError) -> ImportError:
    """Return the error that says what to install."""
    return ImportError(f"{what} needs: pip install 'gomlx[{extra}]' ({error})")
