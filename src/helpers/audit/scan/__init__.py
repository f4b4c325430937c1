"""Finds likely mistakes in source code without running it: `scanner.scan`.

ast-grep finds candidates by the rules in ``data/rules``; `confirm` keeps those it is sure of.
A finding points to a line and a lesson; only an audit proves a mistake.
"""
