"""Lesson 02: does each request pay for a connection of its own?"""

from __future__ import annotations

from helpers.audit.checks.finding import Finding, found, not_seen, plural
from helpers.audit.recording import Recording


def connections(recording: Recording) -> Finding:
    return _reuse(recording, "connection")


def handshakes(recording: Recording) -> Finding:
    if not any(request.tls for request in recording.ledger.requests):
        opened = sum(connection.tls for connection in recording.ledger.connections)
        return not_seen(
            "No request arrived over https: the application does not trust the certificate in "
            "SSL_CERT_FILE, REQUESTS_CA_BUNDLE and NODE_EXTRA_CA_CERTS.",
            connections=opened,
        )
    return _reuse(recording, "TLS handshake")


def _reuse(recording: Recording, thing: str) -> Finding:
    ledger = recording.ledger
    requests = len(ledger.requests)
    opened = sum(connection.requests > 0 for connection in ledger.connections)
    # This many are needed at once; the other requests can reuse an open one.
    needed = min(ledger.peak_in_flight, requests)
    could_reuse = requests - needed
    counted = {"requests": requests, "connections": opened, "peak_in_flight": needed}
    if could_reuse < 2:
        return not_seen(
            f"{plural(requests, 'request')} arrived, {needed} of them at once: too few could "
            "have reused an open connection.",
            **counted,
        )
    return found(
        opened - needed <= could_reuse / 2,
        f"{plural(requests, 'request')} took {plural(opened, thing)}; {needed} would be enough.",
        **counted,
    )
