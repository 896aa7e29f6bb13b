"""Percentages as people type them on a command line: -20%, +5%, 0.5%."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Sequence
from typing import Final

_PERCENTAGE: Final = re.compile(r"[-+]?\d{1,4}(\.\d{1,4})?%", re.ASCII)


def percentage(text: str) -> float:
    """The fraction of a percentage above -100 %. Raises ArgumentTypeError, for argparse."""
    text = text.strip()
    if not _PERCENTAGE.fullmatch(text):
        raise ArgumentTypeError(f"expected a percentage such as -20%, not {text}")
    fraction = float(text.rstrip("%")) / 100
    if fraction <= -1:
        raise ArgumentTypeError(f"{text} would leave no price; expected more than -100%")
    return fraction


def escape_negative_percentages(arguments: Sequence[str]) -> list[str]:
    """The arguments with falls marked as values.

    argparse takes -20% for an option, but nothing that has a space in it.
    """
    return [
        f"{argument} " if _PERCENTAGE.fullmatch(argument) and argument.startswith("-") else argument
        for argument in arguments
    ]
