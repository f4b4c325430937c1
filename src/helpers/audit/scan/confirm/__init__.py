"""Looks at ast-grep's candidates in Python files again, with the standard library's `ast`.

A pattern sees one place. It takes the whole file to know whether a client is a blocking one, what
calls a helper, or whether a timeout is set elsewhere. Each function is conservative: it returns
only what it is sure of.
"""
