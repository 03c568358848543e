"""Damaged files of models: staging ends with a reason, or TensorFlow's answers."""
