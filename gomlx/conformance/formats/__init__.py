"""Versions of the little models as model servers load them.

Each file has write(folder, number, recipe, runs), which writes one version of the model
of a folder. A model in Python appends a line to the file `runs` for each row it runs.
"""
