"""Shows what an audit found: on a screen, to a program, in CI, or as a page.

Each module has a function ``render``, from an `AuditReport` to text.
"""
