"""Beginnings that several scenarios share."""

BANKRUPT = """
    given btc_usd is 10000
    and ann has 0.17 BTC
    and bob has 0.1 BTC
    and cid has 0.2 BTC
    and dee has 0.05 BTC
    and ann buys 4000 BTC-PERPETUAL from bob at 10000
    and ann buys 2000 BTC-PERPETUAL from cid at 10000
    and ann buys 2000 BTC-PERPETUAL from dee at 10000
    # 8000 x (1/8000 - 1/10000) = 0.2 is lost; ann had 0.17 less 0.0004 of fees
    when a second later btc_usd is 8000
    then accounts:
        | account | currency | margin balance | maintenance |
        | ann     | BTC      | -0.0304        | 0.01005     |
        | bob     | BTC      | 0.2            | 0.0050125   |
        | cid     | BTC      | 0.25           | 0.002503125 |
        | dee     | BTC      | 0.1            | 0.002503125 |
"""
"""Ann has a debt of 0.0304 BTC; bob, cid and dee have the opposite profits."""
