"""The questions. Each is a function of the subject that returns what it saw.

It raises Wrong with the requests that show a wrong answer, or DoesNotApply with the
reason. Its rows are new, so that no check finds the answers of another.
"""
