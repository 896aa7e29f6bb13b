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
RESERVED: Final = 64
# With fewer connections a venue would be of no use.
MIN_CONNECTIONS: Final = 16


@frozen
class ConnectionQuotas:
    """How many connections each port may have, and how many it may answer with 429 or 503."""

    websocket: int
    http: int
    refusals: int


WANTED: Final = (
    RESERVED + MAX_CONNECTIONS + MAX_HTTP_CONNECTIONS + MAX_REJECTIONS + MAX_HTTP_REJECTIONS
)


def raise_limit() -> None:
    """Raise the soft limit to what all connections need; log a warning if the hard one is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _enough(soft):
        return
    most = WANTED if _enough(hard) else hard
    if most != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < WANTED:
        quotas = quotas_of(most)
        logger.warning(
            "the system allows %d open files (ulimit -Hn): at most %d WebSocket and %d HTTP"
            " connections at once; %d allow all",
            most,
            quotas.websocket,
            quotas.http,
            WANTED,
        )


def connection_quotas() -> ConnectionQuotas:
    """Return the quotas under the present limit of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return quotas_of(WANTED if _enough(soft) else soft)


def quotas_of(descriptors: int) -> ConnectionQuotas:
    """Return the quotas for a number of descriptors; HTTP gets a fifth of those not reserved."""
    available = max(descriptors - RESERVED, 0)
    refusals = min(MAX_REJECTIONS, MAX_HTTP_REJECTIONS, available // 8)
    available -= 2 * refusals
    http = max(min(MAX_HTTP_CONNECTIONS, available // 5), MIN_CONNECTIONS)
    return ConnectionQuotas(
        max(min(MAX_CONNECTIONS, available - http), MIN_CONNECTIONS), http, refusals
    )


def _enough(limit: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= WANTED
