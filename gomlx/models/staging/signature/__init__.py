"""What a SavedModel declares of its inputs and outputs → the signature served."""
