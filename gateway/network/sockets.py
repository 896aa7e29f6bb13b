"""Opens listening sockets and sets their options, which accepted sockets inherit."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from gateway.config.toml_reader import ConfigError, Endpoint
from gateway.files import open_regular

# Clients that may connect in one burst, as after a restart; the system's limit may be lower.
BACKLOG: Final = 1_024
# The send buffer. The kernel's choice, 2.5 MiB on loopback, takes 2.5 GiB for a thousand clients
# that do not read, and hides for minutes that they do not. This much fills several packets, and
# allows a megabyte a second at a round trip of 100 ms.
SEND_BYTES: Final = 64 * 2**10
# The receive buffer: one chunk. The kernel's choice grows to megabytes, and a request could wait
# behind them for a minute.
RECEIVE_BYTES: Final = 8 * 2**10
# How many ports chosen by the system are tried until one is free on every address of a name.
PORT_ATTEMPTS: Final = 16
_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_Address = tuple[int, tuple[Any, ...]]


Sockets = tuple[socket.socket, ...]
"""The sockets of one endpoint: one for each address of its host."""


@frozen
class BoundSockets:
    """The bound sockets of both ports, and their endpoints."""

    http: Sockets
    websocket: Sockets
    http_endpoint: Endpoint
    websocket_endpoint: Endpoint


@contextmanager
def bind_ports(http: Endpoint, websocket: Endpoint) -> Iterator[BoundSockets]:
    """Bind both ports; close their sockets on exit. Raises ConfigError as `bind` does."""
    with ExitStack() as stack:
        ports = (
            bind(http, send_bytes=SEND_BYTES),
            bind(websocket, send_bytes=SEND_BYTES, receive_bytes=RECEIVE_BYTES),
        )
        for each in chain(*ports):
            stack.enter_context(each)
        yield BoundSockets(*ports, address_of(http, ports[0]), address_of(websocket, ports[1]))


def bind(endpoint: Endpoint, *, send_bytes: int = 0, receive_bytes: int = 0) -> Sockets:
    """Return bound TCP sockets that do not listen yet, one for each address of the host.

    `send_bytes` and `receive_bytes` set the kernel's buffers, which hold about twice as much; 0
    leaves them to the kernel. Raises ConfigError if the endpoint cannot be bound.
    """
    options = {socket.SO_SNDBUF: send_bytes, socket.SO_RCVBUF: receive_bytes}
    try:
        addresses = _addresses(endpoint)
        attempts = 1 if endpoint.port or len(addresses) == 1 else PORT_ATTEMPTS
        while True:
            attempts -= 1
            try:
                return _bind_all(addresses, options)
            except OSError as error:
                # The port that the system chose for one address may be in use on another.
                if attempts == 0 or error.errno != errno.EADDRINUSE:
                    raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {endpoint}: {reason}") from error


def _addresses(endpoint: Endpoint) -> list[_Address]:
    # Not every system resolves localhost to both, and browsers do not ask the system.
    hosts = ("127.0.0.1", "::1") if endpoint.host == "localhost" else (endpoint.host,)
    resolved = [
        each
        for host in hosts
        for each in socket.getaddrinfo(host, endpoint.port, type=socket.SOCK_STREAM)
    ]
    return list(dict.fromkeys((family, address) for family, _, _, _, address in resolved))


def _bind_all(addresses: list[_Address], options: Mapping[int, int]) -> Sockets:
    """Bind a socket for each address, all on one port. Raises OSError if none can be bound."""
    bound: list[socket.socket] = []
    absent: OSError | None = None
    port = 0
    try:
        for family, address in addresses:
            host, _, *scope = address
            try:
                bound.append(_bind(family, (host, address[1] or port, *scope), options))
            except OSError as error:
                # A name may have addresses of a family that the machine does not have.
                if error.errno not in _ABSENT:
                    raise
                absent = error
            else:
                port = bound[-1].getsockname()[1]
    except BaseException:
        for each in bound:
            each.close()
        raise
    if absent is not None and not bound:
        raise absent
    return tuple(bound)


def _bind(family: int, address: tuple[Any, ...], options: Mapping[int, int]) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit this and the following options.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option, value in options.items():
            if value:
                bound.setsockopt(socket.SOL_SOCKET, option, value)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def load_tls(certificate: Path, key: Path, protocols: Sequence[str] = ()) -> ssl.SSLContext:
    """Return a TLS context for a certificate chain and its key, in PEM files without a password.

    `protocols` are offered to clients that negotiate one (ALPN). Raises ConfigError if the files
    cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        for path in (certificate, key):
            open_regular(path).close()
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot use {certificate} with {key}: {error}") from error
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def address_of(endpoint: Endpoint, bound: Sockets) -> Endpoint:
    """Return the endpoint of bound sockets, with the port chosen by the system.

    The host of an endpoint with several addresses stays a name.
    """
    host, port = bound[0].getsockname()[:2]
    return Endpoint(host if len(bound) == 1 else endpoint.host, port)
