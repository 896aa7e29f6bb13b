"""All methods of the venue: importing this package registers them."""

from __future__ import annotations

from typing import Final

from gateway.api.fast_decoder import FastDecoder
from gateway.api.methods import (  # noqa: F401 - each module registers its methods
    account,
    cancel,
    connection,
    history,
    login,
    market,
    orders,
    subscriptions,
    trading,
)
from gateway.api.methods.unimplemented import NOT_IMPLEMENTED
from gateway.api.registry import METHODS

__all__ = ["FAST_DECODER", "METHODS", "NOT_IMPLEMENTED"]

FAST_DECODER: Final = FastDecoder(METHODS.values())
