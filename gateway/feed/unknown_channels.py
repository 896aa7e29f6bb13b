"""Requested channels that do not exist: counted, and logged at most once a minute.

The API omits them from its answer without an error, and some clients then wait for them for ever.
The counts show an operator why.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Final

from attrs import define, field

from gateway.feed.channel_names import missing_topic

logger = logging.getLogger(__name__)

LOG_INTERVAL_SECONDS: Final = 60.0
UNKNOWN_TOPIC: Final = "unknown"
"""The label of channels that belong to no topic of the API."""

_EXAMPLE: Final = 80


@define(eq=False)
class UnknownChannels:
    """`counts` are by topic: one of the API that the venue does not have, or UNKNOWN_TOPIC.

    Channels of an unlisted instrument or of an account that the client may not read are not
    counted: their topic exists.
    """

    counts: Counter[str] = field(factory=Counter, init=False)
    _logged_at: float = field(default=float("-inf"), init=False)
    _counts_since_log: Counter[str] = field(factory=Counter, init=False)

    def note(self, names: Iterable[str], now: float) -> None:
        """Count channels that do not exist; `now` is in seconds of a monotonic clock."""
        example = ""
        for name in names:
            topic = missing_topic(name) or UNKNOWN_TOPIC
            self.counts[topic] += 1
            self._counts_since_log[topic] += 1
            example = example or name[:_EXAMPLE]
        if example and now - self._logged_at >= LOG_INTERVAL_SECONDS:
            self._logged_at = now
            counts = ", ".join(
                f"{topic} {count}" for topic, count in sorted(self._counts_since_log.items())
            )
            self._counts_since_log.clear()
            # %r, because a name may contain any character.
            logger.warning(
                "clients asked for channels that do not exist here (%s), for one %r;"
                " docs/API.md lists those that do",
                counts,
                example,
            )
