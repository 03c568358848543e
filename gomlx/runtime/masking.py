"""Masks credentials in text for logs, responses and people."""

import re

# Up to the last @: a secret key may hold a slash. Masking too much is safe.
_USER = re.compile(r"://\S*@")
_VALUE = re.compile(r"([?&#][^=&#\s]*=)[^&#\s]*")


def masked(text: str) -> str:
    """Replace users, passwords and query values of every URL in a text by ***."""
    return _VALUE.sub(r"\1***", _USER.sub("://***@", text))
