"""What to measure of an implementation besides its requests, one module per kind of code."""
