"""The command ``llm-antipatterns class``."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from typing import Annotated

import typer

PORT = 8020


def open_room(
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen on; 0.0.0.0 admits everybody on the room's network."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on; 0 chooses a free one.")
    ] = PORT,
) -> None:
    """Show the room's predictions on one page, during a workshop, until Ctrl-C.

    Learners' notebooks send their predictions if LLM_ANTIPATTERNS_CLASS is set to the address that
    this command prints. Nothing is kept after the command ends.
    """
    import uvicorn

    from helpers.classroom.app import Classroom, make_code, settings

    try:
        listener = _listen(host, port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        typer.echo(f"The room cannot listen on {host[:100]}, port {port}: {reason}.", err=True)
        raise typer.Exit(2) from None
    code, token = make_code(), secrets.token_urlsafe(16)
    shown = _address_of_this_machine() if _is_any(host) else host
    port = listener.getsockname()[1]
    room = Classroom(code, token, None if _is_any(host) else frozenset({host, "localhost"}))
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    typer.echo(f"listening on {url}")
    typer.echo(f"learners set LLM_ANTIPATTERNS_CLASS={url}/{code}")
    typer.echo(f"the room's page is {url}/?teacher={token}")
    if _is_loopback(host):
        typer.echo(
            "Only this machine can reach the page; add --host 0.0.0.0 for the room's network."
        )
    uvicorn.Server(uvicorn.Config(room.app, **settings())).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")  # noqa: S104 - asked for by name


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address_of_this_machine() -> str:
    """The address that this machine would use in the room's network. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: only the route is asked for
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
