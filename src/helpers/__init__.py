"""LLM Anti-Patterns Lab: what a lesson needs, in one import."""
