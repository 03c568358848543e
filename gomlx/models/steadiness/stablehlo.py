"""Whether a StableHLO program, which JAX exports as one operation, is a pure function.

TensorFlow registers XlaCallModule as stateful, whatever the program does. A program is
MLIR bytecode, in which the name of each type of operation stands as it is, ended by a
zero byte. So a search finds the few types that have effects; a text that happens to end
like one only makes a pure program count as one that is not.
"""

import re
from typing import Any

_BYTECODE = b"ML\xefR"
# They draw numbers from a hidden state, talk to other devices, or call Python.
_EFFECTS = re.compile(
    rb"(rng|infeed|outfeed|send|recv)_v\d+\0|python_[cg]pu_callback\0"
)


def is_pure(node: Any) -> bool:
    """True if the program of an XlaCallModule gives the same for the same inputs.

    TensorFlow functions that it calls are examined as those of any other node.
    """
    if "has_token_input_output" in node.attr and node.attr["has_token_input_output"].b:
        return False
    module = node.attr["module"].s
    return module.startswith(_BYTECODE) and not _EFFECTS.search(module)
