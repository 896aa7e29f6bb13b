"""All methods of the venue: importing this fills the table."""

from __future__ import annotations

from typing import Final

from gateway.api import (  # noqa: F401 - each enters its methods into the table
    account,
    cancelling,
    connection,
    history,
    login,
    market,
    orders,
    subscriptions,
    trading,
)
from gateway.api.absent import NOT_IMPLEMENTED
from gateway.api.frames import Reader
from gateway.api.table import METHODS

__all__ = ["METHODS", "NOT_IMPLEMENTED", "READER"]

READER: Final = Reader(METHODS.values())
