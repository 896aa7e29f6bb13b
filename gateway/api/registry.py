"""The registry of methods: parameters, scope, cost and handler of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, TypeVar, get_args

import msgspec
from attrs import Factory, define, field

from gateway.access.rate_limits import Cost
from gateway.access.scope import LEVELS
from gateway.api.context import Call
from gateway.protocol import jsonrpc
from gateway.protocol.errors import ApiError, Code, invalid
from gateway.protocol.pending_request import ReplyFormat
from risk.commands import Command

ANY_SCOPE: Final = "any"
"""The scope of methods that need a login and no particular permission."""


class Params(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Base of all parameter types. Unknown keys are ignored; strings are converted to the field.

    A field without a default is required. JSON null counts as absent. Every method takes an access
    token.
    """

    access_token: str | None = None


class NoParams(Params, frozen=True):
    """Parameters of methods that have none."""


class IdempotentParams(Params, frozen=True, kw_only=True):
    """Base of the parameters of private methods that change the venue.

    Requests of an account with the same key are executed once.
    """

    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = ""


class Submission(msgspec.Struct, frozen=True):
    """A command that a handler returns.

    `reply_format` replaces the one of the method. `undo` is called if the command fails. `account`
    is the account of the command, if it is not that of the call.
    """

    command: Command
    reply_format: ReplyFormat | None = None
    undo: Callable[[], None] | None = None
    account: int | None = None


P = TypeVar("P", bound=msgspec.Struct)
Handler = Callable[[Call, P], object]
MakeReplyFormat = Callable[[Call, P], ReplyFormat]
"""Returns the reply format for the parameters alone: the order or instrument may be gone."""


def _changes(method: Method) -> bool:
    return method.scope is not None and method.scope.endswith(":read_write")


def _matching(method: Method) -> bool:
    return method.cost in (Cost.MATCHING, Cost.CANCEL_ALL)


def _area(method: Method) -> str:
    return "" if method.scope in (None, ANY_SCOPE) else method.scope.partition(":")[0]


def _level(method: Method) -> int:
    return LEVELS.index(method.scope.partition(":")[2]) if method.area and method.scope else 0


def _decoder(method: Method) -> msgspec.json.Decoder[msgspec.Struct]:
    return msgspec.json.Decoder(method.params, strict=False, float_hook=jsonrpc.decimal)


@define(frozen=True)
class Method:
    """A registered method.

    `scope` is None for public methods. `lists` are the names of list parameters. Methods with
    IdempotentParams have a `reply_format`; it is `cacheable` if it does not depend on the
    parameters. `changes` says whether the method may change the venue, `matching` whether it is
    about orders. `area` and `level` are the scope as in gateway.access.scope; ANY_SCOPE is level 0
    of the area with an empty name.
    """

    name: str
    params: type[msgspec.Struct]
    scope: str | None
    cost: Cost
    websocket_only: bool
    handler: Callable[[Call, msgspec.Struct], object]
    lists: frozenset[str]
    reply_format: Callable[[Call, msgspec.Struct], ReplyFormat] | None = None
    cacheable: bool = False
    changes: bool = field(default=Factory(_changes, takes_self=True), init=False)
    matching: bool = field(default=Factory(_matching, takes_self=True), init=False)
    area: str = field(default=Factory(_area, takes_self=True), init=False)
    level: int = field(default=Factory(_level, takes_self=True), init=False)
    _params: msgspec.json.Decoder[msgspec.Struct] = field(
        default=Factory(_decoder, takes_self=True), init=False, eq=False, repr=False
    )

    def reply_format_of(self, call: Call, params: msgspec.Struct) -> ReplyFormat:
        """Return the reply format of a request; a cacheable one is stored in the call."""
        assert self.reply_format is not None, "methods that submit commands have IdempotentParams"
        reply_format = self.reply_format(call, params)
        if self.cacheable:
            call.reply_formats[self.name] = reply_format
        return reply_format

    def decode(self, raw: msgspec.Raw) -> msgspec.Struct:
        """Decode parameters from a JSON object. Raises ApiError -32602 naming the invalid one."""
        text = bytes(raw)
        if text in (b"", b"null"):
            text = b"{}"
        try:
            return self._decode(text)
        except msgspec.ValidationError as error:
            raise _invalid_params(error) from error
        except (msgspec.DecodeError, RecursionError) as error:
            raise ApiError(Code.PARSE_ERROR) from error

    def _decode(self, text: bytes) -> msgspec.Struct:
        try:
            return self._params.decode(text)
        except msgspec.ValidationError:
            if b"null" not in text:
                raise
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        present = {key: value for key, value in members.items() if bytes(value) != b"null"}
        return self._params.decode(msgspec.json.encode(present))

    def convert(self, query: Sequence[tuple[str, str]]) -> msgspec.Struct:
        """Convert parameters from the pairs of a query string. Raises ApiError -32602.

        Lists are JSON text, repeated keys, or repeated `key[]`.
        """
        values: dict[str, object] = {}
        for key, value in query:
            name = key.removesuffix("[]")
            if name not in self.lists:
                values[name] = value
            elif value.startswith("["):
                values[name] = _json_list(name, value)
            else:
                items = values.setdefault(name, [])
                assert isinstance(items, list)
                items.append(value)
        try:
            return msgspec.convert(values, type=self.params, strict=False)
        except msgspec.ValidationError as error:
            raise _invalid_params(error) from error


METHODS: Final[dict[str, Method]] = {}


def method(
    name: str,
    *,
    params: type[P],
    scope: str | None = None,
    cost: Cost = Cost.GENERAL,
    websocket_only: bool = False,
    reply_format: MakeReplyFormat[P] | None = None,
    cacheable: bool = False,
) -> Callable[[Handler[P]], Handler[P]]:
    """Register a handler; the arguments are as in Method.

    Raises TypeError for a private method without a scope, a public one with a scope, and
    IdempotentParams without a reply format, which a repeated request needs.
    """
    if name.startswith("private/") != (scope is not None):
        raise TypeError(f"{name}: private methods name a scope, public ones none")
    if issubclass(params, IdempotentParams) != (reply_format is not None):
        raise TypeError(f"{name}: IdempotentParams and a reply format go together")
    if name in METHODS:
        raise TypeError(f"{name} is registered already")

    def register(handler: Handler[P]) -> Handler[P]:
        lists = frozenset(
            field.name for field in msgspec.structs.fields(params) if _takes_list(field.type)
        )
        # Each handler is called only with its own parameter type.
        METHODS[name] = Method(
            name,
            params,
            scope,
            cost,
            websocket_only,
            handler,  # type: ignore[arg-type]
            lists,
            reply_format,  # type: ignore[arg-type]
            cacheable,
        )
        return handler

    return register


def trading_method(
    name: str,
    *,
    params: type[P],
    reply_format: MakeReplyFormat[P],
    cost: Cost = Cost.MATCHING,
    cacheable: bool = False,
) -> Callable[[Handler[P]], Handler[P]]:
    """Register a method that submits, changes or cancels orders."""
    return method(
        name,
        params=params,
        scope="trade:read_write",
        cost=cost,
        reply_format=reply_format,
        cacheable=cacheable,
    )


def channel_method(name: str, *, params: type[P]) -> Callable[[Handler[P]], Handler[P]]:
    """Register a method about channels; a private one needs a login, with any scope."""
    scope = ANY_SCOPE if name.startswith("private/") else None
    return method(name, params=params, scope=scope, cost=Cost.SUBSCRIBE, websocket_only=True)


def _takes_list(kind: object) -> bool:
    origin = getattr(kind, "__origin__", kind)
    return origin in (list, tuple) or any(_takes_list(each) for each in get_args(kind))


def _json_list(name: str, value: str) -> list[object]:
    try:
        return msgspec.json.decode(value, type=list[object])
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid(name) from error


_WRONG: Final = "wrong format"
_BOUND: Final = re.compile(r"Expected `\w+` (?:of )?(length )?([<>]=? -?[0-9]+)")
_REASONS: Final[Mapping[str, str]] = {
    "Object missing required field": "must not be null",
    "Invalid enum value": "value not in list",
}


def _invalid_params(error: msgspec.ValidationError) -> ApiError:
    """Return the API error for a validation error of msgspec."""
    message = str(error)
    reason = next((each for start, each in _REASONS.items() if message.startswith(start)), "")
    if not reason:
        bound = _BOUND.match(message)
        reason = f"{bound[1] or ''}must be {bound[2]}" if bound else _WRONG
    _, found, path = message.partition("`$.")
    if not found:
        # A missing field is named in the message itself; if the object is wrong, no field is named.
        _, _, path = message.partition("field `")
    name = path.partition("`")[0].partition("[")[0].partition(".")[0]
    return invalid(name, reason) if name else ApiError(Code.INVALID_PARAMS, data={"reason": reason})
