"""A certificate for this machine's loopback names, made when the server starts."""

from __future__ import annotations

import ssl
from pathlib import Path


def make_context(ca_file: Path) -> ssl.SSLContext:
    """A TLS context for the loopback names; writes the certificate of its CA, in PEM.

    The CA is made here and now, and its key is not kept.
    """
    import trustme  # takes 0.1 s

    authority = trustme.CA(organization_name="LLM Anti-Patterns Lab")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
    ca_file.touch(mode=0o600)
    ca_file.write_bytes(authority.cert_pem.bytes())
    return context
