"""JSON bodies of any kind: the answer is the model's, or an error of the client's."""
