"""Ids of orders and trades: a number, prefixed by the instrument's family."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

# The venue numbers all orders, and all trades, in one sequence; the prefix adds nothing. Prefixes
# that other venues use for other order types pass too: such an id is unknown, not malformed.
# 15 digits are exact in a double.
_DIGITS: Final = 15
_ID: Final = re.compile(rf"(?:[\w-]{{1,40}}-)?([0-9]{{1,{_DIGITS}}})", re.ASCII)


def order_id(instrument: str, number: int) -> str:
    """Return an order's id in the API: digits for BTC, otherwise with the family in front."""
    return f"{prefix(instrument)}{number}"


trade_id = order_id
"""A trade's id in the API, prefixed as order ids are."""


@lru_cache(maxsize=1_024)
def prefix(instrument: str) -> str:
    """Return what the ids of an instrument have in front of the number."""
    family = instrument.partition("-")[0]
    return "" if family == "BTC" else f"{family}-"


def number_of(text: str) -> int | None:
    """Return the number in an id, None if the id is malformed."""
    if text.isdecimal() and text.isascii() and len(text) <= _DIGITS:
        return int(text)
    match = _ID.fullmatch(text)
    return None if match is None else int(match[1])
