"""What runs: staging, loading and running versions of models."""

import os

# TensorFlow reads this once, when it is first imported: below, in whichever module.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
