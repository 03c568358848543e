"""The files of a staged version: listed when it is complete, and looked for later.

Cleaners of temporary folders delete files one by one, by their age. A version of which
some are gone cannot be loaded, however complete its folder looks.
"""

import json
import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

_LIST = "files.json"


def list_files(directory: Path) -> None:
    """Write down the files of a complete version, with their sizes."""
    sizes = {
        str(path.relative_to(directory)): path.stat().st_size
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    (directory / _LIST).write_text(json.dumps(sizes))


def damage(directory: Path) -> str:
    """Return which file of a version is gone or has another size; empty: none."""
    try:
        sizes = json.loads((directory / _LIST).read_text())
    except (OSError, ValueError):
        return f"{directory / _LIST} is gone"
    for name, size in sizes.items():
        path = directory / name
        try:
            found = os.stat(path).st_size
        except OSError:
            return f"{path} is gone"
        if found != size:
            return f"{path} has {found} bytes instead of {size}"
    return ""


def keep_intact(directory: Path) -> bool:
    """Return whether a version is there as a whole; remove what is left of another."""
    if not directory.exists():
        return False
    found = damage(directory)
    if found:
        log.warning("what is left of a staged version is removed: %s", found)
        shutil.rmtree(directory)
    return not found
