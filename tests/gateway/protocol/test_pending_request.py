"""A pending request: one reply, and one place among the requests in flight."""

import msgspec
import pytest

from gateway.protocol.errors import ApiError, Code
from gateway.protocol.jsonrpc import RequestMeta
from gateway.protocol.pending_request import InFlightLimiter, PendingRequest
from risk.commands import Origin
from risk.events import Answer, Done, Refused
from risk.reasons import Reason
from tests.gateway.harness import HandClock, whole

ORIGIN = Origin(0, 0, 1, 1)


def pending(
    limiter: InFlightLimiter, log: list[str] | None = None, **ways: object
) -> PendingRequest:
    """For account 7, with place taken."""
    limiter.acquire(7)

    def convert(_: Answer) -> object:
        return "done"

    return PendingRequest(
        RequestMeta(msgspec.Raw(b"3"), 1_000, testnet=True),
        HandClock(2),
        7,
        limiter,
        convert,
        undo=None if log is None else lambda: log.append("undone"),
        **ways,  # type: ignore[arg-type]
    )


def test_an_answer_becomes_the_reply_and_releases_the_place() -> None:
    """With the id of the request, and the time that it took."""
    limiter, undone = InFlightLimiter(1), list[str]()
    request = pending(limiter, undone)
    reply = msgspec.json.decode(whole(request.answer(Done(ORIGIN))))
    assert (3, "done", 1_000) == (reply["id"], reply["result"], reply["usDiff"])
    assert (200, []) == (request.status, undone)
    limiter.acquire(7)


def test_a_rejection_becomes_an_error_and_calls_undo() -> None:
    """Rejected by the exchange, before it, or by a result that cannot be converted."""
    limiter, undone = InFlightLimiter(None), list[str]()

    def fails(_: Answer) -> object:
        raise ApiError(Code.NOT_FOUND)

    codes = []
    by_venue = pending(limiter, undone)
    codes.append(whole(by_venue.answer(Refused(ORIGIN, Reason.NOT_ENOUGH_FUNDS))))
    on_the_way = pending(limiter, undone)
    codes.append(on_the_way.refuse(10047))
    untold = pending(limiter, undone)
    untold.convert = fails
    codes.append(whole(untold.answer(Done(ORIGIN))))
    assert [10009, 10047, 13020] == [msgspec.json.decode(each)["error"]["code"] for each in codes]
    assert ["undone"] * 3 == undone
    assert [400] * 3 == [each.status for each in (by_venue, on_the_way, untold)]
    assert not limiter.counts


def test_a_request_may_explain_rejections_itself() -> None:
    """As for an order that closed while its cancel was on its way."""
    request = pending(InFlightLimiter(None), explain=lambda _: ApiError(Code.NOT_OPEN_ORDER))
    reply = msgspec.json.decode(whole(request.answer(Refused(ORIGIN, Reason.ORDER_NOT_FOUND))))
    assert 11044 == reply["error"]["code"]


def test_a_place_is_released_once() -> None:
    """Abandoned after the answer, or twice, it does not make room for more than one."""
    limiter = InFlightLimiter(2)
    first, second = pending(limiter), pending(limiter)
    first.answer(Done(ORIGIN))
    for _ in range(3):
        first.abandon()
    limiter.acquire(7)
    with pytest.raises(ApiError) as caught:
        limiter.acquire(7)
    assert 10047 == caught.value.code
    limiter.acquire(8)
    second.abandon()
    limiter.acquire(7)
