"""Whether a JSON text has more names than any request, found before it is decoded.

A decoder makes an object of 90,000 names in 30 ms, and lets no other thread run.
"""

import re

_MOST_OF_VALUE = 3  # of a sparse tensor; base64 has one
# An object begins, or a text, and whether it is a name.
_PARTS = re.compile(rb'\{|"[^"\\]*+(?:\\.[^"\\]*+)*+"?(\s*+:)?', re.DOTALL)


def too_many_names(text: bytes, most: int) -> bool:
    """True if the outer object has more names than most, or another more than a value.

    PERF: ends with the first name too many; few bodies with many names are looked into.
    """
    if text.count(b":") <= most:
        return False
    room = most - _MOST_OF_VALUE
    for part in _PARTS.finditer(text):
        if part.start(1) >= 0:
            room -= 1
            if room < 0:
                return True
        elif text[part.start()] == ord("{"):
            room += _MOST_OF_VALUE
    return False
