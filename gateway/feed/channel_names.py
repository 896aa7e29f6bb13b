"""Channel names: the channels that a client may subscribe to, parsed from their names.

    book|ticker|perpetual.{instrument}.{interval}        quote.{instrument}
    trades.{instrument|kind.currency}.{interval}         deribit_price_index.{index}
    user.orders|trades|changes.{instrument|kind.currency}.{interval}
    user.portfolio.{currency}

Currencies may be written in any letter case. Whether an instrument is listed is checked by the
feed, not here.
"""

from enum import Enum
from typing import Final

import msgspec

ANY: Final = "any"
KINDS: Final = frozenset({"future", "option", "spot", "combo", "future_combo", "option_combo", ANY})


class Topic(Enum):
    """The subject matter of a channel. Their order here is the order of delivery in one entry."""

    ORDERS = "user.orders"
    OWN_TRADES = "user.trades"
    CHANGES = "user.changes"
    TRADES = "trades"
    BOOK = "book"
    QUOTE = "quote"
    TICKER = "ticker"
    INDEX = "deribit_price_index"
    PERPETUAL = "perpetual"
    PORTFOLIO = "user.portfolio"

    rank: int


for _rank, _topic in enumerate(Topic):
    _topic.rank = _rank


MISSING: Final = (
    "announcements",
    "block_rfq",
    "block_trade_confirmations",
    "chart.trades",
    "deribit_price_ranking",
    "deribit_price_statistics",
    "deribit_volatility_index",
    "estimated_expiration_price",
    "incremental_ticker",
    "instrument.state",
    "markprice.options",
    "platform_state",
    "user.access_log",
    "user.block_rfq",
    "user.combo_trades",
    "user.lock",
    "user.mmp_trigger",
)
"""Topics of the API that the venue does not have."""

GROUPED_BOOK: Final = "book, grouped"
"""`book.{instrument}.{group}.{depth}.{interval}`, which the venue does not have either."""

_GROUPED_PARTS: Final = 5


class Interval(Enum):
    """How often a channel publishes: at each change, or the changes of an interval."""

    RAW = "raw"
    FAST = "100ms"
    SLOW = "agg2"


PRIVATE: Final = frozenset({Topic.ORDERS, Topic.OWN_TRADES, Topic.CHANGES, Topic.PORTFOLIO})
_BY_MARKET: Final = frozenset({Topic.TRADES, Topic.ORDERS, Topic.OWN_TRADES, Topic.CHANGES})
_WITHOUT_INTERVAL: Final = frozenset({Topic.QUOTE, Topic.INDEX, Topic.PORTFOLIO})
_INTERVALS: Final = {interval.value: interval for interval in Interval}
_TOPICS: Final = {topic.value: topic for topic in Topic}


class Channel(msgspec.Struct, frozen=True):
    """One channel. Names that differ only in a currency's letter case are the same channel.

    `subject` is an instrument, an index, a currency (or `any`), or `kind.currency`; `currency` is
    the currency in it, in upper case, or empty. A channel without an interval publishes at each
    change, as with RAW.
    """

    topic: Topic
    subject: str
    currency: str
    interval: Interval

    @property
    def scope(self) -> str | None:
        """The scope that a subscription needs; None for public channels."""
        if self.topic is Topic.PORTFOLIO:
            return "account:read"
        return "trade:read" if self.topic in PRIVATE else None

    @property
    def needs_login(self) -> bool:
        """Whether the channel is public, but refused (13778) to clients without a log-in."""
        return (
            self.interval is Interval.RAW
            and self.topic not in PRIVATE
            and self.topic not in _WITHOUT_INTERVAL
        )


def parse(name: str) -> Channel | None:
    """Return the channel of a name, or None where the venue has no such channel."""
    head, *parts = name.split(".")
    if head == "user" and parts:
        head = f"user.{parts.pop(0)}"
    topic = _TOPICS.get(head)
    if topic is None or not all(parts):
        return None
    interval = Interval.RAW
    if topic not in _WITHOUT_INTERVAL:
        parsed = _INTERVALS.get(parts.pop()) if parts else None
        if parsed is None:
            return None
        interval = parsed
    return _channel(topic, parts, interval)


def missing_topic(name: str) -> str:
    """Return the topic that the API has and the venue lacks, for a name below it; else empty."""
    if name.startswith("book.") and name.count(".") == _GROUPED_PARTS - 1:
        return GROUPED_BOOK
    return next((topic for topic in MISSING if f"{name}.".startswith(f"{topic}.")), "")


def _channel(topic: Topic, parts: list[str], interval: Interval) -> Channel | None:
    if len(parts) == 2 and topic in _BY_MARKET and parts[0] in KINDS:
        currency = _currency(parts[1])
        return Channel(topic, f"{parts[0]}.{currency}", currency, interval)
    if len(parts) != 1:
        return None
    if topic is Topic.PORTFOLIO:
        currency = _currency(parts[0])
        return Channel(topic, currency, currency, interval)
    return Channel(topic, parts[0], "", interval)


def _currency(text: str) -> str:
    return ANY if text.lower() == ANY else text.upper()


def subjects(instrument: str, kind: str, currency: str) -> tuple[str, ...]:
    """Return every subject that covers an instrument."""
    return (
        instrument,
        f"{kind}.{currency}",
        f"{kind}.{ANY}",
        f"{ANY}.{currency}",
        f"{ANY}.{ANY}",
    )
