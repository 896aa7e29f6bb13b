"""Deleveraging: positions that the fund cannot carry are closed, highest score first."""

from tests.scenarios.initial_situations import BANKRUPT
from tests.scenarios.script import run_scenario


def test_winners_are_deleveraged_in_the_order_of_their_scores() -> None:
    """The score is profit ratio x leverage, ties by account; there is no insurance fund.

    Each has a profit of 25 % of its sales. Leverages: bob 0.5
    0.2, cid 0.25
    0.25, dee 0.25
    0.1. So bob and dee score 0.625, where bob has the lower number, and cid scores 0.25. Each
    buys back at ann's bankruptcy price, 8000
    (1 - 0.0304) = 8250.83.
    """
    run_scenario(
        BANKRUPT
        + """
    when the supervisor liquidates
    then transfers:
        | from | to  | side | amount | price         | profit  | other's profit |
        | ann  | bob | sell | 4000   | 8250.82508251 | -0.0848 | 0.0848         |
        | ann  | dee | sell | 2000   | 8250.82508251 | -0.0424 | 0.0424         |
        | ann  | cid | sell | 2000   | 8250.82508251 | -0.0424 | 0.0424         |
    # 0.1 - 0.0152, 0.05 - 0.0076
    and accounts:
        | account | currency | margin balance | maintenance |
        | ann     | BTC      | 0              | 0           |
        | bob     | BTC      | 0.1848         | 0           |
        | cid     | BTC      | 0.2424         | 0           |
        | dee     | BTC      | 0.0924         | 0           |
    and markets:
        | instrument    | open interest |
        | BTC-PERPETUAL | 0             |
    and all accounts are sound
    """
    )


def test_an_account_that_would_fall_below_zero_is_skipped() -> None:
    """It is skipped even with the highest score.

    Eve's short has won 0.025, but she has lost 0.05 elsewhere and 0.0018 is left. Closing her
    1000 at ann's bankruptcy price would cost her 0.0304
    8 = 0.0038, and closing 500 half of that.
    """
    run_scenario("""
    given btc_usd is 10000
    and ann has 0.17 BTC
    and bob has 0.1 BTC
    and eve has 0.0268 BTC
    and gus has 10 BTC
    and ann buys 7000 BTC-PERPETUAL from bob at 10000
    and ann buys 1000 BTC-PERPETUAL from eve at 10000
    and gus buys 500 BTC-PERPETUAL from bob at 10000
    and eve buys 2000 BTC-25DEC26 at 10000
    and gus sells 2000 BTC-25DEC26 at 10000
    when a second later btc_usd is 8000
    then accounts:
        | account | currency | margin balance | maintenance    |
        | ann     | BTC      | -0.0304        | 0.01005        |
        | bob     | BTC      | 0.2875         | 0.009418945313 |
        | eve     | BTC      | 0.0018         | 0.00375390625  |
    when ann is liquidated in BTC
    then transfers:
        | from | to   | amount | price         |
        | ann  | bob  | 7500   | 8250.82508251 |
        | ann  | fund | 500    | 8250.82508251 |
    # no account can take the last 500: the fund takes them and loses 0.0304 x 500 / 8000
    and accounts:
        | account | currency | margin balance |
        | ann     | BTC      | 0              |
        | bob     | BTC      | 0.259          |
        | eve     | BTC      | 0.0018         |
        | fund    | BTC      | 0              |
        | deficit | BTC      | -0.0019        |
    """)


def test_an_exhausted_fund_is_deleveraged_itself() -> None:
    """Its position is closed against the opposite side when it cannot carry it any longer.

    It takes 8000 at 8000
    (1 + 0.004), with a share of 0.034. At 7700 it has lost 8000/7700 - 1 = 0.038961038961 of
    that.
    """
    run_scenario("""
    given btc_usd is 10000
    and the fund has 0.03 BTC
    and ann has 0.2044 BTC
    and bob has 1 BTC
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    when a second later btc_usd is 8000
    and the supervisor liquidates
    then transfers:
        | from | to   | amount | price         |
        | ann  | fund | 8000   | 7968.12749004 |
    when a second later btc_usd is 7700
    then accounts:
        | account | currency | margin balance  |
        | fund    | BTC      | -0.004961038961 |
    when the supervisor liquidates
    # 8000 / (8000/7700 - 0.004961038961) = 8000 / 1.034
    then transfers:
        | from | to  | side | amount | price         | profit | other's profit |
        | fund | bob | sell | 8000   | 7736.94390716 | -0.03  | 0.234          |
    and accounts:
        | account | currency | margin balance |
        | ann     | BTC      | 0              |
        | fund    | BTC      | 0              |
        | bob     | BTC      | 1.234          |
    and all accounts are sound
    """)


def test_a_large_position_is_deleveraged_against_many_small_ones() -> None:
    """A long of 700 USD is closed against seventy shorts of 10 USD, over several entries.

    700 x (1/8000 - 1/10000) = 0.0175 is lost; ann had 0.0151 less a fee of 0.000035. Each of
    the shorts had a profit of 0.00025 and loses a seventieth of 0.002435; the last one also
    takes the rounding difference.
    """
    winners = [f"w{number}" for number in range(70)]
    run_scenario(
        "\n".join(
            [
                "given btc_usd is 10000",
                "and a slice is 16",
                "and ann has 0.0151 BTC",
                *(f"and {name} has 0.01 BTC" for name in winners),
                *(f"and {name} sells 10 BTC-PERPETUAL at 10000" for name in winners),
            ]
        )
        + """
    and ann buys 700 BTC-PERPETUAL at 10000 => filled, 700 filled
    when a second later btc_usd is 8000
    and all work is finished
    and ann is liquidated in BTC
    then work is in progress
    when all work is finished
    then accounts:
        | account | currency | margin balance |
        | ann     | BTC      | 0              |
        | w0      | BTC      | 0.010215214286 |
        | w69     | BTC      | 0.010215214285 |
        | fund    | BTC      | 0              |
        | deficit | BTC      | 0              |
    and markets:
        | instrument    | open interest |
        | BTC-PERPETUAL | 0             |
    and all accounts are sound
    """
    )


def test_a_linear_short_is_deleveraged() -> None:
    """A short of 0.8 coins has a debt of 400: 13000 - 400 / 0.8 = 12500 a coin."""
    run_scenario("""
    given btc_usdc is 10000
    and ann has 2000 USDC
    and bob has 1004 USDC
    and bob buys 0.8 BTC_USDC-PERPETUAL from ann at 10000
    when a second later btc_usdc is 13000
    and the supervisor liquidates
    then transfers:
        | from | to  | side | amount | price | profit | other's profit |
        | ann  | bob | buy  | 0.8    | 12500 | -2000  | 2000           |
    and accounts:
        | account | currency | margin balance | fees |
        | ann     | USDC     | 0              | 0    |
        | bob     | USDC     | 3000           | 4    |
    and all accounts are sound
    """)


def test_a_deleveraging_stops_when_the_market_recovers() -> None:
    """It ends during its entries as soon as the account is sound again.

    Every entry takes four steps: counting one of the nine positions, or closing one. All scores
    are equal, so the lower number is first.
    """
    winners = "abcdefgh"
    run_scenario(
        "\n".join(
            [
                "given btc_usd is 10000",
                "and ann has 0.17 BTC",
                *(f"and w{name} has 0.1 BTC" for name in winners),
                *(f"and ann buys 1000 BTC-PERPETUAL from w{name} at 10000" for name in winners),
            ]
        )
        + """
    when a second later btc_usd is 8000
    and a slice is 4
    and all work is finished
    and ann is liquidated in BTC
    # nine counted positions and the selection are ten steps, so two positions are closed
    and 2 more entries come
    then transfers:
        | from | to | amount | price         |
        | ann  | wa | 1000   | 8250.82508251 |
        | ann  | wb | 1000   | 8250.82508251 |
    # four more before the heartbeat moves the mark; the rest is worth
    # 2000 / 8250.83 - 2000 / 9000 - 0 = 0.2424 - 0.222222222222
    when a second later btc_usd is 9000
    then accounts:
        | account | currency | margin balance | maintenance    |
        | ann     | BTC      | 0.020177777778 | 0.002224691359 |
    when all work is finished
    and 1 second passes
    and the supervisor liquidates
    then transfers:
        | from | to | amount | price         |
        | ann  | wc | 1000   | 8250.82508251 |
        | ann  | wd | 1000   | 8250.82508251 |
        | ann  | we | 1000   | 8250.82508251 |
        | ann  | wf | 1000   | 8250.82508251 |
    and positions:
        | account | instrument    | size  |
        | ann     | BTC-PERPETUAL | 2000  |
        | wg      | BTC-PERPETUAL | -1000 |
        | wh      | BTC-PERPETUAL | -1000 |
    and all accounts are sound
    """
    )
