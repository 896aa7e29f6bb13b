"""JSON-RPC envelopes, and the conversion of numbers between JSON and the core's integers.

Numbers are written as the shortest decimals and read from the JSON text as integers or Decimals.
No price or amount is ever computed with as a float.
"""

from __future__ import annotations

import re
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from book.units import MONEY, RATE, SCALE, round_half_even, text
from gateway.protocol.errors import ApiError, Code, invalid

Number = float | Raw
"""A JSON number; Raw text if a double cannot represent every digit."""

if TYPE_CHECKING:
    Exact = int | Decimal | str
else:
    # For a union with Decimal, msgspec would parse strings as Python does: with underscores, blanks
    # and the digits of any script. `exact` parses them by the grammar of JSON.
    Exact = Any
"""A number of a request as it was sent, perhaps as a string; `exact` validates it."""

# Every decimal of up to 15 digits is preserved by a double; one of 16 may not be.
_EXACT: Final = 10**15
_MONEY: Final = MONEY // SCALE
_MARGIN: Final = MONEY // 10**9
_COINS: Final = MONEY // 10**6

# Digits that a number in a request may have before the point: far more than any market needs, and
# in units of 1e-8 still within 64 bits. Larger exponents are rejected before any computation.
_DIGITS: Final = 10
BEYOND: Final = 10**_DIGITS
_SCALE: Final = Decimal(SCALE)
_EXACTLY: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)

# RFC 8259, 6.
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)

_ENCODER: Final = msgspec.json.Encoder()
encode = _ENCODER.encode


def _number(units: int, scale: int) -> Number:
    if -_EXACT < units < _EXACT:
        return units / scale
    return Raw(text(units, scale).encode())


def price(units: int) -> Number:
    """Return a price in 1e-8 as a JSON number."""
    # An order has six of these; one call each instead of two saves a tenth of its encoding.
    return units / SCALE if -_EXACT < units < _EXACT else _number(units, SCALE)


amount = price
"""An amount in 1e-8 as a JSON number."""


def money(units: int) -> Number:
    """Return money in 1e-12 as a JSON number of 8 decimals, rounded half-even."""
    # Most fees, profits and funding payments are 0.
    if not units:
        return 0.0
    rounded = round_half_even(units, _MONEY)
    return rounded / SCALE if -_EXACT < rounded < _EXACT else _number(rounded, SCALE)


def margin(units: int) -> Number:
    """Return money of a position in 1e-12 as a JSON number of 9 decimals, rounded half-even."""
    if not units:
        return 0.0
    return _number(round_half_even(units, _MARGIN), MONEY // _MARGIN)


def coins(units: int) -> Number:
    """Return a sum of deltas in 1e-12 as a JSON number of 6 decimals, rounded half-even."""
    return _number(round_half_even(units, _COINS), MONEY // _COINS)


def average(units: int, tick: int) -> Number:
    """Return a computed price in 1e-8 as a JSON number, rounded by `rounded`."""
    return price(rounded(units, tick))


def rounded(units: int, tick: int) -> int:
    """Round a price in 1e-8 half-even: to 2 decimals, or 2 more than a tick below 0.05 has."""
    step = SCALE // 100 if tick >= SCALE // 20 else max(1, _power(tick) // 100)
    return round_half_even(units, step) * step


@lru_cache(maxsize=1_024)
def _power(tick: int) -> int:
    """Return the largest power of ten that divides a tick."""
    power = 1
    while tick % (power * 10) == 0:
        power *= 10
    return power


def rate(units: int) -> Number:
    """Return a rate in 1e-12 as a JSON number."""
    return _number(units, RATE)


def decimal(text: str) -> Decimal:
    """Parse a JSON number with a point or an exponent; one beyond Decimal's range is infinite."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def exact(value: object, param: str) -> int | Decimal:
    """Return a number of a request, which may be a string with a JSON number in it.

    Raises ApiError -32602 naming `param` for anything else.
    """
    kind = type(value)
    if kind is int or kind is Decimal:
        return value  # type: ignore[return-value]  # just checked
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return decimal(value)
    raise invalid(param)


def units(value: Exact, param: str, *, finer: Code | None = None) -> int:
    """Return a number of a request in 1e-8.

    Raises ApiError: -32602 naming `param` unless it is a number within bounds, and for too many
    decimals the code `finer`, by default -32602.
    """
    number = exact(value, param)
    if isinstance(number, int):
        if -BEYOND < number < BEYOND:
            return number * SCALE
        raise _too_large(param, negative=number < 0)
    if number.is_nan():
        raise invalid(param)
    if not number.is_finite() or number.adjusted() >= _DIGITS:
        raise _too_large(param, negative=number.is_signed())
    scaled = _EXACTLY.multiply(number, _SCALE)
    units = int(scaled)
    if units != scaled:
        raise invalid(param, "too many decimals") if finer is None else ApiError(finer)
    return units


def _too_large(param: str, *, negative: bool) -> ApiError:
    return invalid(param, f"must be above -{BEYOND}" if negative else f"must be below {BEYOND}")


class Request(msgspec.Struct, frozen=True, gc=False):
    """A decoded envelope. `id` is the JSON text of the client's id, empty without one."""

    method: str = ""
    params: Raw = Raw()
    id: Raw = Raw()


class _OnlyId(msgspec.Struct, frozen=True, gc=False):
    id: Raw = Raw()


class ErrorObject(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The `error` member of a reply."""

    code: int
    message: str
    data: dict[str, object] | UnsetType = UNSET


class _Result(msgspec.Struct, frozen=True, gc=False):
    id: Raw | int | str | UnsetType
    result: object
    usIn: int  # noqa: N815 - the wire's name
    usOut: int  # noqa: N815
    usDiff: int  # noqa: N815
    testnet: bool
    jsonrpc: str = "2.0"


class _Error(msgspec.Struct, frozen=True, gc=False):
    id: Raw | int | str | UnsetType
    error: ErrorObject | Raw
    usIn: int  # noqa: N815
    usOut: int  # noqa: N815
    usDiff: int  # noqa: N815
    testnet: bool
    jsonrpc: str = "2.0"


class _Notification(msgspec.Struct, frozen=True, gc=False):
    method: str
    params: dict[str, object]
    jsonrpc: str = "2.0"


class BadFrameError(Exception):
    """A malformed request. `id` is the id to reply with, empty if none could be read."""

    def __init__(self, error: ApiError, id: Raw | None = None) -> None:  # noqa: A002
        self.error = error
        self.id = id or Raw()
        super().__init__(str(error))


_REQUEST: Final = msgspec.json.Decoder(Request)
_ONLY_ID: Final = msgspec.json.Decoder(_OnlyId)
_STRING: Final = msgspec.json.Decoder(str)
# A shorter string of digits is certainly an integer. Nearly every id is one.
_LONG_ID: Final = 18
_NUMBERS_START: Final = b"-0123456789"


def decode(frame: bytes | str, *, limit: int, needs_id: bool, method: str = "") -> Request:
    """Decode one request; `limit` is in bytes, `method` the name in its path. Raises BadFrameError.

    Arrays are rejected: the API has no batches. `id` may be any integer or string, 0 included.
    """
    try:
        data = frame.encode() if isinstance(frame, str) else frame
        if len(data) > limit:
            raise BadFrameError(ApiError(Code.INVALID_REQUEST, "request entity too large"))
        if isinstance(frame, bytes):
            # The decoder does not check the encoding of values that it skips.
            frame.decode()
        request = _REQUEST.decode(data)
    except msgspec.ValidationError as error:
        rejection = ApiError(Code.INVALID_REQUEST, data={"reason": str(error)})
        raise BadFrameError(rejection, _salvage(data)) from error
    except (UnicodeError, msgspec.DecodeError, RecursionError) as error:
        raise BadFrameError(ApiError(Code.PARSE_ERROR)) from error
    identity = _identity(request.id)
    if needs_id and not bytes(identity):
        raise BadFrameError(ApiError(Code.INVALID_REQUEST, data={"reason": "id is required"}))
    name = (request.method or method).removeprefix("/")
    if not name:
        raise BadFrameError(ApiError(Code.INVALID_REQUEST, data={"reason": "no method"}), identity)
    if name is request.method and identity is request.id:
        return request
    return Request(name, request.params, identity)


def _salvage(data: bytes) -> Raw:
    """Return the id of a malformed request, so that the client can match the error to it."""
    try:
        return _identity(_ONLY_ID.decode(data).id)
    except (msgspec.DecodeError, BadFrameError, RecursionError):
        return Raw()


def _identity(raw: Raw) -> Raw:
    """Return the id to echo: the client's own text, so that no type or digit is lost."""
    text = bytes(raw)
    if text.isdigit() and len(text) < _LONG_ID:
        return raw
    if text in (b"", b"null"):
        return Raw()
    if not (_is_integer(text.decode()) if text[0] in _NUMBERS_START else _is_string(raw)):
        reason = "id must be an integer or a string"
        raise BadFrameError(ApiError(Code.INVALID_REQUEST, data={"reason": reason}))
    return raw


def _is_integer(text: str) -> bool:
    """Whether a JSON number is whole, even with a point or an exponent."""
    number = decimal(text)
    return number.is_finite() and number == number.to_integral_value()


def _is_string(raw: Raw) -> bool:
    try:
        _STRING.decode(raw)
    except msgspec.DecodeError:
        return False
    return True


_PLACEHOLDER: Final = Raw(b"\0")


class RequestMeta(msgspec.Struct, frozen=True, gc=False):
    """The fields of a reply besides its content.

    `id` is the client's own JSON text, empty without an id, or the decoded id if that is neither
    0 nor empty. `micros_in` is when the request arrived.
    """

    id: Raw | int | str
    micros_in: int
    testnet: bool


def result(meta: RequestMeta, value: object, micros_out: int) -> bytes:
    """Return a successful reply."""
    micros_in, took = meta.micros_in, micros_out - meta.micros_in
    # By position: keyword arguments would double the time.
    return encode(_Result(meta.id or UNSET, value, micros_in, micros_out, took, meta.testnet))


def result_around(meta: RequestMeta, micros_out: int) -> tuple[bytes, bytes]:
    """Return the text before and after the result of a successful reply."""
    # No JSON text contains NUL.
    head, _, tail = result(meta, _PLACEHOLDER, micros_out).partition(b"\0")
    return head, tail


def error_reply(meta: RequestMeta, error: ApiError, micros_out: int) -> bytes:
    """Return an error reply."""
    data = error.data if error.data is not None else UNSET
    return error_object_reply(meta, ErrorObject(error.code, error.message, data), micros_out)


def error_object_reply(meta: RequestMeta, error: ErrorObject | Raw, micros_out: int) -> bytes:
    """Return an error reply with this `error` member, which may be encoded already."""
    micros_in, took = meta.micros_in, micros_out - meta.micros_in
    return encode(_Error(meta.id or UNSET, error, micros_in, micros_out, took, meta.testnet))


def heartbeat(kind: str) -> bytes:
    """Return a heartbeat frame; `kind` is `heartbeat`, or `test_request`, which needs a reply."""
    return encode(_Notification("heartbeat", {"type": kind}))
