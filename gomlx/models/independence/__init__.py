"""Whether a row's answer depends on its neighbours in a run: a proof from the graph."""
