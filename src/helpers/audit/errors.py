"""Why an audit could not run."""


class AuditError(Exception):
    """The audit could not run; the message is one sentence, and says what to do."""
