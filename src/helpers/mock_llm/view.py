"""The provider's live view: a page for a browser, and the link to it that a notebook shows.

The page holds no secret. Its script reads the control routes with the token, which it finds in the
address's fragment: browsers send that part of an address to nobody.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from importlib.resources import files

_TYPES = {
    "/_mock/view": ("view.html", b"text/html; charset=utf-8"),
    "/_mock/view.css": ("view.css", b"text/css; charset=utf-8"),
    "/_mock/view.js": ("view.js", b"text/javascript; charset=utf-8"),
}
PATHS = tuple(_TYPES)
"""What a browser may fetch without the token."""
HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"img-src data:; base-uri 'none'; form-action 'none'; "
        # Notebooks show the page: through a hub from their own origin, else from another port.
        b"frame-ancestors 'self' http://127.0.0.1:* http://localhost:*",
    ),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


def read(path: str) -> tuple[bytes, bytes]:
    """The body and the content type of one of `PATHS`."""
    name, kind = _TYPES[path]
    return (files(__package__) / "page" / name).read_bytes(), kind


# To a browser, a page of "localhost" is foreign to one of "127.0.0.1", so the script takes the
# notebook's name for this machine. JupyterLab would rewrite a path, but not a whole address.
_FRAME = """\
<div id="{id}"><p><a target="_blank" rel="noopener" href="{url}">The provider's live view</a></p>
<iframe title="The provider's live view" style="width:100%;height:36rem;border:0"></iframe>
<script>(() => {{
  const box = document.getElementById("{id}"), url = new URL("{url}", location.origin);
  if (url.hostname === "127.0.0.1" && location.hostname === "localhost") url.hostname = "localhost";
  box.querySelector("a").href = box.querySelector("iframe").src = url.href;
}})()</script></div>"""


@dataclass(frozen=True, slots=True)
class ProviderView:
    """A link to the provider's live view; as a cell's last line, the view itself."""

    url: str
    """With the control token as its fragment. On a JupyterHub, a path of the learner's server."""

    def __str__(self) -> str:
        return self.url

    def _repr_html_(self) -> str:
        return _FRAME.format(id=f"provider-{abs(hash(self.url))}", url=escape(self.url))


def view_of(port: int, token: str) -> ProviderView:
    # A learner's browser cannot reach the hub's loopback; the hub's server extension can.
    prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
    root = f"{prefix}llm-provider/{port}" if prefix else f"http://127.0.0.1:{port}"
    return ProviderView(f"{root}/_mock/view#{token}")
