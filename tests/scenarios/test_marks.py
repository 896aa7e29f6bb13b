"""The mark price: the index, and the contribution of the order book over thirty seconds."""

from tests.scenarios.script import run_scenario


def test_the_mark_follows_the_book_in_thirty_seconds() -> None:
    """Each second covers a thirtieth of the distance, with or without a Tick per second.

    Fair is 10015: 15 x (1 - (29/30)^30) = 9.57508 after thirty seconds.
    """
    maker = """
    given btc_usd is 10000
    and mia has 10 BTC
    and mia buys 10000 BTC-PERPETUAL at 10014.5
    and mia sells 10000 BTC-PERPETUAL at 10015.5
    """
    step_by_step = "1 second passes\n" * 28
    run_scenario(
        maker
        + """
    when 1 second passes
    then markets:
        | instrument    | mark    | low    | high   |
        | BTC-PERPETUAL | 10000.5 | 9850   | 10151  |
    when 1 second passes
    # 0.5 + (15 - 0.5) / 30 = 0.9833
    then markets:
        | instrument    | mark     |
        | BTC-PERPETUAL | 10000.98 |
    """
        + step_by_step
        + """
    then markets:
        | instrument    | mark     |
        | BTC-PERPETUAL | 10009.58 |
    """
    )
    run_scenario(
        maker
        + """
    when 30 seconds pass
    then markets:
        | instrument    | mark     |
        | BTC-PERPETUAL | 10009.58 |
    """
    )


def test_the_mark_stays_near_the_index() -> None:
    """The limit is half a percent for a perpetual, for any book."""
    run_scenario("""
    given btc_usd is 10000
    and mia has 10 BTC
    and mia buys 10000 BTC-PERPETUAL at 10140
    and mia sells 10000 BTC-PERPETUAL at 10150
    when 20 minutes pass
    then markets:
        | instrument    | mark  | low    | high    |
        | BTC-PERPETUAL | 10050 | 9899   | 10201   |
    when a second later btc_usd is 9000
    # the premium of 50 is more than half a percent of 9000
    then markets:
        | instrument    | mark |
        | BTC-PERPETUAL | 9045 |
    """)


def test_orders_below_the_impact_amount_do_not_move_the_mark() -> None:
    """A side needs 10,000 USD; one side alone counts only if it is beyond the index."""
    run_scenario("""
    given btc_usd is 10000
    and mia has 10 BTC
    and mia buys 9990 BTC-PERPETUAL at 10014.5
    when 20 minutes pass
    then markets:
        | instrument    | mark  |
        | BTC-PERPETUAL | 10000 |
    when mia buys 10 BTC-PERPETUAL at 10014.5
    and 20 minutes pass
    then markets:
        | instrument    | mark    |
        | BTC-PERPETUAL | 10014.5 |
    when mia cancels all
    and mia buys 10000 BTC-PERPETUAL at 9990
    and 20 minutes pass
    then markets:
        | instrument    | mark  |
        | BTC-PERPETUAL | 10000 |
    """)


def test_in_the_last_half_hour_the_mark_is_the_expected_delivery_price() -> None:
    """The book is around the expected delivery price, and the index does not count any more.

    25 minutes at 50000 and 5 at 50750 will average 50125.
    """
    run_scenario("""
    given btc_usd is 50000
    and the clock shows 2026-11-20 07:00:00
    and btc_usd is 50000
    and mia has 10 BTC
    and lou has 0.04 BTC
    when the clock shows 2026-11-20 07:55:00
    and btc_usd is 50750
    then markets:
        | instrument    | index | mark  | low     | high     |
        | BTC-20NOV26   | 50750 | 50125 | 48620   | 51630    |
    when mia buys 100000 BTC-20NOV26 at 50122.5
    and mia sells 100000 BTC-20NOV26 at 50127.5
    and lou buys 90000 BTC-20NOV26 at 50127.5 => filled, 90000 filled
    and mia sells 90000 BTC-20NOV26 at 50127.5
    and 2 minutes pass
    then markets:
        | instrument    | index | mark  |
        | BTC-20NOV26   | 50750 | 50125 |
    and all accounts are sound
    """)
