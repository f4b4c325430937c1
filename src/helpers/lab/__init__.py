"""Runs an implementation against the mock server and records what happened."""
