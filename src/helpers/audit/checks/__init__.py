"""Plain functions from what was recorded to a verdict with the numbers that prove it."""
