"""What a light installation does not have."""


def needs(what: str, extra: str, error: ModuleNotFoundError) -> ImportError:
    """Return the error that says what to install."""
    return ImportError(f"{what} needs: pip install 'gomlx[{extra}]' ({error})")
