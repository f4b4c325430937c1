"""The exercises, one module per lesson; each defines ``EXERCISE``."""
