"""Packages that a service is installed without, though these tests need them.

TensorFlow imports JAX, and Keras pandas, where they are: a third of the time that a
process of a service takes to start.
"""

import os
from collections.abc import Mapping
from pathlib import Path


def without_them(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Python finds neither."""
    folders = (str(Path(__file__).parent), environment.get("PYTHONPATH", ""))
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
