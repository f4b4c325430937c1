"""A throw-away environment for one client: its packages and their versions."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
_INSTALL_SECONDS = 600


class NotInstalledError(Exception):
    """The message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Client:
    """A script, and the packages that it needs: the first one is the client's own."""

    script: str
    packages: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.script.removesuffix("_client.py")

    def install(self, folder: Path) -> list[str]:
        """Install the newest versions there. Returns the command that runs the script.

        Raises NotInstalledError.
        """
        _run([sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, folder])
        python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
        pip = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python]
        _run([*pip, *self.packages])
        return [python, str(FOLDER / self.script)]

    def versions(self, folder: Path) -> str:
        python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        command = [sys.executable, "-m", "uv", "pip", "list", "--format", "json", "--python"]
        installed = json.loads(_run([*command, str(python)]))
        versions = {each["name"]: each["version"] for each in installed}
        names = [re.split(r"[\[<]", package)[0] for package in self.packages]
        return ", ".join(f"{name} {versions[name]}" for name in names)


class NodeClient(Client):
    """A client for Node. Its script is copied next to its packages, where Node looks for them."""

    @property
    def name(self) -> str:
        return "node " + Path(self.script).stem

    def install(self, folder: Path) -> list[str]:
        node, npm = shutil.which("node"), shutil.which("npm")
        if not node or not npm:
            raise NotInstalledError("Node and npm are not on this machine")
        folder.mkdir()
        for file in (FOLDER / "node").glob("*.mjs"):
            shutil.copy(file, folder)
        # Without it, npm would use one from a parent folder.
        (folder / "package.json").write_text('{"private": true}', "utf-8")
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
        _run([npm, "install", "--silent", *options, *self.packages])
        return [node, str(folder / self.script)]

    def versions(self, folder: Path) -> str:
        # npm takes the newest versions that support this Node.
        node = "Node " + _run(["node", "--version"]).strip().removeprefix("v")
        return ", ".join(
            [*(f"{name} {_node_version(folder, name)}" for name in self.packages), node]
        )


CLIENTS = (
    Client("openai_client.py", ("openai",)),
    Client("anthropic_client.py", ("anthropic",)),
    Client("litellm_client.py", ("litellm",)),
    Client("langchain_client.py", ("langchain", "langchain-openai", "langchain-anthropic")),
    Client("pydantic_ai_client.py", ("pydantic-ai-slim[openai,anthropic]",)),
    Client("instructor_client.py", ("instructor", "anthropic")),
    Client(
        "llama_index_client.py",
        (
            "llama-index-core",
            "llama-index-llms-openai",
            "llama-index-llms-anthropic",
            "llama-index-embeddings-openai",
            # Its Anthropic class fails with later versions, but does not exclude them.
            "anthropic<1",
        ),
    ),
    Client("openai_agents_client.py", ("openai-agents",)),
    Client("strands_client.py", ("strands-agents[openai,anthropic]",)),
    Client("guidance_client.py", ("guidance", "openai")),
    NodeClient("openai.mjs", ("openai",)),
    NodeClient("anthropic.mjs", ("@anthropic-ai/sdk",)),
    NodeClient("ai.mjs", ("ai", "@ai-sdk/openai", "@ai-sdk/anthropic", "zod")),
)


def _run(command: list[str | Path]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"it took longer than {_INSTALL_SECONDS} s") from None
    if done.returncode:
        raise NotInstalledError(" ".join((done.stderr or done.stdout).split())[:300])
    return done.stdout


def _node_version(folder: Path, name: str) -> str:
    package = folder / "node_modules" / name / "package.json"
    return str(json.loads(package.read_text("utf-8"))["version"])
