"""The outermost layer: JSON-RPC envelopes, and numbers between JSON and the core's integers.

Numbers leave as shortest decimals and come in as integers or Decimals, read exactly from the JSON
text: at no point is a price or an amount a float that was computed with.
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
"""A JSON number; Raw text where a double would not show every digit."""

if TYPE_CHECKING:
    Exact = int | Decimal | str
else:
    # Of a union with Decimal, msgspec would read strings as Python does: with underscores, blanks
    # and the digits of any script. `exact` reads them as JSON has numbers.
    Exact = Any
"""A number of a request as it came, a string of one, or what is none: `exact` says which."""

# Any decimal of up to 15 digits survives the way through a double and back; 16 may not.
_EXACT: Final = 10**15
_MONEY: Final = MONEY // SCALE
_MARGIN: Final = MONEY // 10**9
_COINS: Final = MONEY // 10**6

# Digits before the point that a request's number may have: far more than any market needs, and in
# 1e-8 still inside 64 bits. Larger exponents are refused before anything is computed with them.
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
    """A price in 1e-8 as a JSON number."""
    # An order has six of these: one call for each instead of two saves a tenth of its encoding.
    return units / SCALE if -_EXACT < units < _EXACT else _number(units, SCALE)


amount = price
"""An amount in 1e-8 as a JSON number."""


def money(units: int) -> Number:
    """Money in 1e-12 as a JSON number of 8 decimals, rounded half-even."""
    # Most fees, profits and fundings of an account are none.
    if not units:
        return 0.0
    rounded = round_half_even(units, _MONEY)
    return rounded / SCALE if -_EXACT < rounded < _EXACT else _number(rounded, SCALE)


def margin(units: int) -> Number:
    """Money of a position in 1e-12 as a JSON number of 9 decimals, rounded half-even."""
    if not units:
        return 0.0
    return _number(round_half_even(units, _MARGIN), MONEY // _MARGIN)


def coins(units: int) -> Number:
    """A sum of deltas in 1e-12 as a JSON number of 6 decimals, rounded half-even."""
    return _number(round_half_even(units, _COINS), MONEY // _COINS)


def average(units: int, tick: int) -> Number:
    """A price in 1e-8 that no order was placed at, as a JSON number; rounded as `rounded`."""
    return price(rounded(units, tick))


def rounded(units: int, tick: int) -> int:
    """A price in 1e-8, half-even to two decimals; to two more than the tick's if below 0.05."""
    step = SCALE // 100 if tick >= SCALE // 20 else max(1, _power(tick) // 100)
    return round_half_even(units, step) * step


@lru_cache(maxsize=1_024)
def _power(tick: int) -> int:
    """The largest power of ten that divides a tick."""
    power = 1
    while tick % (power * 10) == 0:
        power *= 10
    return power


def rate(units: int) -> Number:
    """A rate in 1e-12 as a JSON number."""
    return _number(units, RATE)


def decimal(text: str) -> Decimal:
    """A JSON number with a point or an exponent; one beyond all exponents is infinite."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def exact(given: object, param: str) -> int | Decimal:
    """A number of a request, which may be a string that JSON's grammar has as a number.

    Raises ApiError -32602 naming `param` for anything else.
    """
    kind = type(given)
    if kind is int or kind is Decimal:
        return given  # type: ignore[return-value]  # that is what was asked
    if isinstance(given, str) and _NUMBER.fullmatch(given):
        return decimal(given)
    raise invalid(param)


def units(given: Exact, param: str, *, finer: Code | None = None) -> int:
    """A number of a request as an integer count of 1e-8.

    Raises ApiError: -32602 naming `param` for what is no number or too large, and for too many
    decimals the code `finer`, -32602 where there is none.
    """
    number = exact(given, param)
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
    """One decoded request. `id` is the JSON text of the client's id, empty where there is none."""

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


class _Refusal(msgspec.Struct, frozen=True, gc=False):
    id: Raw | int | str | UnsetType
    error: ErrorObject | Raw
    usIn: int  # noqa: N815
    usOut: int  # noqa: N815
    usDiff: int  # noqa: N815
    testnet: bool
    jsonrpc: str = "2.0"


class _Pushed(msgspec.Struct, frozen=True, gc=False):
    method: str
    params: dict[str, object]
    jsonrpc: str = "2.0"


class BadFrameError(Exception):
    """A frame that is no request. `id` is the id to answer under, as far as it could be read."""

    def __init__(self, error: ApiError, id: Raw | None = None) -> None:  # noqa: A002
        self.error = error
        self.id = id or Raw()
        super().__init__(str(error))


_REQUEST: Final = msgspec.json.Decoder(Request)
_ONLY_ID: Final = msgspec.json.Decoder(_OnlyId)
_STRING: Final = msgspec.json.Decoder(str)
# Shorter digits are an integer for sure, and nearly every id is such.
_LONG_ID: Final = 18
_NUMBERS_START: Final = b"-0123456789"


def decode(frame: bytes | str, *, limit: int, needs_id: bool, method: str = "") -> Request:
    """Read one request; `limit` is in bytes, `method` what its path says. Raises BadFrameError.

    Arrays are refused: the API has no batches. `id` may be any integer or string, 0 included.
    """
    try:
        data = frame.encode() if isinstance(frame, str) else frame
        if len(data) > limit:
            raise BadFrameError(ApiError(Code.INVALID_REQUEST, "request entity too large"))
        if isinstance(frame, bytes):
            # Values that the decoder skips are not looked into, and neither is their encoding.
            frame.decode()
        request = _REQUEST.decode(data)
    except msgspec.ValidationError as error:
        fault = ApiError(Code.INVALID_REQUEST, data={"reason": str(error)})
        raise BadFrameError(fault, _salvage(data)) from error
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
    """The id of a JSON value that is no request, so that its sender can tell which it was."""
    try:
        return _identity(_ONLY_ID.decode(data).id)
    except (msgspec.DecodeError, BadFrameError, RecursionError):
        return Raw()


def _identity(raw: Raw) -> Raw:
    """The id as it will be echoed: the client's own text, so that no type or digit is lost."""
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
    """Whether a JSON number is whole, also where it has a point or an exponent."""
    number = decimal(text)
    return number.is_finite() and number == number.to_integral_value()


def _is_string(raw: Raw) -> bool:
    try:
        _STRING.decode(raw)
    except msgspec.DecodeError:
        return False
    return True


_PLACE: Final = Raw(b"\0")


class RequestMeta(msgspec.Struct, frozen=True, gc=False):
    """What a reply needs besides its content: the request's id, when it came, what server.

    The id is the client's own text, empty for none, or what has been read of it, unless that is
    0 or empty.
    """

    id: Raw | int | str
    micros_in: int
    testnet: bool


def result(meta: RequestMeta, value: object, micros_out: int) -> bytes:
    """A successful reply."""
    micros_in, took = meta.micros_in, micros_out - meta.micros_in
    # By position: names take as long as all the rest.
    return encode(_Result(meta.id or UNSET, value, micros_in, micros_out, took, meta.testnet))


def result_around(meta: RequestMeta, micros_out: int) -> tuple[bytes, bytes]:
    """What comes before and after the value of a successful reply."""
    # NUL is in no JSON text.
    head, _, tail = result(meta, _PLACE, micros_out).partition(b"\0")
    return head, tail


def error_reply(meta: RequestMeta, error: ApiError, micros_out: int) -> bytes:
    """Return an error reply."""
    data = error.data if error.data is not None else UNSET
    return error_object_reply(meta, ErrorObject(error.code, error.message, data), micros_out)


def error_object_reply(meta: RequestMeta, error: ErrorObject | Raw, micros_out: int) -> bytes:
    """Return an error reply with this `error` member, which may be encoded already."""
    micros_in, took = meta.micros_in, micros_out - meta.micros_in
    return encode(_Refusal(meta.id or UNSET, error, micros_in, micros_out, took, meta.testnet))


def heartbeat(kind: str) -> bytes:
    """A heartbeat frame; `kind` is `heartbeat`, or `test_request`, which wants an answer."""
    return encode(_Pushed("heartbeat", {"type": kind}))
