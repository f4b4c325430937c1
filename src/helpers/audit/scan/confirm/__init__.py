"""Looks at ast-grep's candidates in Python files again, with the standard library's `ast`.

A pattern sees one place. Whether a client is a blocking one, who calls a helper or whether a
timeout is set elsewhere takes the whole file. Each function is sparing: it hands back what it is
sure of.
"""
