"""Currencies and instrument kinds as parameters: what is known, and what it selects."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.protocol.errors import invalid

if TYPE_CHECKING:
    from gateway.api.context import VenueContext

ANY: Final = "any"

# Clients ask for the currencies that their authors traded, whether we list them or not, and expect
# an empty answer; only what nobody has heard of is a mistake.
_NAMES: Final = """
    BTC ETH USDC USDT EURR USDE USYC BUIDL STETH ETHW PAXG SOL XRP BNB ADA AVAX BCH DOGE DOT LINK
    LTC MATIC NEAR TRX UNI ALGO TRUMP HYPE
"""
KNOWN: Final = frozenset(_NAMES.split())


class Kind(Enum):
    """Kinds of instruments in the API; what the venue lists are futures."""

    FUTURE = "future"
    OPTION = "option"
    SPOT = "spot"
    FUTURE_COMBO = "future_combo"
    OPTION_COMBO = "option_combo"
    COMBO = "combo"
    ANY = "any"

    @property
    def has_futures(self) -> bool:
        """Whether it includes anything that the venue lists."""
        return self in (Kind.FUTURE, Kind.ANY)


def listed(venue: VenueContext, currency: str) -> tuple[str, ...]:
    """The settlement currencies that a parameter selects, of those that the venue has.

    Raises ApiError -32602 for what is no currency.
    """
    ours = venue.exchange.state.currencies()
    if currency == ANY:
        return tuple(ours)
    if currency in ours:
        return (currency,)
    if currency not in KNOWN:
        raise invalid("currency", "invalid currency")
    return ()


def all_listed(venue: VenueContext, currencies: Iterable[str]) -> tuple[str, ...]:
    """The same for several parameters at once, each currency once."""
    chosen = {each: None for currency in currencies for each in listed(venue, currency)}
    return tuple(chosen)
