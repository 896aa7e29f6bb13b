"""The parts of an account summary besides money: settings, rate limits and fees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.protocol import jsonrpc
from gateway.protocol.account_json import Json

if TYPE_CHECKING:
    from gateway.api.context import Call, VenueContext


def profile_json(call: Call) -> Json:
    """Return the additional fields of an extended summary."""
    account = call.venue.exchange.state.accounts[call.account]
    return {
        "id": account.number,
        "type": "main",
        "username": account.name,
        "system_name": account.name,
        "email": "",
        "creation_timestamp": account.created,
        "login_enabled": True,
        "security_keys_enabled": False,
        "mmp_enabled": False,
        "interuser_transfers_enabled": False,
        "referrer_id": None,
        "receive_notifications": False,
        "is_direct_access_allowed": False,
        "self_trading_reject_mode": account.self_trading.value,
        "self_trading_extended_to_subaccounts": False,
        "block_rfq_self_match_prevention": False,
        "fee_group": "default",
        "trading_products_details": [],
    }


def limits_json(venue: VenueContext) -> Json:
    """Return the `limits` of a summary: requests per second and bursts."""
    limits = venue.config.limits
    price = limits.general_cost
    return {
        "limits_per_currency": False,
        "non_matching_engine": {
            "rate": limits.credits_per_second // price,
            "burst": limits.general_pool // price,
        },
        "matching_engine": {
            "trading": {
                "total": {
                    "rate": _whole(limits.matching_per_second),
                    "burst": limits.matching_burst,
                }
            },
            "cancel_all": {
                "rate": _whole(limits.cancel_all_per_second),
                "burst": limits.cancel_all_burst,
            },
        },
    }


def _whole(per_second: float) -> int:
    """Return a rate for clients: rounded down to a whole number, and at least 1."""
    return max(1, int(per_second))


def fees_json(venue: VenueContext, currency: str) -> list[Json]:
    """Return the `fees` of a summary: the rates of each product that settles in a currency."""
    fees: list[Json] = []
    for product in venue.exchange.state.products.values():
        contract = product.contract
        if contract.currency != currency:
            continue
        rates = {
            "type": "relative",
            "maker": jsonrpc.rate(contract.maker_rate),
            "taker": jsonrpc.rate(contract.taker_rate),
        }
        fees.append(
            {
                "index_name": contract.index,
                "kind": "future" if contract.dated else "perpetual",
                "value": {"default": rates, "block_trade": jsonrpc.rate(contract.taker_rate // 2)},
            }
        )
    return fees
