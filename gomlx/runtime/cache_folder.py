"""Where a service that names no run directory has it: in the user's cache folder.

Cleaners of old files (systemd-tmpfiles, tmpreaper) delete in the temporary directory
what has not been read for days, such as the files of a model that runs for weeks.
"""

import logging
import os
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)


def run_dirs_folder() -> Path:
    """Return a folder for run directories: this user's own, which lasts.

    Without one it is the temporary directory, with a warning that says why.
    """
    try:
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(folder)
    except (OSError, RuntimeError) as error:
        temporary = Path(tempfile.gettempdir())
        log.warning(
            "no folder for staged models in the user's cache (%s): they are kept in "
            "%s, where cleaners may delete them; set run_dir",
            error,
            temporary,
        )
        return temporary
    return folder


def cache_folder() -> Path:
    """Return our folder in XDG_CACHE_HOME, or in ~/.cache. It need not exist.

    Raises RuntimeError without a home.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = named if named.is_absolute() else Path.home() / ".cache"
    return base / "gomlx"


def _check(folder: Path) -> None:
    """Raise PermissionError unless only this user can write there."""
    found = folder.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} belongs to another user, or others can write")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written")
