"""The systems: importing this package registers each with transformers' Auto classes. One line per system."""
