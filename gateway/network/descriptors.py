"""File descriptors: how many the process may have, and how many of them clients may take.

A connection is a descriptor, and so is a segment of the log. If clients could take all of them,
the next segment could not be opened, which is a failed disk: the venue would end.
"""

from __future__ import annotations

import logging
import resource
from typing import Final

from attrs import frozen

from gateway.network.connection_limiter import MAX_CONNECTIONS
from gateway.network.http_acceptor import MAX_HTTP_CONNECTIONS
from gateway.network.http_acceptor import MAX_HTTP_REJECTIONS as HTTP_REFUSALS

logger = logging.getLogger(__name__)

# For the log (segments, snapshots, its writer), listening sockets, the follower, the interpreter.
# A venue with a data directory has about twenty open.
RESERVED: Final = 64
# As the door has them for WebSocket: those that are being told 429 or 503.
_REFUSALS: Final = 256
# With fewer the venue would be of no use.
MIN_CONNECTIONS: Final = 16


@frozen
class ConnectionQuotas:
    """How many connections there may be on each port, in all, and how many are refused politely."""

    websocket: int
    http: int
    refusals: int


WANTED: Final = RESERVED + MAX_CONNECTIONS + MAX_HTTP_CONNECTIONS + _REFUSALS + HTTP_REFUSALS


def raise_limit() -> None:
    """Have the system grant as many descriptors as all connections need, and say where it won't."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _enough(soft):
        return
    most = WANTED if _enough(hard) else hard
    if most != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < WANTED:
        connection_quotas = quotas_of(most)
        logger.warning(
            "the system allows %d open files (ulimit -Hn): at most %d WebSocket and %d HTTP"
            " connections at once; %d allow all",
            most,
            connection_quotas.websocket,
            connection_quotas.http,
            WANTED,
        )


def connection_quotas() -> ConnectionQuotas:
    """What clients may have under the limit of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return quotas_of(WANTED if _enough(soft) else soft)


def quotas_of(descriptors: int) -> ConnectionQuotas:
    """How so many descriptors are shared: a fifth of what is not reserved is for HTTP."""
    left = max(descriptors - RESERVED, 0)
    refusals = min(_REFUSALS, HTTP_REFUSALS, left // 8)
    left -= 2 * refusals
    http = max(min(MAX_HTTP_CONNECTIONS, left // 5), MIN_CONNECTIONS)
    return ConnectionQuotas(max(min(MAX_CONNECTIONS, left - http), MIN_CONNECTIONS), http, refusals)


def _enough(limit: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= WANTED
