"""Listening sockets of our own, so that their options are ours too."""

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

# Clients that connect in one burst, as after a restart; the system's own bound may be lower.
BACKLOG: Final = 1_024
# What the kernel keeps for a client that does not read. Its own choice, 2.5 MiB on loopback, is
# 2.5 GiB for a thousand of them, and minutes before anybody notices; this is a packet train, and
# at 100 ms of distance still a megabyte a second.
SEND_BYTES: Final = 64 * 2**10
# What it keeps of a client that sends more than we read: a chunk. Its own choice grows to
# megabytes, and a request would wait behind them for a minute.
RECEIVE_BYTES: Final = 8 * 2**10
# How often the system is asked for a port that is free on every address of a name.
PORT_ATTEMPTS: Final = 16
_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_Address = tuple[int, tuple[Any, ...]]


Sockets = tuple[socket.socket, ...]
"""What listens for one endpoint: a socket for each address of its host."""


@frozen
class BoundSockets:
    """The sockets of both ports, and where they are."""

    http: Sockets
    websocket: Sockets
    http_endpoint: Endpoint
    websocket_endpoint: Endpoint


@contextmanager
def bind_ports(http: Endpoint, websocket: Endpoint) -> Iterator[BoundSockets]:
    """The sockets of both ports; closed in the end. Raises ConfigError as `bind`."""
    with ExitStack() as stack:
        ports = (
            bind(http, send_bytes=SEND_BYTES),
            bind(websocket, send_bytes=SEND_BYTES, receive_bytes=RECEIVE_BYTES),
        )
        for each in chain(*ports):
            stack.enter_context(each)
        yield BoundSockets(*ports, address_of(http, ports[0]), address_of(websocket, ports[1]))


def bind(endpoint: Endpoint, *, send_bytes: int = 0, receive_bytes: int = 0) -> Sockets:
    """Bound TCP sockets that do not listen yet, one for each address that the host's name has.

    With `send_bytes` the kernel keeps about twice as much for a peer that does not read, and with
    `receive_bytes` of what we do not read. Raises ConfigError where the endpoint cannot be had.
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
                # A port that the system chose for one address may be taken on another.
                if attempts == 0 or error.errno != errno.EADDRINUSE:
                    raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {endpoint}: {reason}") from error


def _addresses(endpoint: Endpoint) -> list[_Address]:
    # Not every system lists both for localhost, and browsers ask neither system nor file.
    hosts = ("127.0.0.1", "::1") if endpoint.host == "localhost" else (endpoint.host,)
    found = [
        each
        for host in hosts
        for each in socket.getaddrinfo(host, endpoint.port, type=socket.SOCK_STREAM)
    ]
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bind_all(addresses: list[_Address], options: Mapping[int, int]) -> Sockets:
    """A socket for each of these, all on one port. Raises OSError where not one can be had."""
    bound: list[socket.socket] = []
    absent: OSError | None = None
    port = 0
    try:
        for family, address in addresses:
            host, _, *scope = address
            try:
                bound.append(_bind(family, (host, address[1] or port, *scope), options))
            except OSError as error:
                # Names stand for addresses of a family that the machine does not have.
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
        # Accepted sockets inherit it, and what follows.
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
    """What serves TLS with a certificate chain and its key, in PEM files without a password.

    `protocols` are what it offers to clients that negotiate one (ALPN). Raises ConfigError where
    the files cannot be used.
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
    """Where these are, with the port that the system chose; a name stays a name."""
    host, port = bound[0].getsockname()[:2]
    return Endpoint(host if len(bound) == 1 else endpoint.host, port)
