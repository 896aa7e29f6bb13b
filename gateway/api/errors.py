"""What clients are told when something is refused: the API's codes and messages."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from risk.reasons import Reason

INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
PARSE_ERROR: Final = -32700

MESSAGES: Final[dict[int, str]] = {
    INVALID_REQUEST: "Invalid Request",
    METHOD_NOT_FOUND: "Method not found",
    INVALID_PARAMS: "Invalid params",
    PARSE_ERROR: "Parse error",
    10000: "authorization_required",
    10001: "error",
    10002: "qty_too_low",
    10003: "order_overlap",
    10004: "order_not_found",
    10005: "price_too_low",
    10007: "price_too_high",
    10009: "not_enough_funds",
    10010: "already_closed",
    10018: "non_pme_max_future_position_size",
    10020: "invalid_or_unsupported_instrument",
    10021: "invalid_amount",
    10023: "invalid_price",
    10025: "invalid_order_id",
    10026: "price_precision_exceeded",
    10027: "non_integer_contract_amount",
    10028: "too_many_requests",
    10030: "must_be_websocket_request",
    10033: "not_implemented",
    10036: "invalid_max_show_amount",
    10041: "settlement_in_progress",
    10043: "price_wrong_tick",
    10045: "can_not_cancel_liquidation_order",
    10046: "can_not_edit_liquidation_order",
    10047: "matching_engine_queue_full",
    10049: "cancel_on_disconnect_failed",
    11008: "already_filled",
    11021: "post_only_price_modification_not_possible",
    11030: "other_reject",
    11038: "no_adv_for_futures",
    11042: "permission_denied",
    11044: "not_open_order",
    11050: "bad_request",
    11051: "system_maintenance",
    11054: "post_only_reject",
    11055: "post_only_not_allowed",
    11098: "account_locked",
    12003: "login_over_limit",
    13004: "invalid_credentials",
    13007: "user_not_found",
    13009: "unauthorized",
    13018: "invalid_content_type",
    13019: "orderbook_closed",
    13020: "not_found",
    13021: "forbidden",
    13028: "temporarily_unavailable",
    13032: "non_unique_order_label",
    13040: "mmp_required",
    13778: "raw_subscriptions_not_available_for_unauthorized",
    13888: "timed_out",
}

_OTHER_REJECT: Final = 11030
CODES: Final[dict[Reason, int]] = {
    Reason.ACCOUNT_LOCKED: 11098,
    Reason.ACCOUNT_UNKNOWN: 13007,
    Reason.ALREADY_FILLED: 11008,
    Reason.AMOUNT_BELOW_MINIMUM: 10002,
    Reason.AMOUNT_OFF_STEP: 10021,
    Reason.CURRENCY_UNKNOWN: INVALID_PARAMS,
    Reason.INSTRUMENT_CLOSED: 13019,
    Reason.INSTRUMENT_UNKNOWN: 10020,
    Reason.NOTHING_TO_REDUCE: _OTHER_REJECT,
    Reason.NOT_ENOUGH_FUNDS: 10009,
    Reason.NO_LIQUIDITY: _OTHER_REJECT,
    Reason.NO_POSITION: _OTHER_REJECT,
    Reason.ORDER_NOT_FOUND: 10004,
    Reason.ORDER_OVERLAP: 10003,
    Reason.ORDERS_OVER_LIMIT: _OTHER_REJECT,
    Reason.PERMISSION_DENIED: 11042,
    Reason.POSITION_OVER_LIMIT: 10018,
    Reason.POST_ONLY_NOT_ALLOWED: 11055,
    Reason.POST_ONLY_PRICE: 11021,
    Reason.POST_ONLY_REJECT: 11054,
    Reason.PRICE_OFF_TICK: 10043,
    Reason.PRICE_TOO_HIGH: 10007,
    Reason.PRICE_TOO_LOW: 10005,
    # A session ends with its connection, so that only a log-out still hears this.
    Reason.SESSION_ENDED: 13009,
    Reason.SETTLEMENT_IN_PROGRESS: 10041,
    Reason.TIMED_OUT: 13888,
    Reason.UNSUPERVISED: 13028,
}

# Messages that end in a number or a text which the venue supplies, as `price_too_high 43666.4`.
_WITH_DETAIL: Final = frozenset({10005, 10007, 10018})

_STATUS: Final = {
    10000: HTTPStatus.UNAUTHORIZED,
    13004: HTTPStatus.UNAUTHORIZED,
    13009: HTTPStatus.UNAUTHORIZED,
    10028: HTTPStatus.TOO_MANY_REQUESTS,
    12003: HTTPStatus.TOO_MANY_REQUESTS,
    11051: HTTPStatus.SERVICE_UNAVAILABLE,
    13028: HTTPStatus.SERVICE_UNAVAILABLE,
}


class ApiError(Exception):
    """A refusal as the client sees it. `data` is JSON-able, None where the API sends none."""

    def __init__(
        self, code: int, message: str | None = None, data: dict[str, object] | None = None
    ) -> None:
        self.code = code
        self.message = MESSAGES[code] if message is None else message
        self.data = data
        super().__init__(f"{code} {self.message}")

    @property
    def status(self) -> int:
        """The HTTP status that goes with it; clients read the body, proxies read this."""
        return _STATUS.get(self.code, HTTPStatus.BAD_REQUEST).value


def invalid(param: str, reason: str = "wrong format") -> ApiError:
    """A parameter that cannot be taken: -32602 with its name and why."""
    return ApiError(INVALID_PARAMS, data={"reason": reason, "param": param})


def refusal(reason: Reason, detail: str = "") -> ApiError:
    """The venue's refusal of a command, in the API's words."""
    code = CODES[reason]
    if code == INVALID_PARAMS:
        return invalid("currency", reason.value)
    message = MESSAGES[code]
    if code == _OTHER_REJECT:
        message = f"{message} {reason.value}"
    elif code in _WITH_DETAIL and detail:
        message = f"{message} {detail}"
    return ApiError(code, message)
