"""A Jupyter server extension: learners on a JupyterHub see the live view of their own provider.

The provider answers only who calls it by a name of this machine, but a hub's learners call it by
the hub's name, and jupyter-server-proxy passes that on. This extension shows the live view alone,
to the learner alone, and calls the provider by its own name.
"""

from __future__ import annotations

from typing import Any

from jupyter_server.utils import url_path_join
from jupyter_server_proxy.handlers import LocalProxyHandler

# What the view reads; nothing that steers.
_ROUTE = r"/llm-provider/(\d+)(/_mock/(?:view|view\.css|view\.js|events|ledger))"


class ProviderHandler(LocalProxyHandler):  # type: ignore[misc]
    """Passes a learner's requests on to a port of this machine."""

    def get_request_headers_override(self) -> dict[str, str]:
        return {"Host": "localhost"}

    def _only_read(self, port: str, path: str) -> None:
        self.send_error(405)

    post = put = delete = patch = options = _only_read


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "helpers.classroom.provider_proxy"}]


def _load_jupyter_server_extension(server: Any) -> None:
    route = url_path_join(server.web_app.settings["base_url"], _ROUTE)
    options = {"absolute_url": False}
    server.web_app.add_handlers(".*$", [(route, ProviderHandler, options)])
