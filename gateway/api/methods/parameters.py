"""Parameter types that several methods share, and what currencies and kinds select."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Final, Protocol

from msgspec import Meta

from gateway.api.registry import Params
from gateway.protocol.errors import invalid

if TYPE_CHECKING:
    from gateway.api.context import VenueContext

Natural = Annotated[int, Meta(ge=0, lt=2**53)]
"""An integer from 0 that a double can hold: a timestamp, a sequence number, an offset."""

PageSize = Annotated[int, Meta(ge=1, le=1_000)]

ANY: Final = "any"

# Clients ask for the currencies of the real exchange, listed here or not, and expect an empty
# result for those. Only a name outside this list is an error.
_NAMES: Final = """
    BTC ETH USDC USDT EURR USDE USYC BUIDL STETH ETHW PAXG SOL XRP BNB ADA AVAX BCH DOGE DOT LINK
    LTC MATIC NEAR TRX UNI ALGO TRUMP HYPE
"""
KNOWN: Final = frozenset(_NAMES.split())


class InstrumentParams(Params, frozen=True):
    """Parameters of methods about one instrument."""

    instrument_name: str


class Kind(Enum):
    """Kinds of instruments in the API. The venue lists only futures."""

    FUTURE = "future"
    OPTION = "option"
    SPOT = "spot"
    FUTURE_COMBO = "future_combo"
    OPTION_COMBO = "option_combo"
    COMBO = "combo"
    ANY = "any"

    @property
    def has_futures(self) -> bool:
        """Whether the kind includes futures."""
        return self in (Kind.FUTURE, Kind.ANY)


class _OrderFilter(Enum):
    """Base of the filters by order type. All resting orders are limit orders: no triggers exist."""

    @property
    def has_resting(self) -> bool:
        """Whether the filter includes orders that rest in the book."""
        return self.value in ("all", "limit")


class CancelFilter(_OrderFilter):
    """The order types of the cancel methods."""

    ALL = "all"
    LIMIT = "limit"
    TRIGGER_ALL = "trigger_all"
    STOP = "stop"
    TAKE = "take"
    TRAILING_STOP = "trailing_stop"


class OpenFilter(_OrderFilter):
    """The order types of the queries for open orders."""

    ALL = "all"
    LIMIT = "limit"
    TRIGGER_ALL = "trigger_all"
    STOP_ALL = "stop_all"
    STOP_LIMIT = "stop_limit"
    STOP_MARKET = "stop_market"
    TAKE_ALL = "take_all"
    TAKE_LIMIT = "take_limit"
    TAKE_MARKET = "take_market"
    TRAILING_ALL = "trailing_all"
    TRAILING_STOP = "trailing_stop"


class HasCurrency(Protocol):
    """A market or an instrument."""

    @property
    def currency(self) -> str:
        """The settlement currency."""
        ...


def listed(venue: VenueContext, currency: str) -> tuple[str, ...]:
    """Return the venue's settlement currencies that a parameter selects.

    Raises ApiError -32602 for an unknown currency.
    """
    currencies = venue.exchange.state.currencies()
    if currency == ANY:
        return tuple(currencies)
    if currency in currencies:
        return (currency,)
    if currency not in KNOWN:
        raise invalid("currency", "invalid currency")
    return ()


def all_listed(venue: VenueContext, currencies: Iterable[str]) -> tuple[str, ...]:
    """Return what `listed` does, for several parameters; each currency once."""
    selected = {each: None for currency in currencies for each in listed(venue, currency)}
    return tuple(selected)


def settled_in(
    venue: VenueContext, currency: str, kind: Kind = Kind.ANY
) -> Callable[[HasCurrency], bool]:
    """Return a filter for markets or instruments by settlement currency and kind.

    Raises ApiError -32602 for an unknown currency.
    """
    currencies = listed(venue, currency)
    if not kind.has_futures:
        currencies = ()
    return lambda each: each.currency in currencies
