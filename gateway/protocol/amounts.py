"""Amounts, contracts and prices of a request, as the core counts them."""

from __future__ import annotations

from book.instrument import Contract
from book.units import SCALE
from gateway.protocol import jsonrpc
from gateway.protocol.errors import ApiError, Code, invalid
from gateway.protocol.jsonrpc import BEYOND, Exact


def amount_of(contract: Contract, amount: Exact | None, contracts: Exact | None) -> int | None:
    """The amount in 1e-8 that `amount` or `contracts` asks for; None where neither is given.

    Raises ApiError: 10021 for too many decimals, 10027 for parts of a contract, -32602 where the
    two do not agree.
    """
    if contracts is None and type(amount) is int and 0 < amount < BEYOND:
        # As nearly every order has it.
        return amount * SCALE
    counted = None if contracts is None else _whole(contracts) * contract.contract_size // SCALE
    if amount is None:
        return counted
    named = jsonrpc.units(amount, "amount", finer=Code.INVALID_AMOUNT)
    if counted is not None and counted != named:
        raise invalid("contracts", "does not agree with amount")
    return named


def _whole(contracts: Exact) -> int:
    units = jsonrpc.units(contracts, "contracts", finer=Code.NON_INTEGER_CONTRACT_AMOUNT)
    if units % SCALE:
        raise ApiError(Code.NON_INTEGER_CONTRACT_AMOUNT)
    return units


def price_of(price: Exact | None) -> int:
    """A limit price in 1e-8.

    Raises ApiError: -32602 where there is none, 10023 unless above 0, 10026 for its decimals.
    """
    if type(price) is int and 0 < price < BEYOND:
        return price * SCALE
    if price is None:
        raise invalid("price", "must not be null")
    units = jsonrpc.units(price, "price", finer=Code.PRICE_PRECISION_EXCEEDED)
    if units <= 0:
        raise ApiError(Code.INVALID_PRICE)
    return units


def unused(price: Exact | None) -> int:
    """The price in 1e-8 of what has no limit. Raises ApiError -32602 for what is no number."""
    if price is not None:
        jsonrpc.exact(price, "price")
    return 0
