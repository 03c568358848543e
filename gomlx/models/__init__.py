"""Versions of models: staged, loaded and run."""

import os

# TensorFlow reads this when it is first imported, by one of the modules below.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
