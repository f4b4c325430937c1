"""The lab's measurements, applied to any application.

A **scenario** says how the provider behaves, a **driver** uses the application meanwhile, a
**check** turns what was recorded into a verdict with evidence, and **reports** show it.
"""

from helpers.audit.api import audit_command, audit_service, audit_services
from helpers.audit.errors import AuditError
from helpers.audit.outcome import AuditReport

__all__ = ["AuditError", "AuditReport", "audit_command", "audit_service", "audit_services"]
