"""Figures with their aims, and the table of them."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.holds import LEAST, MOST
from benchmarks.load import HOLDS, TIDEGATE, server, venue_config

NO_FOLLOWER = "[log]\nfollower = false"
"""The follower is a process of its own, and would take its processor from the client."""


class Figure(NamedTuple):
    """One row: what is measured, what for, what came out, and whether that is enough."""

    name: str
    aim: str
    measured: str
    reached: bool | None = None


@contextmanager
def durable_venue(
    connections: int, *, accounts: int | None = None, limits: str = "", watched: bool = True
) -> Iterator[tuple[str, int]]:
    """A venue that syncs its log to the disk; yields its WebSocket address and process id.

    To be `watched` costs it 5 % of its processor.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = venue_config(
            Path(folder, "venue.toml"),
            connections,
            f'data_dir = "{folder}/data"',
            NO_FOLLOWER,
            accounts=accounts,
            limits=limits,
        )
        with server([TIDEGATE, "serve", "--config", str(config)], watched=watched) as running:
            yield running


def show(figures: Sequence[Figure]) -> None:
    """Print the table, in Markdown."""
    print("| figure | aim | measured | |\n| --- | --- | --- | --- |")
    for figure in figures:
        verdict = {True: "reached", False: "**missed**", None: ""}[figure.reached]
        print(f"| {figure.name} | {figure.aim} | {figure.measured} | {verdict} |")


def longest_hold(name: str) -> list[Figure]:
    """The longest step in the venues watched since it was last asked, if there were any.

    By processor time: that of others, on a busy machine, is not the step's.
    """
    if not HOLDS:
        return []
    every = [hold for holds in HOLDS for hold in holds]
    HOLDS.clear()
    longest = max(every, key=lambda hold: hold.processor, default=None)
    above = sum(hold.processor > MOST for hold in every)
    return [
        Figure(
            f"{name}: longest step of the event loop",
            f"≤ {MOST * 1e3:.0f} ms",
            f"{longest}; {above} above" if longest is not None else f"under {LEAST * 1e3:.0f} ms",
            not above,
        )
    ]


def command(description: str, measure: Callable[[bool], Sequence[Figure]]) -> None:
    """Measure and print; `measure` takes whether rounds are short."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors", flush=True)
    figures = list(measure(options.quick))
    show(figures + longest_hold(Path(sys.argv[0]).stem))
