"""The clearing house: accounts, margin, positions, settlement. No I/O, no clock, no floats."""

RULES = 2
"""Version of the rules of `apply`, increased by every change that alters a result.

A log holds commands, not results, so it can only be replayed by the rules that wrote it.
"""
