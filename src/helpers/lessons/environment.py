"""Environment variables that keep a client from reaching a server on this machine."""

from __future__ import annotations

import os
import ssl
import urllib.request

import httpx

_PROXIES = {"http_proxy", "https_proxy", "all_proxy"}


def problems() -> list[str]:
    """One sentence, with the remedy, for each variable that gets in the way."""
    found = [
        f"{name} is set to {os.environ[name]}, which cannot be read. Correct it or unset it."
        for name in _bad_certificates()
    ]
    if (names := proxies()) and not _are_bypassed():
        found.append(
            f"{' and '.join(names)} would send requests for 127.0.0.1 to a proxy, or cannot be "
            "used. Set NO_PROXY=* before you start Jupyter."
        )
    return found


def proxies() -> list[str]:
    """The variables that name a proxy."""
    return sorted(name for name, value in os.environ.items() if name.lower() in _PROXIES and value)


def clean_environment() -> dict[str, str]:
    """The environment for processes that run lessons: they only talk to 127.0.0.1."""
    kept = {name: value for name, value in os.environ.items() if name not in _bad_certificates()}
    # Both spellings: the lower one wins where both are set. Only * also disables SOCKS proxies.
    return kept | {"NO_PROXY": "*", "no_proxy": "*"}


def _bad_certificates() -> list[str]:
    return [
        name
        for name, is_there in (("SSL_CERT_FILE", _is_bundle), ("SSL_CERT_DIR", os.path.isdir))
        if os.environ.get(name) and not is_there(os.environ[name])
    ]


def _is_bundle(path: str) -> bool:
    try:
        ssl.create_default_context(cafile=path)
    except OSError:  # among them SSLError: no certificates in the file
        return False
    return True


def _are_bypassed() -> bool:
    if not urllib.request.proxy_bypass("127.0.0.1"):
        return False
    try:
        httpx.Client(verify=False).close()  # noqa: S501 - it connects to nothing
    except (ImportError, ValueError, httpx.InvalidURL):  # no package for SOCKS; no address
        return False
    return True
