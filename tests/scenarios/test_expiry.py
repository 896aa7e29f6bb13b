"""The expiry of dated futures: the last half hour, delivery, and new listings."""

from tests.scenarios.script import run_scenario


def test_a_future_is_delivered_at_the_average_of_its_last_half_hour() -> None:
    """Its mark converges to that average, and a late order is refused.

    No heartbeat falls on the expiry itself: the first entry after it starts the delivery.
    """
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    and ann buys 10000 BTC-20NOV26 from bob at 10000
    and bob sells 10 BTC-20NOV26 at 10100
    when the clock shows 2026-11-20 07:29:59
    and a heartbeat arrives
    then settlements:
        | account | kind       | size   | price | profit |
        | ann     | settlement | 10000  | 10000 | 0      |
        | bob     | settlement | -10000 | 10000 | 0      |
    when the clock shows 2026-11-20 07:45:00
    and btc_usd is 10200
    # (15 x 10000 + 15 x 10200) / 30 if it stays there
    then markets:
        | instrument    | index | mark  |
        | BTC-20NOV26   | 10200 | 10100 |
        | BTC-PERPETUAL | 10200 | 10200 |
    when the clock shows 2026-11-20 07:55:00
    and btc_usd is 9900
    # (15 x 10000 + 10 x 10200 + 5 x 9900) / 30
    then markets:
        | instrument    | index | mark  |
        | BTC-20NOV26   | 9900  | 10050 |
        | BTC-PERPETUAL | 9900  | 9900  |
    when the clock shows 2026-11-20 07:59:59
    and a heartbeat arrives
    and ann sells 10 BTC-20NOV26 at 10040 => open, 0 filled
    and the clock shows 2026-11-20 08:00:01
    and bob buys 10 BTC-20NOV26 at 10040  => refused: orderbook_closed
    # 10000 x (1/10000 - 1/10050); weeklies are delivered free of charge
    then settlements:
        | account | kind     | instrument  | size   | price | index | profit          |
        | ann     | delivery | BTC-20NOV26 | 10000  | 10050 | 9900  | 0.004975124378  |
        | bob     | delivery | BTC-20NOV26 | -10000 | 10050 | 9900  | -0.004975124378 |
    and settled markets:
        | kind       | instrument  | price | open interest |
        | settlement | BTC-20NOV26 | 10000 | 10000         |
        | delivery   | BTC-20NOV26 | 10050 | 10000         |
    and ended orders:
        | reason     | count |
        | settlement | 2     |
    # ann took and paid 0.0005; bob rested and got 0.0001
    and accounts:
        | account | currency | balance        | session | initial |
        | ann     | BTC      | 1.004475124378 | 0       | 0       |
        | bob     | BTC      | 0.995124875622 | 0       | 0       |
    and all accounts are sound
    """)


def test_delivery_costs_a_fee_except_for_weeklies() -> None:
    """The fee is 0.025 % of a coin; earlier results of the session were settled daily."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    and bob buys 10000 BTC-27NOV26 at 10000
    and ann sells 10000 BTC-27NOV26 at 10000
    and a second later btc_usd is 8000
    when 9 days pass
    # 10000 x (1/8000 - 1/10000) on the first of nine days; at 8000 a fee of 1.25 x 0.025 %
    # ann took at 10000, for 0.0005
    then accounts:
        | account | currency | balance   | session | fees      |
        | ann     | BTC      | 1.2491875 | 0       | 0.0008125 |
        | bob     | BTC      | 0.7496875 | 0       | 0.0003125 |
        | fees    | BTC      | 0.001125  | 0       | 0         |
    and settled markets:
        | kind       | instrument  | price | open interest |
        | settlement | BTC-27NOV26 | 8000  | 10000         |
        | settlement | BTC-27NOV26 | 8000  | 10000         |
        | settlement | BTC-27NOV26 | 8000  | 10000         |
        | settlement | BTC-27NOV26 | 8000  | 10000         |
        | settlement | BTC-27NOV26 | 8000  | 10000         |
        | settlement | BTC-27NOV26 | 8000  | 10000         |
        | settlement | BTC-27NOV26 | 8000  | 10000         |
        | settlement | BTC-27NOV26 | 8000  | 10000         |
        | delivery   | BTC-27NOV26 | 8000  | 10000         |
    and all accounts are sound
    """)


def test_positions_of_odd_sizes_are_delivered_without_residue() -> None:
    """The rounded values need not sum to zero; `rounding` takes the difference.

    Thirds of a coin: 10
    30000 = 0.000333333333. The long of 30 is worth 0.001, the shorts of 10 together
    0.000999999999.
    """
    run_scenario("""
    given btc_usd is 20000
    and ann has 1 BTC
    and bob has 1 BTC
    and cid has 1 BTC
    and dee has 1 BTC
    and ann buys 10 BTC-20NOV26 from bob at 20000
    and ann buys 10 BTC-20NOV26 from cid at 20000
    and ann buys 10 BTC-20NOV26 from dee at 20000
    when a second later btc_usd is 30000
    and 1 day passes
    # 30/20000 - 30/30000 and 10/30000 - 10/20000
    then settlements:
        | account | size | profit          |
        | ann     | 30   | 0.0005          |
        | bob     | -10  | -0.000166666667 |
        | cid     | -10  | -0.000166666667 |
        | dee     | -10  | -0.000166666667 |
    and accounts:
        | account  | currency | margin balance |
        | rounding | BTC      | 0.000000000001 |
    when 1 day passes
    then settlements:
        | account | kind     | size | profit |
        | ann     | delivery | 30   | 0      |
        | bob     | delivery | -10  | 0      |
        | cid     | delivery | -10  | 0      |
        | dee     | delivery | -10  | 0      |
    and accounts:
        | account  | currency | balance        | margin balance |
        | rounding | BTC      | 0.000000000001 | 0.000000000001 |
    and all accounts are sound
    """)


def test_listings_follow_the_calendar() -> None:
    """Two Fridays, a month's end and a quarter's end: after each expiry the next is listed."""
    run_scenario("""
    given btc_usd is 10000
    # Wednesday, 18 November 2026; the 27th is the month's last Friday
    then listed:
        | instrument  | period |
        | BTC-20NOV26 | week   |
        | BTC-27NOV26 | month  |
        | BTC-25DEC26 | month  |
    when the clock shows 2026-11-20 07:59:59
    and a heartbeat arrives
    then listed:
        | instrument  | period |
        | BTC-20NOV26 | week   |
        | BTC-27NOV26 | month  |
        | BTC-25DEC26 | month  |
    when the clock shows 2026-11-20 08:00:00
    and a heartbeat arrives
    then listed:
        | instrument  | period |
        | BTC-27NOV26 | month  |
        | BTC-4DEC26  | week   |
        | BTC-25DEC26 | month  |
    # four weeks at once are more than one entry settles
    when the clock shows 2026-12-18 08:00:00
    and a heartbeat arrives
    and all work is finished
    then listed:
        | instrument  | period |
        | BTC-25DEC26 | month  |
        | BTC-1JAN27  | week   |
    when the clock shows 2026-12-25 08:00:00
    and a heartbeat arrives
    then listed:
        | instrument  | period |
        | BTC-1JAN27  | week   |
        | BTC-8JAN27  | week   |
        | BTC-29JAN27 | month  |
        | BTC-26MAR27 | month  |
    and all accounts are sound
    """)


def test_an_expired_future_has_the_value_of_its_delivery_price() -> None:
    """While delivery takes several entries, the index changes, but no profit does.

    One position per entry: ann's at 08:00, bob's with the next heartbeat, cid's after it.
    """
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    and cid has 0.03 BTC
    and ann buys 10000 BTC-20NOV26 from bob at 10000
    and cid buys 5000 BTC-20NOV26 from bob at 10000
    and cid buys 10 BTC-PERPETUAL at 9990
    when the clock shows 2026-11-20 07:30:00
    and a heartbeat arrives
    and the clock shows 2026-11-20 07:45:00
    and btc_usd is 10200
    and a slice is 1
    and the clock shows 2026-11-20 08:00:00
    and a heartbeat arrives
    and btc_usd is 9000
    # 5000 x (1/10000 - 1/10100), and a fee of 0.00025
    then work is in progress
    and accounts:
        | account | currency | floating      | margin balance |
        | cid     | BTC      | 0.00495049505 | 0.03470049505  |
    when cid cancels all => 1 cancelled
    and all work is finished
    then accounts:
        | account | currency | balance       | floating | margin balance |
        | cid     | BTC      | 0.03470049505 | 0        | 0.03470049505  |
    """)
