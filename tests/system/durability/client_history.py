"""What clients remember: each request that they sent, and each thing that they were told."""

from __future__ import annotations

from typing import Any

from attrs import define, field

Json = dict[str, Any]


@define(eq=False)
class Request:
    """One sending of a request. `tag` names the request, however often it is sent.

    Orders carry the tag as their label, `keyed` requests as their idempotency key; reads have
    none that the venue would see. Times are this process's monotonic clock; `answered` is None
    while, or because, no answer came. Of an answer it has either the result or an error's code.
    """

    tag: str
    account: str
    method: str
    params: Json
    keyed: bool
    sent: float = 0.0
    answered: float | None = None
    result: Any = None
    error: int | None = None


@define(eq=False)
class Memory:
    """What all clients of all lives of a venue remember.

    `fleeting` are the tags of connections whose orders are to end with them. `never` are tags of
    requests that were not sent to their last byte. `trades` were pushed to the accounts named;
    `books` are the messages of a channel of raw book changes, one list for each subscription.
    """

    requests: list[Request] = field(factory=list)
    fleeting: set[str] = field(factory=set)
    never: set[str] = field(factory=set)
    trades: list[tuple[str, Json]] = field(factory=list)
    books: list[list[Json]] = field(factory=list)
