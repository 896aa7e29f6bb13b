"""Amounts, contracts and prices of a request, converted to the integers of the core."""

from __future__ import annotations

from book.instrument import Contract
from book.units import SCALE
from gateway.protocol import jsonrpc
from gateway.protocol.errors import ApiError, Code, invalid
from gateway.protocol.jsonrpc import BEYOND, Exact


def amount_of(contract: Contract, amount: Exact | None, contracts: Exact | None) -> int | None:
    """Return the amount in 1e-8 that `amount` or `contracts` gives, None without either.

    Raises ApiError: 10021 for too many decimals, 10027 for a fraction of a contract, -32602 if
    the two disagree.
    """
    if contracts is None and type(amount) is int and 0 < amount < BEYOND:
        # The fast path of nearly every order.
        return amount * SCALE
    from_contracts = (
        None if contracts is None else _whole(contracts) * contract.contract_size // SCALE
    )
    if amount is None:
        return from_contracts
    from_amount = jsonrpc.units(amount, "amount", finer=Code.INVALID_AMOUNT)
    if from_contracts is not None and from_contracts != from_amount:
        raise invalid("contracts", "does not agree with amount")
    return from_amount


def _whole(contracts: Exact) -> int:
    units = jsonrpc.units(contracts, "contracts", finer=Code.NON_INTEGER_CONTRACT_AMOUNT)
    if units % SCALE:
        raise ApiError(Code.NON_INTEGER_CONTRACT_AMOUNT)
    return units


def price_of(price: Exact | None) -> int:
    """Return a limit price in 1e-8.

    Raises ApiError: -32602 without a price, 10023 unless it is above 0, 10026 for too many
    decimals.
    """
    if type(price) is int and 0 < price < BEYOND:
        return price * SCALE
    if price is None:
        raise invalid("price", "must not be null")
    units = jsonrpc.units(price, "price", finer=Code.PRICE_PRECISION_EXCEEDED)
    if units <= 0:
        raise ApiError(Code.INVALID_PRICE)
    return units


def no_price(price: Exact | None) -> int:
    """Return 0, the price of an order without a limit. Raises ApiError -32602 unless a number."""
    if price is not None:
        jsonrpc.exact(price, "price")
    return 0
