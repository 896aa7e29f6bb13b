"""Late heartbeats or prices: only requests that reduce risk are accepted."""

from tests.scenarios.script import run_scenario


def test_an_index_without_prices_stops_new_risk_in_its_markets() -> None:
    """After five seconds only cancels and reducing orders pass; other indices are unaffected."""
    run_scenario("""
    given btc_usd is 10000
    and eth_usd is 1000
    and ann has 1 BTC
    and bob has 1 BTC
    and ann has 10 ETH
    and ann buys 100 BTC-PERPETUAL from bob at 10000
    and bob buys 100 BTC-PERPETUAL at 9990
    and btc_usd has no more prices
    when 5 seconds pass
    and ann buys 10 BTC-PERPETUAL at 9980  => open, 0 filled
    and 1 second passes
    and ann buys 10 BTC-PERPETUAL at 9980  => refused: temporarily_unavailable
    and bob sells 10 BTC-PERPETUAL at 9990 => refused: temporarily_unavailable
    and ann buys 10 ETH-PERPETUAL at 1000  => open, 0 filled
    and ann sells 40 BTC-PERPETUAL at 9990 => filled, 40 filled
    and ann sells 40 BTC-PERPETUAL at 9990 reduce-only => filled, 40 filled
    and ann cancels all                    => 2 cancelled
    when btc_usd is 10000
    and ann buys 10 BTC-PERPETUAL at 9980  => open, 0 filled
    and all accounts are sound
    """)


def test_a_missing_heartbeat_stops_new_risk_everywhere() -> None:
    """This starts five seconds after the last heartbeat, for every index."""
    run_scenario("""
    given btc_usd is 10000
    and eth_usd is 1000
    and ann has 1 BTC
    and ann has 10 ETH
    when the clock shows 2026-11-18 12:00:05
    and ann buys 10 BTC-PERPETUAL at 9980 => open, 0 filled
    and the clock shows 2026-11-18 12:00:06
    and ann buys 10 BTC-PERPETUAL at 9980 => refused: temporarily_unavailable
    and ann buys 10 ETH-PERPETUAL at 1000 => refused: temporarily_unavailable
    and a heartbeat arrives
    and ann buys 10 BTC-PERPETUAL at 9980 => open, 0 filled
    """)


def test_no_far_order_opens_a_position_while_prices_are_late() -> None:
    """The far bid is the worst case of all orders already, but a short would be a new risk."""
    run_scenario("""
    given btc_usd is 10000
    and sly has 1 BTC
    and ann has 1 BTC
    and mia has 10 BTC
    and ann buys 100 BTC-PERPETUAL from mia at 10000
    and mia buys 1000 BTC-PERPETUAL at 9990
    and sly buys 1000 BTC-PERPETUAL at 9900
    and btc_usd has no more prices
    when the clock shows 2026-11-18 12:00:30
    and a heartbeat arrives
    and sly sells 1000 BTC-PERPETUAL at 9990  => refused: temporarily_unavailable
    and sly sells 1000 BTC-PERPETUAL at market => refused: temporarily_unavailable
    # ann is long 100: she may sell those, and no more
    and ann sells 110 BTC-PERPETUAL at 9990   => refused: temporarily_unavailable
    and ann sells 60 BTC-PERPETUAL at 9990    => filled, 60 filled
    and ann sells 30 BTC-PERPETUAL at 10010   => open, 0 filled
    and ann sells 20 BTC-PERPETUAL at 10010   => refused: temporarily_unavailable
    and ann sells 10 BTC-PERPETUAL at 10010   => open, 0 filled
    then positions:
        | account | instrument    | size |
        | ann     | BTC-PERPETUAL | 40   |
    """)
