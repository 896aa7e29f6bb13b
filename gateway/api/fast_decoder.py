"""The hot path of parsing: envelope and parameters are decoded in one step, by method name.

Nearly every request is well formed and names a known method; decoding it this way takes half the
time. For any other frame the decoder returns None, and `gateway.protocol.jsonrpc.decode` and
`gateway.api.request` parse it in several steps, which find out what is wrong with it. A test
compares the two ways.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from functools import reduce
from operator import or_
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from gateway.api.registry import Method, Params
from gateway.api.request import ParsedRequest

_EXACT: Final = 2**53
# The decoder is not strict, so that without float in the union it would read the id 1.0 as 1.
_Id = Annotated[int, Meta(ge=-_EXACT, le=_EXACT)] | float | str


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    """Base of the envelope types: there is one for each method, tagged with the method's name."""

    method: ClassVar[Method]
    params: Params
    id: int | str = ""


class FastDecoder:
    """Decodes requests of those of the given methods whose parameters are Params."""

    def __init__(self, methods: Iterable[Method]) -> None:
        types: list[Any] = [_envelope(each) for each in methods if issubclass(each.params, Params)]
        decoder: msgspec.json.Decoder[_Envelope] = msgspec.json.Decoder(
            reduce(or_, types), strict=False, float_hook=Decimal
        )
        self._decode = decoder.decode

    def decode(self, frame: bytes | str, limit: int) -> ParsedRequest | None:
        """Return a request with an id and of at most `limit` bytes, None for any other frame.

        None does not mean that the frame is malformed: text beyond ASCII, for instance, is left to
        the slow path, which counts its bytes.
        """
        if len(frame) > limit or not frame.isascii():
            return None
        try:
            envelope = self._decode(frame)
        except (msgspec.DecodeError, RecursionError, InvalidOperation):
            return None
        identity, params = envelope.id, envelope.params
        # An id of 0 or "" cannot be told from none here, and a float has to be echoed as written.
        if not identity or type(identity) is float:
            return None
        return ParsedRequest(identity, envelope.method, params.access_token, params)


def _envelope(method: Method) -> type[_Envelope]:
    envelope = msgspec.defstruct(
        method.name,
        [("params", method.params), ("id", _Id, "")],
        bases=(_Envelope,),
        namespace={"method": method},
        frozen=True,
        gc=False,
        tag_field="method",
        tag=method.name,
    )
    assert issubclass(envelope, _Envelope)
    return envelope
