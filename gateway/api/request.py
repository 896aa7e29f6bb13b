"""A request before anybody looked at it: which method, what parameters, whose credentials.

Those that were read in one go (gateway.api.fast_decoder) need none of this.
"""

from __future__ import annotations

import msgspec

from gateway.api.context import HttpRequest
from gateway.api.registry import Method
from gateway.protocol import jsonrpc


class ParsedRequest(msgspec.Struct, frozen=True, gc=False):
    """A request of either transport.

    `params` are those of JSON-RPC, None where the query of `http` holds them; `token` came with
    them. `http` is None over WebSocket.
    """

    stamp: jsonrpc.RequestMeta
    method: str
    params: msgspec.Raw | None
    token: str | None
    http: HttpRequest | None

    @property
    def keyed(self) -> bool:
        """Whether it may be a repetition, whose first outcome is its answer, however full it is."""
        if self.params is not None:
            return b'"idempotency_key"' in bytes(self.params)
        assert self.http is not None, "a request has either"
        return any(name == "idempotency_key" for name, _ in self.http.query)

    def read(self, method: Method) -> msgspec.Struct:
        """The parameters of the method that is asked for. Raises ApiError as the method does."""
        if self.params is not None:
            return method.decode(self.params)
        assert self.http is not None, "a request has either"
        return method.convert(self.http.query)


class _Token(msgspec.Struct, frozen=True, gc=False):
    access_token: str | None = None


def from_rpc(
    stamp: jsonrpc.RequestMeta, request: jsonrpc.Request, http: HttpRequest | None
) -> ParsedRequest:
    """A JSON-RPC request, from a frame or from the body of a POST, whose query may hold a token."""
    params = request.params
    token = _token(params)
    if token is None and http is not None:
        token = _token_in_query(http)
    return ParsedRequest(stamp, request.method, params, token, http)


def from_query(stamp: jsonrpc.RequestMeta, http: HttpRequest) -> ParsedRequest:
    """An HTTP request whose path names the method and whose query holds the parameters."""
    token = _token_in_query(http)
    return ParsedRequest(stamp, http.method, None, token, http)


def _token_in_query(http: HttpRequest) -> str | None:
    return dict(http.query).get("access_token")


def _token(params: msgspec.Raw) -> str | None:
    """The token that parameters carry, if any."""
    if b'"access_token"' not in bytes(params):
        return None
    try:
        return msgspec.json.decode(params, type=_Token).access_token
    except (msgspec.DecodeError, RecursionError):
        # Whoever brings a token stands on it, also on one that cannot be any: as if it were
        # empty it is refused, rather than let the connection's log-in answer for it.
        return ""
