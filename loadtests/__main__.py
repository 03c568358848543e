"""python -m loadtests: the commands."""

import sys

from loadtests.commands import app

if __name__ == "__main__":
    sys.exit(app())
