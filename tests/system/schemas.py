"""What strict clients require, as data: for each object its fields and their types.

A type is a function from a value to a bool, a set of the strings allowed, a list of one type for
lists of any length, a tuple for lists of that length, or a schema for an object. A key that ends
in `?` may be absent; keys that a schema does not name may be there as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]


def text(value: object) -> bool:
    """A string."""
    return isinstance(value, str)


def integer(value: object) -> bool:
    """A number without a point."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(value: object) -> bool:
    """Any number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def flag(value: object) -> bool:
    """True or false."""
    return isinstance(value, bool)


def null(value: object) -> bool:
    """Present, and null."""
    return value is None


def anything(value: object) -> bool:
    """Present."""
    return True


def absent(value: object) -> bool:
    """Not present; for keys with a `?`."""
    return False


def whole(value: object) -> bool:
    """A number that is written as an integer wherever it is whole."""
    return integer(value) or (number(value) and value != int(str(value).partition(".")[0]))


def or_null(kind: Any) -> Callable[[object], bool]:
    """Null, or of that type."""
    return lambda value: value is None or not mismatches(value, kind)


def mapping(kind: Any) -> Callable[[object], bool]:
    """An object with any keys, whose values are of that type."""
    return lambda value: (
        isinstance(value, dict) and not any(mismatches(each, kind) for each in value.values())
    )


def mismatches(value: Any, kind: Any, place: str = "") -> list[str]:
    """Where a value is not what it has to be, in words."""
    if callable(kind):
        return [] if kind(value) else [f"{place}: {value!r}"]
    if isinstance(kind, set | frozenset):
        return [] if value in kind else [f"{place}: {value!r}"]
    if isinstance(kind, list | tuple):
        fits = isinstance(value, list) and (isinstance(kind, list) or len(kind) == len(value))
        if not fits:
            return [f"{place}: {value!r}"]
        kinds = kind * len(value) if isinstance(kind, list) else kind
        pairs = enumerate(zip(value, kinds, strict=True))
        return [each for at, pair in pairs for each in mismatches(*pair, f"{place}[{at}]")]
    if not isinstance(value, dict):
        return [f"{place}: {value!r}"]
    wrong = []
    for key, inner in kind.items():
        name = key.removesuffix("?")
        if name in value:
            wrong += mismatches(value[name], inner, f"{place}.{name}")
        elif name == key:
            wrong.append(f"{place}.{name}: missing")
    return wrong


FAULT: Final = {"code": integer, "message": text, "data?": or_null({})}
REPLY: Final = {
    "jsonrpc": {"2.0"},
    "id?": lambda value: text(value) or integer(value),
    "result?": anything,
    "error?": FAULT,
    "usIn": integer,
    "usOut": integer,
    "usDiff": integer,
    "testnet": flag,
}
NOTIFICATION: Final = {
    "jsonrpc": {"2.0"},
    "method": {"subscription"},
    "params": {"channel": text, "data": anything},
}
HEARTBEAT: Final = {
    "jsonrpc": {"2.0"},
    "method": {"heartbeat"},
    "params": {"type": {"heartbeat", "test_request"}},
}

AUTH: Final = {
    "access_token": text,
    "refresh_token": text,
    "token_type": {"bearer"},
    "expires_in": integer,
    "scope": text,
}

INSTRUMENT: Final = {
    "instrument_name": text,
    "instrument_id": integer,
    "kind": {"future"},
    "instrument_type": {"linear", "reversed"},
    "base_currency": text,
    "quote_currency": text,
    "counter_currency": text,
    "settlement_currency": text,
    "settlement_period": {"perpetual", "day", "week", "month"},
    "price_index": text,
    "underlying_type": {"crypto"},
    "tick_size": number,
    "tick_size_steps": [{"above_price": number, "tick_size": number}],
    "contract_size": whole,
    "min_trade_amount": number,
    "block_trade_commission": number,
    "block_trade_min_trade_amount": whole,
    "block_trade_tick_size": number,
    "max_non_default_leverage": integer,
    "future_type": {"linear", "reversed"},
    "rfq": flag,
    "is_active": flag,
    "state": {"open", "settlement", "delivered", "inactive", "locked", "halted", "archivized"},
    "creation_timestamp": integer,
    "expiration_timestamp": integer,
    "maker_commission": number,
    "taker_commission": number,
    "max_liquidation_commission": number,
    "max_leverage": integer,
}
CURRENCY: Final = {
    "currency": text,
    "currency_long": text,
    "coin_type": text,
    "withdrawal_fee": number,
    "min_confirmations": integer,
    "in_cross_collateral_pool": flag,
    "fee_precision": integer,
    "decimals": integer,
    "min_withdrawal_fee": number,
    "withdrawal_priorities": [{"name": text, "value": number}],
}

STATS: Final = {
    "volume": number,
    "volume_usd": number,
    "volume_notional": number,
    "high": or_null(number),
    "low": or_null(number),
    "price_change": or_null(number),
}
BEST: Final = {
    "instrument_name": text,
    "timestamp": integer,
    "best_bid_price": number,
    "best_bid_amount": number,
    "best_ask_price": number,
    "best_ask_amount": number,
}
TICKER: Final = BEST | {
    "state": text,
    "stats": STATS,
    "index_price": number,
    "min_price": number,
    "max_price": number,
    "mark_price": number,
    "last_price": or_null(number),
    "open_interest": number,
    "settlement_price": number,
    "estimated_delivery_price": number,
}
FUNDING: Final = {"current_funding": number, "funding_8h": number, "interest_value": number}
PERPETUAL_TICKER: Final = TICKER | FUNDING
ORDER_BOOK: Final = PERPETUAL_TICKER | {
    "bids": [(number, number)],
    "asks": [(number, number)],
    "change_id": integer,
}
SUMMARY_OF_BOOK: Final = {
    "instrument_name": text,
    "base_currency": text,
    "quote_currency": text,
    "volume": number,
    "volume_usd": number,
    "volume_notional": number,
    "high": or_null(number),
    "low": or_null(number),
    "last": or_null(number),
    "bid_price": or_null(number),
    "ask_price": or_null(number),
    "mid_price": or_null(number),
    "price_change": or_null(number),
    "mark_price": number,
    "open_interest": number,
    "estimated_delivery_price": number,
    "creation_timestamp": integer,
}

TRADE: Final = {
    "trade_id": text,
    "trade_seq": integer,
    "instrument_name": text,
    "timestamp": integer,
    "direction": {"buy", "sell"},
    "tick_direction": {0, 1, 2, 3},
    "index_price": number,
    "mark_price": number,
    "price": number,
    "amount": number,
    "contracts": number,
}
TRADES: Final = {"trades": [TRADE], "has_more": flag}
ORDER: Final = {
    "order_id": text,
    "order_state": {"open", "filled", "rejected", "cancelled", "untriggered", "triggered"},
    "order_type": {"limit", "market"},
    "time_in_force": {
        "good_til_cancelled",
        "good_til_day",
        "fill_or_kill",
        "immediate_or_cancel",
    },
    "instrument_name": text,
    "creation_timestamp": integer,
    "last_update_timestamp": integer,
    "direction": {"buy", "sell"},
    "price": number,
    "label": text,
    "amount": number,
    "contracts": number,
    "filled_amount": number,
    "average_price": number,
    "post_only": flag,
    "reject_post_only": flag,
    "reduce_only": flag,
    "replaced": flag,
    "api": flag,
    "web": flag,
    "mmp": flag,
    "is_liquidation": flag,
    "risk_reducing": flag,
    "user_id": integer,
}
USER_TRADE: Final = TRADE | {
    "order_id": text,
    "matching_id": null,
    "fee": number,
    "fee_currency": {"BTC", "ETH", "USDC", "USDT", "EURR"},
    "state": {"open", "filled", "rejected", "cancelled", "untriggered", "archive"},
    "order_type": {"limit", "market", "liquidation"},
    "liquidity": {"M", "T"},
    "label?": text,
    "profit_loss?": or_null(number),
    "reduce_only": flag,
    "post_only": flag,
    "mmp": flag,
    "risk_reducing": flag,
    "api": flag,
    "self_trade": {False},
}
USER_TRADES: Final = {"trades": [USER_TRADE], "has_more": flag}
PLACED: Final = {"order": ORDER, "trades": [USER_TRADE]}

POSITION: Final = {
    "instrument_name": text,
    "kind": {"future"},
    "direction": {"buy", "sell", "zero"},
    "size": number,
    "size_currency": number,
    "average_price": number,
    "mark_price": number,
    "index_price": number,
    "settlement_price": number,
    "floating_profit_loss": number,
    "realized_profit_loss": number,
    "total_profit_loss": number,
    "initial_margin": number,
    "maintenance_margin": number,
    "open_orders_margin": number,
    "delta": number,
    "leverage": integer,
    "estimated_liquidation_price": or_null(number),
    "interest_value?": number,
    "realized_funding?": number,
}
PERPETUAL_POSITION: Final = POSITION | {"interest_value": number, "realized_funding": number}
MONEY: Final = {
    "currency": {"BTC", "ETH", "USDC"},
    "balance": number,
    "equity": number,
    "margin_balance": number,
    "available_funds": number,
    "available_withdrawal_funds": number,
    "initial_margin": number,
    "maintenance_margin": number,
}
PORTFOLIO: Final = MONEY | {
    "total_pl": number,
    "session_upl": number,
    "session_rpl": number,
    "options_pl": number,
    "options_session_rpl": number,
    "options_session_upl": number,
    "options_delta": number,
    "options_gamma": number,
    "options_theta": number,
    "options_vega": number,
    "options_value": number,
    "futures_pl": number,
    "futures_session_rpl": number,
    "futures_session_upl": number,
    "delta_total": number,
    "delta_total_map": mapping(number),
    "estimated_liquidation_ratio": number,
    "estimated_liquidation_ratio_map": mapping(number),
    "options_gamma_map": mapping(number),
    "options_theta_map": mapping(number),
    "options_vega_map": mapping(number),
    "projected_delta_total": number,
    "projected_initial_margin": number,
    "projected_maintenance_margin": number,
    "spot_reserve": number,
    "additional_reserve": number,
    "fee_balance": number,
    "locked_balance": number,
    "portfolio_margining_enabled": flag,
    "cross_collateral_enabled": flag,
    "margin_model": {"segregated_sm"},
}
RATE: Final = {"rate": integer, "burst": integer}
LIMITED: Final = PORTFOLIO | {
    "limits": {
        "limits_per_currency": flag,
        "non_matching_engine": RATE,
        "matching_engine": {"trading": {"total": RATE}, "cancel_all": RATE},
    },
}
FEES: Final = [
    {
        "index_name": text,
        "kind": {"perpetual", "future"},
        "value": {
            "default": {"type": {"relative"}, "maker": number, "taker": number},
            "block_trade": number,
        },
    }
]
PROFILE: Final = {
    "id": integer,
    "type": {"main", "subaccount"},
    "username": text,
    "system_name": text,
    "email": text,
    "creation_timestamp": integer,
    "login_enabled": flag,
    "security_keys_enabled": flag,
    "mmp_enabled": flag,
    "interuser_transfers_enabled": flag,
    "referrer_id": or_null(text),
    "self_trading_reject_mode": {"reject_taker", "cancel_maker"},
    "self_trading_extended_to_subaccounts": flag,
    "fee_group": text,
}
# A client with types for the plain form refuses a summary that has more.
ACCOUNT: Final = LIMITED | {f"{name}?": absent for name in ("fees", *PROFILE)}
EXTENDED: Final = LIMITED | {"fees": FEES}
SUBACCOUNT: Final = {
    "id": integer,
    "username": text,
    "type": {"main", "subaccount"},
    "email": text,
    "system_name": text,
    "is_password": flag,
    "login_enabled": flag,
    "security_keys_enabled": flag,
    "receive_notifications": flag,
    "margin_model": text,
    "portfolio?": mapping(MONEY),
}

ROW: Final = ({"new", "change", "delete"}, number, number)
BOOK: Final = {
    "type": {"snapshot", "change"},
    "timestamp": integer,
    "instrument_name": text,
    "change_id": integer,
    "prev_change_id?": integer,
    "bids": [ROW],
    "asks": [ROW],
}
INDEX: Final = {"index_name": text, "price": number, "timestamp": integer}
PERPETUAL: Final = {"interest": number, "index_price": number, "timestamp": integer}
CHANGES: Final = {
    "instrument_name": text,
    "orders": [ORDER],
    "trades": [USER_TRADE],
    "positions": [POSITION],
}
