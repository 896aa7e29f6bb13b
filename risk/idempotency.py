"""Idempotency: a request with a key is applied at most once, however often it is sent.

The first answer is stored under the key and repeated for every repetition of the request, on any
connection and after a restart. A refusal is stored too, except in two cases: a request of a
session that had ended and a request refused with RETRY were not considered and may be sent again.

A key is `ACCOUNT:TEXT`. Each account has its own table, limited in number and in bytes, so that
no account can displace the outcomes of another. Only the operator opens accounts, so the number
of accounts times OUTCOME_BYTES limits the memory of all tables.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec
from attrs import define, field
from msgspec.structs import replace

from risk.commands import Origin
from risk.events import Answer, Cancelled, CancelledAll, Done, Ordered, Refused
from risk.reasons import Reason

if TYPE_CHECKING:
    from risk.state import State

OUTCOMES: Final = 1_000
"""Maximum number of outcomes per account; the oldest is dropped first. A client repeats a request
within seconds of losing its connection; at the default limit of 30 orders a second, this covers
half a minute."""

OUTCOME_BYTES: Final = 512 * 1024
"""Maximum size of the outcomes of one account, including keys and tables: some 600 orders."""

OVERHEAD: Final = 256
"""Bytes counted per outcome in addition to key and text: two objects and their table entries."""

LISTED: Final = 10
"""Maximum number of trades or cancelled orders stored in one outcome: the first ones. One order
can cause thousands of trades; a repetition only needs to know which order was placed."""

UNDECIDED: Final = 32
"""Maximum number of requests in progress per account. Only a large cancel outlasts its entry."""

_StoredAnswer = Refused | Ordered | Cancelled | CancelledAll | Done
_decoder: Final = msgspec.json.Decoder(_StoredAnswer)


@define(eq=False)
class Outcomes:
    """The first answers to one account's keyed requests: JSON by key, oldest first.

    `size` is their total size in bytes.
    """

    texts: OrderedDict[str, bytes] = field(factory=OrderedDict)
    size: int = 0

    def add(self, key: str, text: bytes) -> None:
        """Add an outcome, then drop the oldest ones while a limit is exceeded."""
        self.texts[key] = text
        self.size += size_of(key, text)
        while len(self.texts) > 1 and (len(self.texts) > OUTCOMES or self.size > OUTCOME_BYTES):
            self.size -= size_of(*self.texts.popitem(last=False))


def repeats(state: State) -> bool:
    """Return whether the current command is a repetition, which this answers.

    The caller must not apply a repetition. While the first request is in progress, its repetition
    is refused with RETRY, and so is a new request of an account with too many in progress.
    """
    key = state.origin.key
    if not key:
        return False
    answer = first_answer(state, key)
    if answer is not None:
        state.emit(replace(answer, origin=state.origin))
        return True
    undecided = state.undecided.setdefault(owner(key), {})
    if key in undecided or len(undecided) >= UNDECIDED:
        state.refuse(Reason.RETRY)
        return True
    undecided[key] = state.origin
    return False


def remember(state: State) -> None:
    """Store the answers to keyed requests among the events of the current entry."""
    for event in state.events:
        if isinstance(event, Answer) and event.origin.key:
            key = event.origin.key
            account = owner(key)
            undecided = state.undecided.get(account)
            if undecided is not None and undecided.get(key) == event.origin:
                del undecided[key]
                if not undecided:
                    del state.undecided[account]
                _store(state, key, event)


def first_answer(state: State, key: str) -> Answer | None:
    """Return the first answer to a request, or None if none is stored."""
    outcomes = state.outcomes.get(owner(key))
    text = None if outcomes is None else outcomes.texts.get(key)
    return None if text is None else _decoder.decode(text)


def in_progress(state: State, key: str) -> bool:
    """Return whether the request is in progress."""
    return key in state.undecided.get(owner(key), ())


def owner(key: str) -> str:
    """Return the account part of a key, or the empty string for a key of the venue itself."""
    account, colon, _ = key.partition(":")
    return account if colon else ""


def dump(state: State) -> list[tuple[str, msgspec.Raw]]:
    """Return all outcomes for a snapshot: account by account, the oldest of each first."""
    return [
        (key, msgspec.Raw(text))
        for outcomes in state.outcomes.values()
        for key, text in outcomes.texts.items()
    ]


def restore(
    state: State,
    outcomes: Iterable[tuple[str, msgspec.Raw]],
    undecided: Iterable[tuple[str, Origin]],
) -> None:
    """Restore the tables from a snapshot. Raise msgspec.DecodeError for an invalid outcome.

    Snapshots of rules version 1 contain the complete outcomes of all accounts in one order; the
    limits are applied here.
    """
    for key, raw in outcomes:
        _store(state, key, _decoder.decode(raw))
    for key, origin in undecided:
        state.undecided.setdefault(owner(key), {})[key] = origin


def _store(state: State, key: str, answer: Answer) -> None:
    outcomes = state.outcomes.get(owner(key))
    if outcomes is None:
        outcomes = state.outcomes[owner(key)] = Outcomes()
    outcomes.add(key, msgspec.json.encode(_compact(answer)))


def _compact(answer: Answer) -> Answer:
    """Limit the trades or orders of an answer to LISTED."""
    if isinstance(answer, Ordered) and len(answer.trades) > LISTED:
        return replace(answer, trades=answer.trades[:LISTED])
    if isinstance(answer, CancelledAll) and len(answer.orders) > LISTED:
        return replace(answer, orders=answer.orders[:LISTED])
    return answer


def size_of(key: str, text: bytes) -> int:
    """Return the size of an outcome in bytes."""
    return len(key.encode()) + len(text) + OVERHEAD
