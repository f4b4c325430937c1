"""Programs and services that an audit must survive: ``python hostile.py KIND [PORT]``."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import time
import urllib.request
from typing import Any

KIND = sys.argv[1]
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 0


def ask() -> str:
    """One call of the model."""
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_completion_tokens": 50,
    }
    request = urllib.request.Request(  # noqa: S310
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=1) as reply:  # noqa: S310
        return str(json.load(reply)["choices"][0]["message"]["content"])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200, {"status": "ok"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if KIND == "ignores-as-service":
            self._answer(200, {"answer": "from memory"})
        elif KIND == "answers-500":
            self._answer(500, {"detail": "no database"})
        else:
            self._answer(200, {"answer": ask()})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def serve(port: int) -> None:
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def leave_a_process() -> None:
    """One that has left the group and the session, and holds the output open."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)


if KIND == "dies":
    sys.exit("no configuration found")
elif KIND == "ignores":
    print("done")
elif KIND == "prints":
    print(ask())
    for _ in range(100):
        sys.stdout.write("x" * 1_000_000)
elif KIND == "hangs":
    time.sleep(600)
elif KIND == "hangs-after-asking":
    print(ask())
    time.sleep(600)
elif KIND == "forks":
    leave_a_process()
    print(ask())
elif KIND == "fails":
    ask()
    sys.exit("the disk is full")
elif KIND == "starts-late":
    time.sleep(20)
    serve(PORT)
elif KIND == "forks-as-service":
    leave_a_process()
    serve(PORT)
elif KIND == "listens-elsewhere":
    serve(0)
else:
    serve(PORT)
