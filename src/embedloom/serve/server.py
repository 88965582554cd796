"""The process: a socket, the application behind uvicorn, and an end that lets everybody finish."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from embedloom.errors import EmbedloomError

if TYPE_CHECKING:
    from starlette.applications import Starlette

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, on which nobody is listened to yet.

    Args:
        host: a name or an address.
        port: 0 for any that is free.

    Raises:
        EmbedloomError: the address can't be had.
    """
    bound: socket.socket | None = None
    try:
        [(family, kind, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        bound = socket.socket(family, kind)
        # A port that was left a minute ago is free.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        if bound is not None:
            bound.close()
        told = error.strerror or str(error)
        raise EmbedloomError(f"can't listen at {host}, port {port} ({told}); choose another with --port") from None
    return bound


def address_of(bound: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: Starlette, bound: socket.socket, *, drain: int = 30, started: Callable[[], None] | None = None) -> None:
    """Answers requests until SIGTERM or Ctrl-C; then refuses new ones and finishes those in flight.

    Args:
        app: the application.
        bound: from `bind`; closed at the end.
        drain: seconds that requests in flight get to finish.
        started: called once requests are listened to.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        # Its lines would hold whole URLs; the gate writes its own.
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=drain,
    )
    with _ends_well():
        _Server(config, started).run(sockets=[bound])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._tell is not None:
            self._tell()


@contextmanager
def _ends_well() -> Iterator[None]:
    """Swallows the signal that uvicorn raises once more when all is done: a server that was told to end didn't fail."""

    def nothing(number: int, frame: Any) -> None:
        pass

    before = {number: signal.signal(number, nothing) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
