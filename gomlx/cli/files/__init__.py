"""A file of rows on its way to a file of rows with answers.

formats ─► text, parquet   read chunks of rows, write them back with new columns
run                        the run over a whole file, several chunks at a time
retry                      repeats requests until their rows are answered
resume                     the output, which several runs may write one after another
"""
