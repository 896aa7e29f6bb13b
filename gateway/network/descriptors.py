"""How many connections the process's limit on file descriptors allows.

Connections and log segments take a descriptor each. If clients could take all of them, the next
segment could not be opened, which counts as a failed disk and ends the venue.
"""

from __future__ import annotations

import logging
import resource
from typing import Final

from attrs import frozen

from gateway.network.connection_limiter import MAX_CONNECTIONS
from gateway.network.http_acceptor import MAX_HTTP_CONNECTIONS, MAX_HTTP_REJECTIONS
from gateway.network.websocket_acceptor import MAX_REJECTIONS

logger = logging.getLogger(__name__)

# For the log (segments, snapshots, the writer process), listening sockets, the follower process and
# the interpreter. A venue with a data directory has about twenty open.
RESERVED_DESCRIPTORS: Final = 64
# With fewer connections a venue would be of no use.
MIN_CONNECTIONS: Final = 16


@frozen
class ConnectionQuotas:
    """How many connections each port may have, and how many it may answer with 429 or 503."""

    websocket: int
    http: int
    rejections: int


WANTED_DESCRIPTORS: Final = (
    RESERVED_DESCRIPTORS
    + MAX_CONNECTIONS
    + MAX_HTTP_CONNECTIONS
    + MAX_REJECTIONS
    + MAX_HTTP_REJECTIONS
)


def raise_limit() -> None:
    """Raise the soft limit to what all connections need; log a warning if the hard one is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _enough(soft):
        return
    granted = WANTED_DESCRIPTORS if _enough(hard) else hard
    if granted != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted < WANTED_DESCRIPTORS:
        quotas = quotas_of(granted)
        logger.warning(
            "the system allows %d open files (ulimit -Hn): at granted %d WebSocket and %d HTTP"
            " connections at once; %d allow all",
            granted,
            quotas.websocket,
            quotas.http,
            WANTED_DESCRIPTORS,
        )


def connection_quotas() -> ConnectionQuotas:
    """Return the quotas under the present limit of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return quotas_of(WANTED_DESCRIPTORS if _enough(soft) else soft)


def quotas_of(descriptors: int) -> ConnectionQuotas:
    """Return the quotas for a number of descriptors; HTTP gets a fifth of those not reserved."""
    available = max(descriptors - RESERVED_DESCRIPTORS, 0)
    rejections = min(MAX_REJECTIONS, MAX_HTTP_REJECTIONS, available // 8)
    available -= 2 * rejections
    http = max(min(MAX_HTTP_CONNECTIONS, available // 5), MIN_CONNECTIONS)
    return ConnectionQuotas(
        max(min(MAX_CONNECTIONS, available - http), MIN_CONNECTIONS), http, rejections
    )


def _enough(limit: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= WANTED_DESCRIPTORS
