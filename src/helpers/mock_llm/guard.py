"""Keeps web pages out, and keys secret.

A browser says in ``Host`` and ``Origin`` whom it thinks it talks to. A page whose name was rebound
to 127.0.0.1 reaches this port, but its requests carry the page's own name.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

_LONG_KEY = 16
"""Characters from which on nine of them stay hidden; providers' keys have 50 to 160."""


@lru_cache(maxsize=1024)
def is_loopback(host: bytes) -> bool:
    """Whether a ``Host`` header, with or without a port, names this machine's loopback."""
    return is_loopback_origin(b"http://" + host) and b"/" not in host


@lru_cache(maxsize=1024)
def is_loopback_origin(origin: bytes) -> bool:
    try:
        url = urlsplit(origin.decode("ascii"))
        name, _ = url.hostname or "", url.port
        if name == "localhost":
            return True
        return "@" not in url.netloc and ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def shorten_key(key: bytes) -> str:
    """``sk-…1234``: enough to tell keys apart, not to use one. Of a short key nothing is shown."""
    text = "".join(c if c.isprintable() else "?" for c in key.decode("ascii", "replace"))
    return f"{text[:3]}…{text[-4:]}" if len(text) >= _LONG_KEY else "…"
