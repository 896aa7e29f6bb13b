"""The mark price: the index, and what the book adds to it over thirty seconds."""

from tests.scenarios.script import play


def test_the_mark_follows_the_book_in_thirty_seconds() -> None:
    """Each second it goes a thirtieth of the way; jumping over seconds makes no difference.

    Fair is 10015: 15 x (1 - (29/30)^30) = 9.57508 after thirty seconds.
    """
    maker = """
    given btc_usd is 10000
    and mia has 10 BTC
    and mia buys 10000 BTC-PERPETUAL at 10014.5
    and mia sells 10000 BTC-PERPETUAL at 10015.5
    """
    step_by_step = "1 second passes\n" * 28
    play(
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
    play(
        maker
        + """
    when 30 seconds pass
    then markets:
        | instrument    | mark     |
        | BTC-PERPETUAL | 10009.58 |
    """
    )


def test_the_mark_does_not_stray_far_from_the_index() -> None:
    """Half a percent for a perpetual, however wide of the index the book is."""
    play("""
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


def test_what_is_too_thin_does_not_move_the_mark() -> None:
    """An order counts with 10,000 USD behind it; one side alone only beyond the index."""
    play("""
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
