"""Figures drawn with matplotlib: the closing figure of a lesson, bars, and lines."""
