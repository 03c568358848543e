"""Hide credentials in text that people, logs and responses get to see."""

import re

# Up to the last @: secret keys may hold a slash. Rather too much than too little.
_USER = re.compile(r"://\S*@")
_VALUE = re.compile(r"([?&#][^=&#\s]*=)[^&#\s]*")


def masked(text: str) -> str:
    """Replace users, passwords and query values of every URL in a text by ***."""
    return _VALUE.sub(r"\1***", _USER.sub("://***@", text))
