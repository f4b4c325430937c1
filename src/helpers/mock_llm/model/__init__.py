"""What a model does. Knows no HTTP."""
