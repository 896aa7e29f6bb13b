"""Figures with their aims, and the table of them."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.load import TIDEGATE, server, venue_config

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
    connections: int, *, accounts: int | None = None, limits: str = ""
) -> Iterator[tuple[str, int]]:
    """A venue that syncs its log to the disk; yields its WebSocket address and process id."""
    with tempfile.TemporaryDirectory() as folder:
        config = venue_config(
            Path(folder, "venue.toml"),
            connections,
            f'data_dir = "{folder}/data"',
            NO_FOLLOWER,
            accounts=accounts,
            limits=limits,
        )
        with server([TIDEGATE, "serve", "--config", str(config)]) as running:
            yield running


def show(figures: Sequence[Figure]) -> None:
    """Print the table, in Markdown."""
    print("| figure | aim | measured | |\n| --- | --- | --- | --- |")
    for figure in figures:
        verdict = {True: "reached", False: "**missed**", None: ""}[figure.reached]
        print(f"| {figure.name} | {figure.aim} | {figure.measured} | {verdict} |")


def command(description: str, measure: Callable[[bool], Sequence[Figure]]) -> None:
    """Measure and print; `measure` is told whether to be quick."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors", flush=True)
    show(measure(options.quick))
