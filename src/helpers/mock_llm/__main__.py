"""The process that ``MockLLM`` starts.

The first line of standard input holds the settings and the token, which must not be seen in the
list of processes. Its end means that the parent has gone, however it went.
"""

from __future__ import annotations

import json
import os
import sys
import threading

from helpers.mock_llm.shutdown import leave


def main() -> None:
    orders = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    # Imported now, so that a parent that dies during these 0.3 s is noticed too.
    from helpers.mock_llm.server import CannotListenError, say, serve
    from helpers.mock_llm.settings.settings import Settings

    settings = Settings(**orders["settings"])
    try:
        serve(settings, settings.port, orders["token"], ready=lambda: say("ready"))
    except CannotListenError as error:
        say(f"failed: {error}")
        sys.exit(1)


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    leave(0)


if __name__ == "__main__":
    main()
