"""Does a caching model server answer as its models would? Questions for any of them.

formulas   what the suite's little models compute; copied into models in Python
recipe     one version of such a model, and the right answer to a row
formats/   a recipe written as the files of a model server
protocols/ a call in a protocol's words, and its answers
history    where an answer that is another's comes from
subject    the server under test: ask, deploy, what was run
checks/    the questions
suite      their order; runs them
"""
