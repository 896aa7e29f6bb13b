"""A request of either transport, parsed: its method, access token and parameters."""

from __future__ import annotations

import msgspec

from gateway.api.context import HttpRequest
from gateway.api.registry import METHODS, IdempotentParams, Method
from gateway.protocol import jsonrpc


class ParsedRequest(msgspec.Struct, frozen=True, gc=False):
    """A parsed request, before any check.

    `id` is as in RequestMeta. `method` is None where the registry has no method called `name`.
    `token` is the access token among the parameters or in the query. `params` are the decoded
    parameters if the fast decoder made them. Otherwise `decode_params` decodes them, once the
    caller and its credits are checked: from `raw_params`, or from the query of `http` where
    `raw_params` is None too.
    """

    id: msgspec.Raw | int | str
    method: Method | None
    token: str | None
    params: msgspec.Struct | None = None
    name: str = ""
    raw_params: msgspec.Raw | None = None
    http: HttpRequest | None = None

    @property
    def has_key(self) -> bool:
        """Whether the parameters include an idempotency key. Undecoded, they are only searched."""
        if self.params is not None:
            return isinstance(self.params, IdempotentParams) and bool(self.params.idempotency_key)
        if self.raw_params is not None:
            return b'"idempotency_key"' in bytes(self.raw_params)
        assert self.http is not None, "parameters come in JSON or in a query"
        return any(name == "idempotency_key" for name, _ in self.http.query)

    def decode_params(self, method: Method) -> msgspec.Struct:
        """Return the parameters. Raises ApiError -32602 or -32700."""
        if self.raw_params is not None:
            return method.decode(self.raw_params)
        assert self.http is not None, "parameters come in JSON or in a query"
        return method.convert(self.http.query)


class _Token(msgspec.Struct, frozen=True, gc=False):
    access_token: str | None = None


def from_rpc(request: jsonrpc.Request, http: HttpRequest | None) -> ParsedRequest:
    """Parse a JSON-RPC request from a frame, or from the body of a POST.

    The query of a POST may hold the access token.
    """
    token = _token(request.params)
    if token is None and http is not None:
        token = _token_in_query(http)
    return ParsedRequest(
        request.id,
        METHODS.get(request.method),
        token,
        name=request.method,
        raw_params=request.params,
        http=http,
    )


def from_query(http: HttpRequest) -> ParsedRequest:
    """Parse an HTTP request whose path names the method and whose query holds the parameters."""
    return ParsedRequest(
        msgspec.Raw(), METHODS.get(http.method), _token_in_query(http), name=http.method, http=http
    )


def _token_in_query(http: HttpRequest) -> str | None:
    return dict(http.query).get("access_token")


def _token(params: msgspec.Raw) -> str | None:
    """Return the access token among JSON parameters, if there is one."""
    if b'"access_token"' not in bytes(params):
        return None
    try:
        return msgspec.json.decode(params, type=_Token).access_token
    except (msgspec.DecodeError, RecursionError):
        # A malformed token must be rejected like a wrong one. As None, it would let the request
        # act for the connection's login instead.
        return ""
