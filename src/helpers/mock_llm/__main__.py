"""The process that ``MockLLM`` starts.

Its orders, on standard input, hold the settings and the token, which must not be seen in the list
of processes.
"""

from __future__ import annotations

import os

from helpers.processes import Parent


def preload() -> None:
    """What all servers share."""
    import helpers.mock_llm.server  # noqa: F401
    from helpers.mock_llm.model.tokens import encoding

    encoding()


def main() -> None:
    parent = Parent()
    # Imported now, so that a parent that dies during these 0.3 s is noticed too.
    from helpers.mock_llm.server import Address, CannotListenError, serve
    from helpers.mock_llm.settings.settings import Settings

    def ready(address: Address) -> None:
        parent.ready(
            pid=os.getpid(),
            port=address.port,
            tls_port=address.tls_port,
            ca_file=address.ca_file and str(address.ca_file),
        )

    orders = parent.orders
    try:
        settings = Settings(**orders["settings"])
        serve(settings, settings.port, orders["token"], ready=ready)
    except CannotListenError as error:
        parent.failed(str(error))


if __name__ == "__main__":
    main()
