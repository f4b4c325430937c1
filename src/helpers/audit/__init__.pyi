from .api import audit_command as audit_command
from .api import audit_service as audit_service
from .api import audit_services as audit_services
from .errors import AuditError as AuditError
from .outcome import AuditReport as AuditReport
