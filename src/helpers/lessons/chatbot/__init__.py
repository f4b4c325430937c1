"""The application of lessons 09 and 10, as it was written and repaired. Both are run as scripts."""
