"""The parts of a venue that its client connections share."""

from __future__ import annotations

import logging

from attrs import define, field

from gateway.api.context import VenueContext
from gateway.metrics import Metrics
from gateway.network.connection_limiter import ConnectionLimiter
from gateway.network.read_scheduler import ReadScheduler
from gateway.network.reply_encoder import ReplyEncoder
from gateway.network.writer import FlushScheduler
from gateway.sequencer.command_source import CommandSource

logger = logging.getLogger(__name__)


@define(eq=False)
class ConnectionServices:
    """The parts of a venue that its client connections share.

    `limiter` counts WebSocket connections only. Large replies and channel states of the venue's
    feed are encoded by `encoder`.
    """

    venue: VenueContext
    commands: CommandSource
    limiter: ConnectionLimiter
    metrics: Metrics
    flush_scheduler: FlushScheduler = field(factory=FlushScheduler)
    read_scheduler: ReadScheduler = field(factory=ReadScheduler)
    encoder: ReplyEncoder = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.encoder = ReplyEncoder(self.flush_scheduler.flush, self._encoding_crashed)
        self.venue.feed.encode = self.encoder.add

    def _encoding_crashed(self, error: Exception) -> None:
        """Log an exception raised by an encoding job; raise it in strict mode.

        The outbox has already disconnected the client whose reply it was.
        """
        if self.venue.config.server.strict:
            raise error
        logger.error("encoding a reply crashed", exc_info=error)
        self.metrics.crashes.labels("connection").inc()
