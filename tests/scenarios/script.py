"""Scenarios as a trader writes them: sentences for what is done, tables for what must then hold.

A line is a step, `ann buys 100 BTC-PERPETUAL at 10000`, and may say what the venue answers,
`=> refused: not_enough_funds`; without that it must not be refused. A line that ends with a colon
names a table; its rows follow, the first one holding the columns. What stands after `#` is for
the reader: mostly the sum that gives the number. `given`, `when`, `then` are for the reader too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import msgspec

from book.order import Side
from book.units import SECOND
from risk.commands import (
    CancelAll,
    ClosePosition,
    Continue,
    EndSession,
    EndSessions,
    Liquidate,
    SetCancelOnDisconnect,
    SetProduct,
    StartSession,
    Withdraw,
)
from risk.risk_terms import LossPolicy
from tests.scenarios.desk import Desk, moment, money, percent, units
from tests.scenarios.tables import TABLES, Row

_LEAD = re.compile(r"^(given|when|then|and|but)\s+")
_WORD = r"[A-Za-z0-9_.-]+"

Act = Callable[..., None]
"""What a sentence does: a function of the desk and the sentence's words, by name."""

_STEPS: list[tuple[re.Pattern[str], Act]] = []


def play(script: str) -> Desk:
    """Run a scenario at a new desk, and replay it at the end; AssertionError names the line."""
    desk = Desk()
    lines = [line.split("#")[0].strip() for line in script.splitlines()]
    at = 0
    while at < len(lines):
        line = _LEAD.sub("", lines[at])
        at += 1
        if line.endswith(":"):
            end = at
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            _check_table(desk, line.removesuffix(":"), [_cells(row) for row in lines[at:end]])
            at = end
        elif line:
            _take(desk, line)
    desk.check_replay()
    return desk


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _check_table(desk: Desk, title: str, lines: list[list[str]]) -> None:
    columns, *cells = lines
    expected: list[Row] = [dict(zip(columns, row, strict=True)) for row in cells]
    shown = TABLES[title](desk, expected)
    actual = [{column: row[column] for column in columns} for row in shown]
    assert expected == actual, f"{title}: the venue shows\n{_written(columns, actual)}"


def _written(columns: list[str], rows: list[Row]) -> str:
    lines = [columns, *([row[title] for title in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _take(desk: Desk, line: str) -> None:
    sentence, _, outcome = (part.strip() for part in line.partition("=>"))
    for pattern, act in _STEPS:
        found = pattern.fullmatch(sentence)
        if found is not None:
            desk.outcome = ""
            act(desk, **found.groupdict())
            if outcome:
                assert outcome == desk.outcome, line
            assert outcome or not desk.outcome.startswith("refused"), f"{line}: {desk.outcome}"
            return
    raise AssertionError(f"nobody knows how to: {sentence}")


def _step(sentence: str) -> Callable[[Act], Act]:
    """Teach a sentence; `{name}` is one word that the function gets under that name."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", rf"(?P<\1>{_WORD})", sentence))

    def learn(act: Act) -> Act:
        _STEPS.append((pattern, act))
        return act

    return learn


@_step("(the )?{who} has {amount} {currency}")
def _endow(desk: Desk, who: str, amount: str, currency: str) -> None:
    desk.endow(who, amount, currency)


@_step("{who} withdraws {amount} {currency}")
def _withdraw(desk: Desk, who: str, amount: str, currency: str) -> None:
    desk.do(Withdraw(account=desk.people[who], currency=currency, amount=money(amount)))


@_step(r"(?P<index>[a-z]+_[a-z]+) is {price}")
def _index(desk: Desk, index: str, price: str) -> None:
    desk.venue.prices[index] = units(price)
    desk.tick()


@_step(r"{count} (?P<unit>second|minute|hour|day)s? (pass|passes)")
def _pass(desk: Desk, count: str, unit: str) -> None:
    desk.venue.time += timedelta(**{f"{unit}s": int(count)}) // timedelta(milliseconds=1)
    desk.tick()


@_step(r"a second later (?P<index>[a-z]+_[a-z]+) is {price}")
def _move(desk: Desk, index: str, price: str) -> None:
    desk.venue.time += SECOND
    _index(desk, index, price)


@_step(r"the clock shows (?P<day>[-0-9]+ [:0-9]+)")
def _clock(desk: Desk, day: str) -> None:
    assert desk.venue.time <= moment(day), "time goes one way"
    desk.venue.time = moment(day)


@_step("the heart beats")
def _beat(desk: Desk) -> None:
    desk.tick()


@_step("{index} is not heard of")
def _silence(desk: Desk, index: str) -> None:
    """Later heartbeats come without this price."""
    del desk.venue.prices[index]


@_step(r"{who} (?P<side>buy|sell)s {amount} {instrument} at {price}(?P<terms>( [a-z][-a-z0-9]*)*)")
def _order(
    desk: Desk, who: str, side: str, amount: str, instrument: str, price: str, terms: str
) -> None:
    desk.order(who, Side(side), amount, instrument, price, terms)


@_step("{who} buys {amount} {instrument} from {other} at {price}")
def _trade(desk: Desk, who: str, amount: str, instrument: str, other: str, price: str) -> None:
    """The seller's order rests, the buyer takes it."""
    desk.order(other, Side.SELL, amount, instrument, price)
    assert desk.outcome == "open, 0 filled", f"the seller: {desk.outcome}"
    desk.order(who, Side.BUY, amount, instrument, price)
    assert desk.outcome == f"filled, {amount} filled", f"the buyer: {desk.outcome}"


@_step(r"{who} (?P<side>buy|sell)s {amount} {instrument} at {price} {count} times")
def _orders(
    desk: Desk, who: str, side: str, amount: str, instrument: str, price: str, count: str
) -> None:
    for _ in range(int(count)):
        desk.order(who, Side(side), amount, instrument, price)
        assert not desk.outcome.startswith("refused"), desk.outcome


@_step("{who} closes {instrument}")
def _close(desk: Desk, who: str, instrument: str) -> None:
    desk.do(ClosePosition(account=desk.people[who], instrument=instrument))


@_step("{who} cancels all")
def _cancel_all(desk: Desk, who: str) -> None:
    """Over as many entries as it takes; the answer comes with the last."""
    desk.do(CancelAll(account=desk.people[who]))


@_step("session {number} of {who} starts")
def _start(desk: Desk, number: str, who: str) -> None:
    desk.do(StartSession(session=int(number), account=desk.people[who]))


@_step("all sessions below {number} end")
def _end_all(desk: Desk, number: str) -> None:
    """A process has started anew."""
    desk.do(EndSessions(before=int(number)))


@_step("session {number} of {who} cancels on disconnect")
def _guard(desk: Desk, number: str, who: str) -> None:
    desk.do(SetCancelOnDisconnect(account=desk.people[who], session=int(number), enabled=True))


@_step("session {number} (?P<how>ends|logs out)")
def _end(desk: Desk, number: str, how: str) -> None:
    desk.do(EndSession(session=int(number), quietly=how == "logs out"))


@_step("a slice is {size}")
def _slice(desk: Desk, size: str) -> None:
    desk.rules(slice=int(size))


@_step("losses are {policy}")
def _policy(desk: Desk, policy: str) -> None:
    policies = {"deleveraged": LossPolicy.DELEVERAGE, "socialised": LossPolicy.SOCIALISE}
    desk.rules(loss_policy=policies[policy])


@_step("the dampener of {instrument} is {rate} %")
def _dampener(desk: Desk, instrument: str, rate: str) -> None:
    _retune(desk, instrument, funding_dampener=percent(rate))


@_step("the mark of {instrument} may stray {rate} % from its index")
def _mark_band(desk: Desk, instrument: str, rate: str) -> None:
    _retune(desk, instrument, mark_band_rate=percent(rate))


def _retune(desk: Desk, instrument: str, **changes: int) -> None:
    market = desk.market(instrument)
    terms = msgspec.structs.replace(market.terms, **changes)
    desk.do(SetProduct(contract=market.instrument.contract, terms=terms))


@_step("{count} more (entry comes|entries come)")
def _continue(desk: Desk, count: str) -> None:
    """Entries of no effect of their own: each takes a slice of the work in progress."""
    for _ in range(int(count)):
        desk.do(Continue())


@_step("all work is done")
def _work(desk: Desk) -> None:
    desk.work()


@_step("work is left")
def _busy(desk: Desk) -> None:
    assert desk.venue.exchange.busy, "nothing is left to do"


@_step("the supervisor liquidates")
def _liquidate(desk: Desk) -> None:
    desk.liquidate()


@_step("{count} times a second passes and the supervisor liquidates")
def _rounds(desk: Desk, count: str) -> None:
    for _ in range(int(count)):
        desk.venue.time += SECOND
        desk.tick()
        desk.liquidate()


@_step("{who} is liquidated in {currency}")
def _round(desk: Desk, who: str, currency: str) -> None:
    desk.do(Liquidate(account=desk.people[who], currency=currency))


@_step("the house is in order")
def _in_order(desk: Desk) -> None:
    desk.check_house()
