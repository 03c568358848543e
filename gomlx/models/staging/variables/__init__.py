"""What a model has learnt: from its checkpoint to the files that workers map."""
