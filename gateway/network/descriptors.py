"""File descriptors: how many the process may have, and how many of them clients may take.

A connection is a descriptor, and so is a segment of the log. If clients could take all of them,
the next segment could not be opened, which is a failed disk: the venue would end.
"""

from __future__ import annotations

import logging
import resource
from typing import Final

from attrs import frozen

from gateway.network.connection_limiter import CONNECTIONS
from gateway.network.http_server import HTTP_CONNECTIONS
from gateway.network.http_server import REFUSALS as HTTP_REFUSALS

logger = logging.getLogger(__name__)

# For the log (segments, snapshots, its writer), listening sockets, the follower, the interpreter.
# A venue with a data directory has about twenty open.
RESERVED: Final = 64
# As the door has them for WebSocket: those that are being told 429 or 503.
_REFUSALS: Final = 256
# With fewer the venue would be of no use.
LEAST: Final = 16


@frozen
class Shares:
    """How many connections there may be on each port, in all, and how many are refused politely."""

    websocket: int
    http: int
    refusals: int


WANTED: Final = RESERVED + CONNECTIONS + HTTP_CONNECTIONS + _REFUSALS + HTTP_REFUSALS


def raise_limit() -> None:
    """Have the system grant as many descriptors as all connections need, and say where it won't."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _enough(soft):
        return
    most = WANTED if _enough(hard) else hard
    if most != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < WANTED:
        shares = shares_of(most)
        logger.warning(
            "the system allows %d open files (ulimit -Hn): at most %d WebSocket and %d HTTP"
            " connections at once; %d allow all",
            most,
            shares.websocket,
            shares.http,
            WANTED,
        )


def shares() -> Shares:
    """What clients may have under the limit of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return shares_of(WANTED if _enough(soft) else soft)


def shares_of(descriptors: int) -> Shares:
    """How so many descriptors are shared: a fifth of what is not reserved is for HTTP."""
    left = max(descriptors - RESERVED, 0)
    refusals = min(_REFUSALS, HTTP_REFUSALS, left // 8)
    left -= 2 * refusals
    http = max(min(HTTP_CONNECTIONS, left // 5), LEAST)
    return Shares(max(min(CONNECTIONS, left - http), LEAST), http, refusals)


def _enough(limit: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= WANTED
