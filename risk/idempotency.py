"""At most once: a request that carries a key is done once, however often it is sent.

The first outcome is kept under the key and given again to every repetition, on any connection
and after a restart. A refusal is an outcome too, with two exceptions: a request of a session that
had ended, and a request refused with RETRY, were never considered and may come again.

A key is `ACCOUNT:TEXT`. Each account has a table of its own, bounded in number and in bytes, so
that no account can drop the outcomes of another. The operator opens accounts, therefore the
number of accounts times OUTCOME_BYTES bounds all tables together.
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
"""Outcomes kept for one account, the oldest dropped first. A client repeats within seconds of
losing its connection, and at the default limit of 30 orders a second this is half a minute."""

OUTCOME_BYTES: Final = 512 * 1024
"""What the outcomes of one account may take up, keys and tables included: some 600 orders."""

OVERHEAD: Final = 256
"""Bytes counted for each outcome beside its key and its text: two objects and their places."""

LISTED: Final = 10
"""Trades, or cancelled orders, that one outcome keeps: the first ones. One order can make
thousands; a repetition only has to learn that the order was placed, and as what."""

UNDECIDED: Final = 32
"""Requests of one account that may be in progress. Only a large cancel outlasts its entry."""

_Kept = Refused | Ordered | Cancelled | CancelledAll | Done
_decoder: Final = msgspec.json.Decoder(_Kept)


@define(eq=False)
class Outcomes:
    """The first answers to one account's keyed requests: JSON by key, oldest first.

    `size` is what they take up in bytes.
    """

    texts: OrderedDict[str, bytes] = field(factory=OrderedDict)
    size: int = 0

    def keep(self, key: str, text: bytes) -> None:
        """Add the newest, and drop the oldest while there are too many or they are too large."""
        self.texts[key] = text
        self.size += size_of(key, text)
        while len(self.texts) > 1 and (len(self.texts) > OUTCOMES or self.size > OUTCOME_BYTES):
            self.size -= size_of(*self.texts.popitem(last=False))


def repeats(state: State) -> bool:
    """Whether the present command was sent before; then it is answered, and must not be done.

    While the first one is in progress, the repetition is refused with RETRY; so is a new request
    of an account that has too many in progress.
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
    """Keep the outcomes that the present entry brought."""
    for event in state.events:
        if isinstance(event, Answer) and event.origin.key:
            key = event.origin.key
            account = owner(key)
            undecided = state.undecided.get(account)
            if undecided is not None and undecided.get(key) == event.origin:
                del undecided[key]
                if not undecided:
                    del state.undecided[account]
                _keep(state, key, event)


def first_answer(state: State, key: str) -> Answer | None:
    """The first outcome of a request, None where none is known."""
    outcomes = state.outcomes.get(owner(key))
    text = None if outcomes is None else outcomes.texts.get(key)
    return None if text is None else _decoder.decode(text)


def in_progress(state: State, key: str) -> bool:
    """Whether the request is being worked on."""
    return key in state.undecided.get(owner(key), ())


def owner(key: str) -> str:
    """The account whose key it is, as the key writes it; a key without one is the venue's own."""
    account, colon, _ = key.partition(":")
    return account if colon else ""


def kept(state: State) -> list[tuple[str, msgspec.Raw]]:
    """All outcomes for a snapshot: account by account, each account's oldest first."""
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
    """Set what a snapshot kept. Raises msgspec.DecodeError where an outcome is none.

    Snapshots of the first rules list the outcomes of all accounts in one order, whole: they are
    brought within the bounds here.
    """
    for key, raw in outcomes:
        _keep(state, key, _decoder.decode(raw))
    for key, origin in undecided:
        state.undecided.setdefault(owner(key), {})[key] = origin


def _keep(state: State, key: str, answer: Answer) -> None:
    outcomes = state.outcomes.get(owner(key))
    if outcomes is None:
        outcomes = state.outcomes[owner(key)] = Outcomes()
    outcomes.keep(key, msgspec.json.encode(_compact(answer)))


def _compact(answer: Answer) -> Answer:
    """What is kept of an answer: all but most trades, or most orders."""
    if isinstance(answer, Ordered) and len(answer.trades) > LISTED:
        return replace(answer, trades=answer.trades[:LISTED])
    if isinstance(answer, CancelledAll) and len(answer.orders) > LISTED:
        return replace(answer, orders=answer.orders[:LISTED])
    return answer


def size_of(key: str, text: bytes) -> int:
    """What an outcome takes up in bytes."""
    return len(key.encode()) + len(text) + OVERHEAD
