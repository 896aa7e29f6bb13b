"""Listening sockets of our own, so that their options are ours too."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Final

from gateway.settings import ConfigError, Endpoint

# Clients that connect in one burst, as after a restart; the system's own bound may be lower.
BACKLOG: Final = 1_024
# What the kernel keeps for a client that does not read. Its own choice, 2.5 MiB on loopback, is
# 2.5 GiB for a thousand of them, and minutes before anybody notices; this is a packet train, and
# at 100 ms of distance still a megabyte a second.
SEND_BYTES: Final = 64 * 2**10
# What it keeps of a client that sends more than we read: a chunk. Its own choice grows to
# megabytes, and a request would wait behind them for a minute.
RECEIVE_BYTES: Final = 8 * 2**10


def bind(
    endpoint: Endpoint, *, unread_millis: int = 0, send_bytes: int = 0, receive_bytes: int = 0
) -> socket.socket:
    """A bound TCP socket that does not listen yet.

    With `unread_millis` a connection ends when its peer leaves data unread for that long, however
    the server waits for it; Linux only. With `send_bytes` the kernel keeps about twice as much for
    a peer that does not read, and with `receive_bytes` of what we do not read. Raises ConfigError
    where the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if unread_millis and hasattr(socket, "TCP_USER_TIMEOUT"):
        # Accepted sockets inherit it, and what follows.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread_millis)
    if send_bytes:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
    if receive_bytes:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    try:
        bound.bind((endpoint.host, endpoint.port))
    except OSError as error:
        bound.close()
        raise ConfigError(f"cannot listen on {endpoint}: {error.strerror or error}") from error
    return bound


def load_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """What serves TLS with a certificate chain and its key, in PEM files without a password.

    Raises ConfigError where they cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot use {certificate} with {key}: {error}") from error
    return context


def address_of(bound: socket.socket) -> Endpoint:
    """Where a socket is bound, with the port that the system chose."""
    host, port = bound.getsockname()[:2]
    return Endpoint(host, port)
