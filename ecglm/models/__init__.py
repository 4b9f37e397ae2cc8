"""The systems. Importing this package registers each of them with transformers' Auto classes: one line per system."""
