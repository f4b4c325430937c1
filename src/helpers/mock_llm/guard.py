"""Keeps web pages out, and keys secret.

A browser names in ``Host`` the server it thinks it talks to, and in ``Origin`` or
``Sec-Fetch-Site`` where a page comes from. A page whose name was rebound to 127.0.0.1 reaches this
port, but its requests carry the page's own name; one from elsewhere can send requests, though it
cannot read the answers.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from helpers.mock_llm.serving import errors

# Bytes: a host name has at most 253. The cache must not hold what is longer.
_LONGEST_ORIGIN = 300
# Characters from which on nine of them stay hidden; providers' keys have 50 to 160.
_LONG_KEY = 16


def check_sender(headers: Mapping[bytes, bytes]) -> None:
    """Raises ApiError (403) for a request that a foreign web page may have sent."""
    if not is_loopback(headers.get(b"host", b"")):
        raise errors.not_loopback()
    origin = headers.get(b"origin")
    if origin is None:  # as for images, links and forms that only ask
        foreign = headers.get(b"sec-fetch-site") == b"cross-site"
    else:
        foreign = not is_loopback_origin(origin)
    if foreign:
        raise errors.foreign_origin()


def is_loopback(host: bytes) -> bool:
    """Whether a ``Host`` header, with or without a port, names this machine's loopback."""
    return is_loopback_origin(b"http://" + host)


def is_loopback_origin(origin: bytes) -> bool:
    return len(origin) <= _LONGEST_ORIGIN and _is_loopback_origin(origin)


@lru_cache(maxsize=1024)
def _is_loopback_origin(origin: bytes) -> bool:
    try:
        text = origin.decode("ascii")
        url = urlsplit(text)
        name, _ = (url.hostname or "").removesuffix("."), url.port
        if "@" in url.netloc or not text.endswith(f"://{url.netloc}"):
            return False
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3
            return all(name.split("."))
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def shorten_key(key: bytes) -> str:
    """``sk-…1234``: enough to tell keys apart, not to use one. Of a short key nothing is shown."""
    text = "".join(c if c.isprintable() else "?" for c in key.decode("ascii", "replace"))
    return f"{text[:3]}…{text[-4:]}" if len(text) >= _LONG_KEY else "…"
