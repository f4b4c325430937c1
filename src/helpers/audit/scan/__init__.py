"""Finds suspects in source code without running it.

ast-grep finds candidates by the rules in ``data/rules``, `confirm` keeps those that it is sure of.
A finding points to a line and a lesson; only an audit proves a mistake.
"""

from helpers.audit.scan.engine import EngineError
from helpers.audit.scan.finding import Finding, ScanReport
from helpers.audit.scan.scanner import scan

__all__ = ["EngineError", "Finding", "ScanReport", "scan"]
