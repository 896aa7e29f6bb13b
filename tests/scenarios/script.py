"""Scenarios as text: sentences for the commands, tables for the expected results.

A line is a step such as `ann buys 100 BTC-PERPETUAL at 10000`. It may state the answer of the
venue, `=> refused: not_enough_funds`; without one it must not be refused. A line that ends with a
colon names a table; its rows follow, column titles first. Text after `#` is a comment, mostly the
calculation of a number. The words `given`, `when` and `then` are ignored.
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
from tests.scenarios.scenario import Scenario, milliseconds, money, percent, units
from tests.scenarios.tables import TABLES, Row

_LEAD = re.compile(r"^(given|when|then|and|but)\s+")
_WORD = r"[A-Za-z0-9_.-]+"

Act = Callable[..., None]
"""What a sentence does: a function of the scenario and the sentence's words, by name."""

_STEPS: list[tuple[re.Pattern[str], Act]] = []


def run_scenario(script: str) -> Scenario:
    """Run a scenario and replay it at the end; an AssertionError names the failing line."""
    scenario = Scenario()
    lines = [line.split("#")[0].strip() for line in script.splitlines()]
    at = 0
    while at < len(lines):
        line = _LEAD.sub("", lines[at])
        at += 1
        if line.endswith(":"):
            end = at
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            _check_table(scenario, line.removesuffix(":"), [_cells(row) for row in lines[at:end]])
            at = end
        elif line:
            _run_step(scenario, line)
    scenario.check_replay()
    return scenario


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _check_table(scenario: Scenario, title: str, lines: list[list[str]]) -> None:
    columns, *cells = lines
    expected: list[Row] = [dict(zip(columns, row, strict=True)) for row in cells]
    shown = TABLES[title](scenario, expected)
    actual = [{column: row[column] for column in columns} for row in shown]
    assert expected == actual, f"{title}: the venue shows\n{_written(columns, actual)}"


def _written(columns: list[str], rows: list[Row]) -> str:
    lines = [columns, *([row[title] for title in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _run_step(scenario: Scenario, line: str) -> None:
    sentence, _, outcome = (part.strip() for part in line.partition("=>"))
    for pattern, act in _STEPS:
        found = pattern.fullmatch(sentence)
        if found is not None:
            scenario.outcome = ""
            act(scenario, **found.groupdict())
            if outcome:
                assert outcome == scenario.outcome, line
            assert outcome or not scenario.outcome.startswith("refused"), (
                f"{line}: {scenario.outcome}"
            )
            return
    raise AssertionError(f"unknown step: {sentence}")


def _step(sentence: str) -> Callable[[Act], Act]:
    """Register a sentence; `{name}` stands for one word, passed to the function by that name."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", rf"(?P<\1>{_WORD})", sentence))

    def learn(act: Act) -> Act:
        _STEPS.append((pattern, act))
        return act

    return learn


@_step("(the )?{account} has {amount} {currency}")
def _deposit(scenario: Scenario, account: str, amount: str, currency: str) -> None:
    scenario.deposit(account, amount, currency)


@_step("{account} withdraws {amount} {currency}")
def _withdraw(scenario: Scenario, account: str, amount: str, currency: str) -> None:
    scenario.do(
        Withdraw(account=scenario.accounts[account], currency=currency, amount=money(amount))
    )


@_step(r"(?P<index>[a-z]+_[a-z]+) is {price}")
def _index(scenario: Scenario, index: str, price: str) -> None:
    scenario.venue.prices[index] = units(price)
    scenario.tick()


@_step(r"{count} (?P<unit>second|minute|hour|day)s? (pass|passes)")
def _pass(scenario: Scenario, count: str, unit: str) -> None:
    scenario.venue.time += timedelta(**{f"{unit}s": int(count)}) // timedelta(milliseconds=1)
    scenario.tick()


@_step(r"a second later (?P<index>[a-z]+_[a-z]+) is {price}")
def _next_index(scenario: Scenario, index: str, price: str) -> None:
    scenario.venue.time += SECOND
    _index(scenario, index, price)


@_step(r"the clock shows (?P<day>[-0-9]+ [:0-9]+)")
def _clock(scenario: Scenario, day: str) -> None:
    assert scenario.venue.time <= milliseconds(day), "time goes one way"
    scenario.venue.time = milliseconds(day)


@_step("a heartbeat arrives")
def _heartbeat(scenario: Scenario) -> None:
    scenario.tick()


@_step("{index} has no more prices")
def _stop_prices(scenario: Scenario, index: str) -> None:
    """Omit this price from later heartbeats."""
    del scenario.venue.prices[index]


@_step(
    r"{account} (?P<side>buy|sell)s {amount} {instrument} at {price}(?P<terms>( [a-z][-a-z0-9]*)*)"
)
def _order(
    scenario: Scenario,
    account: str,
    side: str,
    amount: str,
    instrument: str,
    price: str,
    terms: str,
) -> None:
    scenario.order(account, Side(side), amount, instrument, price, terms)


@_step("{account} buys {amount} {instrument} from {other} at {price}")
def _trade(
    scenario: Scenario, account: str, amount: str, instrument: str, other: str, price: str
) -> None:
    """The seller's order rests, then the buyer's order takes it."""
    scenario.order(other, Side.SELL, amount, instrument, price)
    assert scenario.outcome == "open, 0 filled", f"the seller: {scenario.outcome}"
    scenario.order(account, Side.BUY, amount, instrument, price)
    assert scenario.outcome == f"filled, {amount} filled", f"the buyer: {scenario.outcome}"


@_step(r"{account} (?P<side>buy|sell)s {amount} {instrument} at {price} {count} times")
def _orders(
    scenario: Scenario,
    account: str,
    side: str,
    amount: str,
    instrument: str,
    price: str,
    count: str,
) -> None:
    for _ in range(int(count)):
        scenario.order(account, Side(side), amount, instrument, price)
        assert not scenario.outcome.startswith("refused"), scenario.outcome


@_step("{account} closes {instrument}")
def _close(scenario: Scenario, account: str, instrument: str) -> None:
    scenario.do(ClosePosition(account=scenario.accounts[account], instrument=instrument))


@_step("{account} cancels all")
def _cancel_all(scenario: Scenario, account: str) -> None:
    """This may take many entries; the answer comes with the last."""
    scenario.do(CancelAll(account=scenario.accounts[account]))


@_step("session {number} of {account} starts")
def _start(scenario: Scenario, number: str, account: str) -> None:
    scenario.do(StartSession(session=int(number), account=scenario.accounts[account]))


@_step("all sessions below {number} end")
def _end_all(scenario: Scenario, number: str) -> None:
    """As after a restart of the process."""
    scenario.do(EndSessions(before=int(number)))


@_step("session {number} of {account} cancels on disconnect")
def _cancel_on_disconnect(scenario: Scenario, number: str, account: str) -> None:
    scenario.do(
        SetCancelOnDisconnect(account=scenario.accounts[account], session=int(number), enabled=True)
    )


@_step("session {number} (?P<how>ends|logs out)")
def _end(scenario: Scenario, number: str, how: str) -> None:
    scenario.do(EndSession(session=int(number), quietly=how == "logs out"))


@_step("a slice is {size}")
def _slice(scenario: Scenario, size: str) -> None:
    scenario.set_parameters(slice=int(size))


@_step("losses are {policy}")
def _policy(scenario: Scenario, policy: str) -> None:
    policies = {"deleveraged": LossPolicy.DELEVERAGE, "socialised": LossPolicy.SOCIALISE}
    scenario.set_parameters(loss_policy=policies[policy])


@_step("the dampener of {instrument} is {rate} %")
def _dampener(scenario: Scenario, instrument: str, rate: str) -> None:
    _change_terms(scenario, instrument, funding_dampener=percent(rate))


@_step("the mark of {instrument} may stray {rate} % from its index")
def _mark_band(scenario: Scenario, instrument: str, rate: str) -> None:
    _change_terms(scenario, instrument, mark_band_rate=percent(rate))


def _change_terms(scenario: Scenario, instrument: str, **changes: int) -> None:
    market = scenario.market(instrument)
    terms = msgspec.structs.replace(market.terms, **changes)
    scenario.do(SetProduct(contract=market.instrument.contract, terms=terms))


@_step("{count} more (entry comes|entries come)")
def _continue(scenario: Scenario, count: str) -> None:
    """Send entries without an effect of their own: each advances the work in progress."""
    for _ in range(int(count)):
        scenario.do(Continue())


@_step("all work is finished")
def _work(scenario: Scenario) -> None:
    scenario.finish_work()


@_step("work is in progress")
def _in_progress(scenario: Scenario) -> None:
    assert scenario.venue.exchange.busy, "no work is in progress"


@_step("the supervisor liquidates")
def _liquidate(scenario: Scenario) -> None:
    scenario.liquidate()


@_step("{count} times a second passes and the supervisor liquidates")
def _rounds(scenario: Scenario, count: str) -> None:
    for _ in range(int(count)):
        scenario.venue.time += SECOND
        scenario.tick()
        scenario.liquidate()


@_step("{account} is liquidated in {currency}")
def _round(scenario: Scenario, account: str, currency: str) -> None:
    scenario.do(Liquidate(account=scenario.accounts[account], currency=currency))


@_step("all accounts are sound")
def _solvent(scenario: Scenario) -> None:
    scenario.check_solvency()
