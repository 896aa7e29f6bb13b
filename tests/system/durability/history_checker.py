"""The judgement: whether one order, that of the log, explains everything that clients remember.

The log is replayed from its first entry, and what the replay says is compared with what clients
were told. All of it takes time in proportion to entries and requests (but for their sorting).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from book.order import Side
from gateway.log.replayer import LogReplayer
from risk.commands import Cancel, CancelAll, Edit, EndSessions, Entry, Origin, Place
from risk.events import (
    Answer,
    BookChanged,
    Event,
    OrderChanged,
    PositionChanged,
    Refused,
    Traded,
    WalletChanged,
)
from risk.reasons import Reason
from tests.system.durability import views
from tests.system.durability.client_history import Json, Memory, Request
from tests.system.durability.replay import steps
from tests.system.durability.workload import BTC, READS

_ASKED: Final = (Place, Edit, Cancel, CancelAll)

NOT_NOW: Final = {10040, 10047, 11051, 13028}
"""Answers by which a request has not been decided: sent again, it may yet be."""

_UNHEARD: Final = {Reason.SESSION_ENDED, Reason.RETRY}


@define(eq=False)
class Outcome:
    """What the log says of a request: where it was applied, and what the reply must be."""

    sequence: int
    refused: bool
    result: Any


@define(eq=False)
class Verdict:
    """What was found. `anomalies` are sentences; the rest are counts, and the end's digest.

    `unanswered` requests had no answer, and `applied` of those took effect all the same, which
    is as good as not.
    """

    anomalies: list[str] = field(factory=list)
    entries: int = 0
    starts: int = 0
    requests: int = 0
    acknowledged: int = 0
    unanswered: int = 0
    applied: int = 0
    repeats: int = 0
    reads: int = 0
    trades: int = 0
    books: int = 0
    digest: str = ""

    def __str__(self) -> str:
        """In one line."""
        return (
            f"{self.entries} entries of {self.starts} starts; {self.requests} requests,"
            f" {self.acknowledged} acknowledged, {self.unanswered} unanswered ({self.applied} of"
            f" them applied), {self.repeats} repeated; {self.reads} reads, {self.trades} trades"
            f" and {self.books} book changes as told; {len(self.anomalies)} anomalies"
        )


def judge(data_dir: Path, memory: Memory) -> Verdict:
    """Replay the log and compare."""
    return _Judge(memory).judge(data_dir)


@define(eq=False)
class _Judge:
    memory: Memory
    verdict: Verdict = field(factory=Verdict)
    replay: LogReplayer = field(factory=LogReplayer)
    sent: dict[str, list[Request]] = field(factory=dict)
    tags: dict[Origin, str] = field(factory=dict)
    outcomes: dict[str, Outcome] = field(factory=dict)
    orders: dict[str, int] = field(factory=dict)
    trades: dict[tuple[int, str], Json] = field(factory=dict)
    versions: dict[tuple[str, str], tuple[list[int], list[Any]]] = field(factory=dict)
    changed: dict[int, BookChanged] = field(factory=dict)
    books: dict[int, tuple[list[Any], list[Any]]] = field(factory=dict)

    def judge(self, data_dir: Path) -> Verdict:
        """Walk through the log, then through each kind of memory."""
        for request in self.memory.requests:
            if request.method not in READS:
                self.sent.setdefault(request.tag, []).append(request)
        wanted = {told[0]["change_id"] for told in self.memory.books if told}
        resting: dict[str, bool] = {}
        for entry, events in steps(data_dir, self.replay):
            self._asked(entry)
            for event in events:
                self._happened(entry, event)
            self._version(entry, events)
            if entry.sequence in wanted:
                state = self.replay.exchange.state
                self.books[entry.sequence] = (
                    views.levels(state, Side.BUY),
                    views.levels(state, Side.SELL),
                )
            if isinstance(entry.command, EndSessions):
                self._ended(entry, resting)
            resting = self._resting()
            self.verdict.entries += 1
        self.replay.exchange.check()
        self.verdict.digest = self.replay.exchange.digest()
        self._judge_requests()
        self._judge_order()
        self._judge_reads()
        self._judge_trades()
        for told in self.memory.books:
            self._judge_book(told)
        return self.verdict

    def _wrong(self, sentence: str) -> None:
        self.verdict.anomalies.append(sentence)

    # Through the log

    def _asked(self, entry: Entry) -> None:
        """Every request in the log is one that somebody sent."""
        command = entry.command
        if not isinstance(command, _ASKED):
            return
        label = command.label if isinstance(command, Place) else ""
        tag = entry.origin.key.partition(":")[2] or label
        if tag not in self.sent:
            how = "was never sent whole" if tag in self.memory.never else "nobody sent"
            self._wrong(f"entry {entry.sequence} holds a request that {how}: {entry}")
        elif not _same(command, self.sent[tag][0]):
            self._wrong(f"entry {entry.sequence} is not what was sent: {entry}")
        self.tags[entry.origin] = tag

    def _happened(self, entry: Entry, event: Event) -> None:
        state = self.replay.exchange.state
        match event:
            case Answer(origin=origin) if origin in self.tags:
                self._answered(entry.sequence, self.tags[origin], event)
            case OrderChanged(order=order) if order.label:
                first = self.orders.setdefault(order.label, order.order_id)
                if order.order_id != first:
                    self._wrong(f"{order.label} was applied twice: orders {first} and {order}")
            case Traded():
                self.trades |= views.own_trades(state, event)
            case BookChanged(instrument=name) if name == BTC:
                self.changed[entry.sequence] = event

    def _answered(self, sequence: int, tag: str, answer: Answer) -> None:
        refused = isinstance(answer, Refused)
        if isinstance(answer, Refused) and answer.reason in _UNHEARD:
            return
        told = None if refused else views.result(self.replay.exchange.state, answer)
        outcome = Outcome(sequence, refused, told)
        first = self.outcomes.setdefault(tag, outcome)
        if (first.refused, first.result) != (refused, told):
            self._wrong(f"{tag} has two outcomes: {first} and {outcome}")

    def _version(self, entry: Entry, events: Sequence[Event]) -> None:
        """Keep what reads of an account would say from this entry on."""
        state = self.replay.exchange.state
        touched = set()
        for event in events:
            match event:
                case OrderChanged(order=order):
                    touched.add(order.account)
                case PositionChanged(account=account) | WalletChanged(account=account):
                    touched.add(account)
        for number in touched:
            name = state.accounts[number].name
            if number > 100 and BTC in state.markets:
                for method, told in views.reads(state, number).items():
                    when, what = self.versions.setdefault((name, method), ([], []))
                    if not what or what[-1] != told:
                        when.append(entry.sequence)
                        what.append(told)

    def _resting(self) -> dict[str, bool]:
        accounts = self.replay.exchange.state.accounts.values()
        return {order.label: True for account in accounts for order in account.orders.values()}

    def _ended(self, entry: Entry, before: dict[str, bool]) -> None:
        """A start ends the orders that were to go with their connections, and no others."""
        self.verdict.starts += 1
        after = self._resting()
        for tag in before:
            if (tag in after) == (tag in self.memory.fleeting):
                what = "rests although its connection is gone" if tag in after else "is gone"
                self._wrong(f"after the start at entry {entry.sequence} {tag} {what}")

    # Through the memories

    def _judge_requests(self) -> None:
        """What was acknowledged is in the log, as it was told; no answer means either."""
        for tag, requests in self.sent.items():
            outcome = self.outcomes.get(tag)
            self.verdict.requests += 1
            self.verdict.repeats += len(requests) - 1
            answers = [request for request in requests if request.answered is not None]
            if answers:
                self.verdict.acknowledged += 1
            else:
                self.verdict.unanswered += 1
                self.verdict.applied += outcome is not None and not outcome.refused
            for request in answers:
                if request.error is not None:
                    happened = outcome is not None and not outcome.refused
                    if happened and request.error not in NOT_NOW:
                        self._wrong(f"{tag} was refused ({request.error}), and done: {outcome}")
                elif outcome is None:
                    self._wrong(f"{tag} was acknowledged, and is lost: {request}")
                elif outcome.refused or outcome.result != request.result:
                    self._wrong(f"{tag} was answered otherwise: {request} is not {outcome}")

    def _judge_order(self) -> None:
        """Nothing that was answered before another was sent comes after it in the log."""
        latest, latest_tag = 0.0, ""
        for tag, outcome in sorted(self.outcomes.items(), key=lambda each: each[1].sequence):
            if tag not in self.sent:
                continue
            sent, answered = _interval(self.sent[tag])
            if answered is not None and answered < latest:
                self._wrong(
                    f"{tag} was answered before {latest_tag} was sent, and follows it in the log"
                    f" (entry {outcome.sequence})"
                )
            if sent > latest:
                latest, latest_tag = sent, tag

    def _judge_reads(self) -> None:
        """A read sees all that was answered before it was sent, and nothing sent after it."""
        heard, sent = [], []
        for tag, outcome in self.outcomes.items():
            if tag in self.sent:
                began, answered = _interval(self.sent[tag])
                sent.append((began, outcome.sequence))
                if answered is not None:
                    heard.append((answered, outcome.sequence))
        heard.sort()
        sent.sort(reverse=True)
        seen = _running(heard, max)
        unseen = _running(sent, min)
        for request in self.memory.requests:
            if request.method not in READS or request.answered is None or request.error:
                continue
            self.verdict.reads += 1
            known = bisect_left(heard, (request.sent,))
            later = bisect_left(sent, -request.answered, key=lambda each: -each[0])
            first = seen[known - 1] if known else 0
            last = unseen[later - 1] - 1 if later else self.verdict.entries
            self._judge_read(request, first, last)

    def _judge_read(self, request: Request, first: int, last: int) -> None:
        told = views.read(request.method, request.result)
        when, what = self.versions[request.account, request.method]
        begin, end = max(bisect_right(when, first) - 1, 0), bisect_right(when, last)
        if told not in what[begin:end]:
            self._wrong(
                f"{request.method} of {request.account} told what was at no time between entries"
                f" {first} and {last}: {told}"
            )

    def _judge_trades(self) -> None:
        """Every trade that was told has happened, just so."""
        numbers = {a.name: n for n, a in self.replay.exchange.state.accounts.items()}
        for name, told in self.memory.trades:
            self.verdict.trades += 1
            happened = self.trades.get((numbers[name], told["trade_id"]))
            if happened != told:
                self._wrong(f"{name} was told of a trade {told}, and there is {happened}")

    def _judge_book(self, told: list[Json]) -> None:
        """A snapshot, then every change of the book with the entry that made it, and no other."""
        if not told:
            return
        first = told[0]
        book = self.books.get(first["change_id"])
        if first["type"] != "snapshot" or book != (sorted(first["bids"]), sorted(first["asks"])):
            self._wrong(f"there was no such book: {first} is not {book}")
        made = sorted(self.changed)
        for before, change in pairwise(told):
            self.verdict.books += 1
            low, sequence = before["change_id"], change["change_id"]
            event = self.changed.get(sequence)
            between = bisect_left(made, sequence) - bisect_right(made, low)
            if event is None or between or change["prev_change_id"] != low:
                self._wrong(f"no entry made this change alone, after {low}: {change}")
            elif (sorted(change["bids"]), sorted(change["asks"])) != (
                views.changes(event.changes, Side.BUY),
                views.changes(event.changes, Side.SELL),
            ):
                self._wrong(f"entry {sequence} made another change: {change} is not {event}")


def _same(command: Any, request: Request) -> bool:
    """Whether a command is that request."""
    params, scale = request.params, 10**8
    match command:
        case Place(side=side, amount=amount, price=price):
            wanted = Side.BUY if request.method == "private/buy" else Side.SELL
            limit = round(params["price"] * scale) if "price" in params else price
            return (side, amount, price) == (wanted, params["amount"] * scale, limit)
        case Edit(order_id=number, amount=amount, price=price):
            return (str(number), amount, price) == (
                params["order_id"],
                params["amount"] * scale,
                round(params["price"] * scale),
            )
        case Cancel(order_id=number):
            return request.method == "private/cancel" and str(number) == params["order_id"]
    return request.method == "private/cancel_all"


def _interval(requests: Sequence[Request]) -> tuple[float, float | None]:
    """From the first sending to the first answer that decides."""
    answers = [
        request.answered
        for request in requests
        if request.answered is not None and request.error not in NOT_NOW
    ]
    return min(request.sent for request in requests), min(answers, default=None)


def _running(pairs: Sequence[tuple[float, int]], choose: Any) -> list[int]:
    found: list[int] = []
    for _, number in pairs:
        found.append(choose(found[-1], number) if found else number)
    return found
