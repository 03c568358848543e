"""Masks credentials in text for logs, responses and people."""

import re

# Up to the last @: a secret key may hold a slash. Masking too much is safe.
_USER = re.compile(r"://\S*@")
_VALUE = re.compile(r"([?&#][^=&#\s]*=)[^&#\s]*")
# The folders of an absolute path; not of a URL or of a relative path.
_FOLDERS = re.compile(
    r"""(?:(?<=file://)|(?<=unix://)|(?<![\w:/.…-]))/(?:[^\s/:'",;()]+/)+"""
)


def without_folders(text: str) -> str:
    """Replace the folders of all absolute paths in a text by …"""
    return _FOLDERS.sub("…/", text)


def masked(text: str) -> str:
    """Replace users, passwords and query values of every URL in a text by ***."""
    return _VALUE.sub(r"\1***", _USER.sub("://***@", text))
