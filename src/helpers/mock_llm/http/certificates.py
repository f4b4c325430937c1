"""A certificate for this machine's loopback names, made when the server starts."""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path


def make_context() -> tuple[ssl.SSLContext, Path]:
    """A TLS context for the loopback names, and the path of its CA certificate.

    The CA is made here and now, and its key is not kept. The file, in PEM, is the caller's to
    remove.
    """
    import trustme  # takes 0.1 s

    authority = trustme.CA(organization_name="LLM Anti-Patterns Lab")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
    file, path = tempfile.mkstemp(prefix="llm-antipatterns-ca-", suffix=".pem")
    with os.fdopen(file, "wb") as pem:
        pem.write(authority.cert_pem.bytes())
    return context, Path(path)
