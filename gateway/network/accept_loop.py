"""Accepts connections, and survives a system that is short of descriptors or memory."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from math import inf
from typing import Final

import trio

from gateway.config.toml_reader import ConfigError, Endpoint
from gateway.network.sockets import BACKLOG

logger = logging.getLogger(__name__)

Handler = Callable[[trio.SocketStream], Awaitable[object]]

# What `accept` fails with for want of resources, until other connections end.
_SHORTAGES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PAUSE_SECONDS: Final = 0.1
# The least time between two log records about shortages.
_LOG_SECONDS: Final = 60.0


async def accept_all(
    sockets: Iterable[socket.socket],
    handler: Handler,
    handler_nursery: trio.Nursery,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen on bound sockets and run `handler` for each connection, until cancelled.

    A connection is closed when its handler ends. Raises ConfigError if a socket cannot listen.
    """
    async with trio.open_nursery() as nursery:
        for bound in sockets:
            _listen(bound)
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
            nursery.start_soon(_accept, listener, handler, handler_nursery)
        task_status.started()


def _listen(bound: socket.socket) -> None:
    """Listen. Raises ConfigError if another process listens already: both were able to bind."""
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        endpoint = Endpoint(*bound.getsockname()[:2])
        raise ConfigError(f"cannot listen on {endpoint}: {error.strerror}") from error


async def _accept(
    listener: trio.abc.Listener[trio.SocketStream],
    handler: Handler,
    handler_nursery: trio.Nursery,
) -> None:
    logged_at = -inf
    async with listener:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _SHORTAGES:
                    raise
                if trio.current_time() >= logged_at + _LOG_SECONDS:
                    logged_at = trio.current_time()
                    logger.warning("no connection can be accepted for now: %s", error.strerror)
                await trio.sleep(PAUSE_SECONDS)
            else:
                handler_nursery.start_soon(_run, handler, stream)


async def _run(handler: Handler, stream: trio.SocketStream) -> None:
    try:
        await handler(stream)
    finally:
        await trio.aclose_forcefully(stream)
