"""`tidegate demo` as a user meets it: the printed snippet, a shock, a cascade, Ctrl-C."""

from __future__ import annotations

import textwrap

import pytest

from tests.system.process import READY
from tests.system.program import demo, shock

STOP_SECONDS = 2


def test_a_stranger_trades_and_watches_a_cascade(capsys: pytest.CaptureFixture[str]) -> None:
    """The snippet works as printed, a shock liquidates gamblers, Ctrl-C ends it all in time."""
    with demo() as running:
        assert READY.fullmatch(running.wait_for(r"tidegate ready .*\n").string)
        running.wait_for("Drop the market")
        snippet = textwrap.dedent(
            "".join(line for line in running.lines if line.startswith("    ") or line == "\n")
        )
        assert "import ccxt" in snippet
        running.wait_for(r"trades [1-9]")

        # In this process, where ccxt is imported but once.
        exec(snippet, {})
        output = capsys.readouterr().out
        assert "'status': 'closed'" in output
        assert "'symbol': 'BTC/USD:BTC'" in output

        assert "btc_usd 5" in shock(running, "-20%")
        running.wait_for(r"liquidation: demo\.gambler\d+ (taken over|reduced) [\d,]+ [A-Z]+-PERP")
        running.wait_for(r"ETH-PERPETUAL 2,")
        assert running.interrupt() < STOP_SECONDS
