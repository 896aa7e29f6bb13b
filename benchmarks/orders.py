"""Order rate, CPU per order and latency of the venue, beside a bare WebSocket echo.

The same client, in this process, drives two servers in turn, each a process of its own: first a
trio-websocket server that sends every message back, then the venue. A request is a limit order
that rests or the cancel of it, in turns; every answer is awaited. The two are run in pairs,
and medians over the rounds are shown with the ratio of each pair.

    python benchmarks/orders.py [--quick] [--rounds N] [--seconds S]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.load import CASES, HEAD, TIDEGATE, Result, measure, ratio, row, venue_config

ECHO = """
import trio, trio_websocket

async def serve(request):
    socket = await request.accept()
    try:
        while True:
            await socket.send_message(await socket.get_message())
    except trio_websocket.ConnectionClosed:
        pass

async def main():
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            trio_websocket.serve_websocket, serve, "127.0.0.1", 0, None
        )
        print(f"ws=ws://127.0.0.1:{server.port}/", flush=True)

trio.run(main)
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    seconds = 0.5 if options.quick else options.seconds
    print(f"{rounds} rounds of {seconds} s; medians")
    print(HEAD)
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            config = venue_config(Path(folder, f"venue{case[0]}.toml"), case[0])
            commands = {
                "echo": [sys.executable, "-c", ECHO],
                "venue": [TIDEGATE, "serve", "--config", str(config)],
            }
            results: dict[str, list[Result]] = {name: [] for name in commands}
            for _ in range(rounds):
                for name, command in commands.items():
                    results[name].append(measure(command, *case, seconds))
            for name, runs in results.items():
                print(row(case, name, runs))
            print(f"{'':24}venue / echo {ratio(results['venue'], results['echo']):.2f}")


if __name__ == "__main__":
    main()
