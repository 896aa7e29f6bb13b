"""The API's error codes and messages, and the code of each rejection by the exchange."""

from __future__ import annotations

from enum import IntEnum
from http import HTTPStatus
from typing import Final

from risk.reasons import Reason


class Code(IntEnum):
    """The API's error codes that the venue uses.

    `message` is the name in lower case, except for the codes of JSON-RPC itself.
    """

    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    PARSE_ERROR = -32700
    AUTHORIZATION_REQUIRED = 10000
    ERROR = 10001
    QTY_TOO_LOW = 10002
    ORDER_OVERLAP = 10003
    ORDER_NOT_FOUND = 10004
    PRICE_TOO_LOW = 10005
    PRICE_TOO_HIGH = 10007
    NOT_ENOUGH_FUNDS = 10009
    ALREADY_CLOSED = 10010
    NON_PME_MAX_FUTURE_POSITION_SIZE = 10018
    INVALID_OR_UNSUPPORTED_INSTRUMENT = 10020
    INVALID_AMOUNT = 10021
    INVALID_PRICE = 10023
    INVALID_ORDER_ID = 10025
    PRICE_PRECISION_EXCEEDED = 10026
    NON_INTEGER_CONTRACT_AMOUNT = 10027
    TOO_MANY_REQUESTS = 10028
    MUST_BE_WEBSOCKET_REQUEST = 10030
    NOT_IMPLEMENTED = 10033
    RETRY = 10040
    SETTLEMENT_IN_PROGRESS = 10041
    PRICE_WRONG_TICK = 10043
    MATCHING_ENGINE_QUEUE_FULL = 10047
    ALREADY_FILLED = 11008
    POST_ONLY_PRICE_MODIFICATION_NOT_POSSIBLE = 11021
    OTHER_REJECT = 11030
    NO_ADV_FOR_FUTURES = 11038
    PERMISSION_DENIED = 11042
    NOT_OPEN_ORDER = 11044
    SYSTEM_MAINTENANCE = 11051
    POST_ONLY_REJECT = 11054
    POST_ONLY_NOT_ALLOWED = 11055
    ACCOUNT_LOCKED = 11098
    LOGIN_OVER_LIMIT = 12003
    INVALID_CREDENTIALS = 13004
    USER_NOT_FOUND = 13007
    UNAUTHORIZED = 13009
    INVALID_CONTENT_TYPE = 13018
    ORDERBOOK_CLOSED = 13019
    NOT_FOUND = 13020
    FORBIDDEN = 13021
    TEMPORARILY_UNAVAILABLE = 13028
    NON_UNIQUE_ORDER_LABEL = 13032
    MMP_REQUIRED = 13040
    RAW_SUBSCRIPTIONS_NOT_AVAILABLE_FOR_UNAUTHORIZED = 13778
    TIMED_OUT = 13888

    @property
    def message(self) -> str:
        """The message that the API sends with the code, without a detail."""
        return _JSON_RPC.get(self) or self.name.lower()


_JSON_RPC: Final = {
    Code.INVALID_REQUEST: "Invalid Request",
    Code.METHOD_NOT_FOUND: "Method not found",
    Code.INVALID_PARAMS: "Invalid params",
    Code.PARSE_ERROR: "Parse error",
}

CODES: Final[dict[Reason, Code]] = {
    Reason.ACCOUNT_LOCKED: Code.ACCOUNT_LOCKED,
    Reason.ACCOUNT_UNKNOWN: Code.USER_NOT_FOUND,
    Reason.AMOUNT_BELOW_MINIMUM: Code.QTY_TOO_LOW,
    Reason.AMOUNT_OFF_STEP: Code.INVALID_AMOUNT,
    Reason.CURRENCY_UNKNOWN: Code.INVALID_PARAMS,
    Reason.INSTRUMENT_CLOSED: Code.ORDERBOOK_CLOSED,
    Reason.INSTRUMENT_UNKNOWN: Code.INVALID_OR_UNSUPPORTED_INSTRUMENT,
    Reason.NOTHING_TO_REDUCE: Code.OTHER_REJECT,
    Reason.NOT_ENOUGH_FUNDS: Code.NOT_ENOUGH_FUNDS,
    Reason.NO_LIQUIDITY: Code.OTHER_REJECT,
    Reason.NO_POSITION: Code.OTHER_REJECT,
    Reason.ORDER_NOT_FOUND: Code.ORDER_NOT_FOUND,
    Reason.ORDER_OVERLAP: Code.ORDER_OVERLAP,
    Reason.ORDERS_OVER_LIMIT: Code.OTHER_REJECT,
    Reason.PERMISSION_DENIED: Code.PERMISSION_DENIED,
    Reason.POSITION_OVER_LIMIT: Code.NON_PME_MAX_FUTURE_POSITION_SIZE,
    Reason.POST_ONLY_NOT_ALLOWED: Code.POST_ONLY_NOT_ALLOWED,
    Reason.POST_ONLY_PRICE: Code.POST_ONLY_PRICE_MODIFICATION_NOT_POSSIBLE,
    Reason.POST_ONLY_REJECT: Code.POST_ONLY_REJECT,
    Reason.PRICE_OFF_TICK: Code.PRICE_WRONG_TICK,
    Reason.PRICE_TOO_HIGH: Code.PRICE_TOO_HIGH,
    Reason.PRICE_TOO_LOW: Code.PRICE_TOO_LOW,
    Reason.RETRY: Code.RETRY,
    # A session ends with its connection: a reply can follow only after a logout.
    Reason.SESSION_ENDED: Code.UNAUTHORIZED,
    Reason.SETTLEMENT_IN_PROGRESS: Code.SETTLEMENT_IN_PROGRESS,
    Reason.TIMED_OUT: Code.TIMED_OUT,
    Reason.UNSUPERVISED: Code.TEMPORARILY_UNAVAILABLE,
}
"""The code of each reason for which the exchange rejects a command."""

# The messages of these codes end in a number from the exchange: `price_too_high 43666.4`.
_WITH_DETAIL: Final = (
    Code.PRICE_TOO_LOW,
    Code.PRICE_TOO_HIGH,
    Code.NON_PME_MAX_FUTURE_POSITION_SIZE,
)

_STATUS: Final[dict[int, int]] = {
    Code.AUTHORIZATION_REQUIRED: HTTPStatus.UNAUTHORIZED.value,
    Code.INVALID_CREDENTIALS: HTTPStatus.UNAUTHORIZED.value,
    Code.UNAUTHORIZED: HTTPStatus.UNAUTHORIZED.value,
    Code.TOO_MANY_REQUESTS: HTTPStatus.TOO_MANY_REQUESTS.value,
    Code.LOGIN_OVER_LIMIT: HTTPStatus.TOO_MANY_REQUESTS.value,
    Code.SYSTEM_MAINTENANCE: HTTPStatus.SERVICE_UNAVAILABLE.value,
    Code.TEMPORARILY_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE.value,
}
_BAD_REQUEST: Final = HTTPStatus.BAD_REQUEST.value

# Looked up with plain integers: a property of an enumeration costs as much as decoding a request.
_MESSAGES: Final = {code.value: code.message for code in Code}


class ApiError(Exception):
    """An error reply. `data` can be encoded as JSON and is None where the API sends none.

    `message` defaults to the message of the code.
    """

    def __init__(
        self, code: int, message: str | None = None, data: dict[str, object] | None = None
    ) -> None:
        self.code = int(code)
        self.message = _MESSAGES[code] if message is None else message
        self.data = data
        super().__init__(code, self.message)

    def __str__(self) -> str:
        """The code and the message."""
        return f"{self.code} {self.message}"

    @property
    def status(self) -> int:
        """The HTTP status of the reply: clients read the body, proxies the status."""
        return _STATUS.get(self.code, _BAD_REQUEST)


def invalid(param: str, reason: str = "wrong format") -> ApiError:
    """Return the error for an invalid parameter: -32602 with its name and the reason."""
    return ApiError(Code.INVALID_PARAMS, data={"reason": reason, "param": param})


def not_implemented(what: str, name: str) -> ApiError:
    """Return the error for a part of the API that the venue does not have: 10033 with its name.

    `what` is `method` or `param`.
    """
    return ApiError(Code.NOT_IMPLEMENTED, data={"reason": "not implemented", what: name})


def key_of_other_request() -> ApiError:
    """Return the error for an idempotency key of a request of another kind: -32602."""
    return invalid("idempotency_key", "belongs to another request")


def error_for(reason: Reason, detail: str = "") -> ApiError:
    """Return the error for a command that the exchange rejected."""
    code = CODES[reason]
    if code is Code.INVALID_PARAMS:
        return invalid("currency", reason.value)
    if code is Code.OTHER_REJECT:
        return ApiError(code, f"{code.message} {reason.value}")
    if code in _WITH_DETAIL and detail:
        return ApiError(code, f"{code.message} {detail}")
    return ApiError(code)
