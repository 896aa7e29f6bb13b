"""What the subcommands of `tidegate` share: their parsers, `--config`, and how they print."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.schema import Config, load

if TYPE_CHECKING:
    from gateway.network.frontend import Address

    # argparse has no public name for what add_subparsers returns.
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

Run = Callable[[argparse.Namespace], int]
"""Runs a subcommand with its parsed arguments; returns the exit status."""


def add_command(
    subcommands: Subcommands, name: str, run: Run, description: str, summary: str = ""
) -> argparse.ArgumentParser:
    """Add a subcommand and return its parser.

    `summary` is its line in the list of subcommands: by default the description up to its first
    period or colon.
    """
    if not summary:
        first = re.split(r"[.:]", description)[0]
        summary = first[0].lower() + first[1:]
    parser = subcommands.add_parser(name, help=summary, description=description)
    parser.set_defaults(run=run)
    return parser


def add_config(parser: argparse.ArgumentParser, text: str = "TOML file; all keys optional") -> None:
    """Add `--config FILE`; `text` is its help."""
    parser.add_argument("--config", type=Path, metavar="FILE", help=text)


def load_config(path: Path | None, default: Config | None = None) -> Config:
    """Return the configuration that `--config` names, or the default. Raises ConfigError."""
    if path is not None:
        return load(path)
    return Config() if default is None else default


def count(text: str) -> int:
    """Parse an argument that is a whole number from 1. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a number from 1, not {text}")
    return int(text)


def write_line(text: str) -> None:
    """Print a line to standard output."""
    sys.stdout.write(f"{text}\n")


def announce(address: Address) -> None:
    """Print the line that tells people and supervising programs that the venue is ready."""
    write_line(f"tidegate ready http={address.http_url} ws={address.websocket_url}")
    sys.stdout.flush()
