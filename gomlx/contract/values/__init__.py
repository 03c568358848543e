"""The values of inputs and outputs: JSON → elements in contiguous memory, and back."""
