"""Refusals in the API's words."""

import pytest

from gateway.protocol.errors import CODES, ApiError, Code, error_for
from risk.reasons import Reason


def test_every_rejection_reason_has_a_code() -> None:
    """A new reason without one would break the connection that meets it."""
    assert set(Reason) == set(CODES)


@pytest.mark.parametrize(
    ("reason", "detail", "code", "message"),
    [
        (Reason.POST_ONLY_REJECT, "", 11054, "post_only_reject"),
        (Reason.PRICE_TOO_HIGH, "43666.4288", 10007, "price_too_high 43666.4288"),
        (Reason.PRICE_TOO_LOW, "1", 10005, "price_too_low 1"),
        (Reason.NOT_ENOUGH_FUNDS, "", 10009, "not_enough_funds"),
        (Reason.AMOUNT_BELOW_MINIMUM, "10", 10002, "qty_too_low"),
        (Reason.NO_LIQUIDITY, "", 11030, "other_reject no_liquidity"),
        (Reason.NO_POSITION, "", 11030, "other_reject no_position"),
        (Reason.ORDERS_OVER_LIMIT, "10000", 11030, "other_reject max_open_orders"),
        (Reason.SETTLEMENT_IN_PROGRESS, "", 10041, "settlement_in_progress"),
        (Reason.ACCOUNT_LOCKED, "", 11098, "account_locked"),
        (Reason.UNSUPERVISED, "no index price yet", 13028, "temporarily_unavailable"),
        (Reason.CURRENCY_UNKNOWN, "", -32602, "Invalid params"),
    ],
)
def test_a_rejection_has_the_message_of_the_api(
    reason: Reason, detail: str, code: int, message: str
) -> None:
    """Clients match codes, and some of them the text."""
    error = error_for(reason, detail)
    assert (code, message) == (error.code, error.message)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.INVALID_PARAMS, 400),
        (Code.NOT_ENOUGH_FUNDS, 400),
        (Code.AUTHORIZATION_REQUIRED, 401),
        (Code.INVALID_CREDENTIALS, 401),
        (Code.UNAUTHORIZED, 401),
        (Code.TOO_MANY_REQUESTS, 429),
        (Code.SYSTEM_MAINTENANCE, 503),
    ],
)
def test_the_http_status_follows_the_code(code: Code, status: int) -> None:
    """400 except for authentication, rate limits and unavailability."""
    assert status == ApiError(code).status
