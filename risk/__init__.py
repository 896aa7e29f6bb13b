"""Who can afford it and what it is worth. No I/O, no clock, no floats."""

RULES = 2
"""Version of what `apply` makes of a command: raised by every change that alters any result.

A log holds commands, not results, so it can only be read by the rules under which it was written.
"""
